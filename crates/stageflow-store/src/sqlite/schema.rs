//! The tables, and how a file gets them.

use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use stageflow_core::durable::{JournalError, JournalErrorKind};

use super::{
    builder::{Fsync, Sqlite},
    error::{Stop, is_busy, journal_error},
};

/// "SFLW": what tells a store from other files of SQLite.
const APPLICATION: i32 = 0x5346_4C57;

/// Each brings a file from the version before it to its own, the first of which is 1.
const MIGRATIONS: &[&str] = &[include_str!("migrations/1.sql")];

/// The version of this code.
fn current() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// A connection to a file that has the tables of this version.
pub(super) fn open(options: &Sqlite) -> Result<Connection, JournalError> {
    let connection = connect(options)?;
    let at = |error| journal_error(&options.path, error);
    write_ahead(&connection, options).map_err(at)?;
    migrate(&connection, options).map_err(|stop| stop.at(&options.path))?;
    Ok(connection)
}

/// A connection to a file as it is.
pub(super) fn connect(options: &Sqlite) -> Result<Connection, JournalError> {
    let connect = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let connection = Connection::open_with_flags(&options.path, flags)?;
        connection.busy_timeout(options.busy)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.pragma_update(None, "foreign_keys", true)?;
        // What is erased is overwritten, too.
        connection.pragma_update(None, "secure_delete", true)?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        let synchronous = match options.fsync {
            Fsync::Full => "FULL",
            Fsync::Normal => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        if let Some(bytes) = options.max_bytes {
            let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
            let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page.max(1);
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
        }
        Ok(connection)
    };
    connect().map_err(|error| journal_error(&options.path, error))
}

/// Switches to a write-ahead log. That needs the file alone, for which SQLite itself does not wait.
fn write_ahead(connection: &Connection, options: &Sqlite) -> rusqlite::Result<()> {
    const STEP: Duration = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    loop {
        let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        match mode {
            Err(error) if is_busy(&error) && waited < options.busy => {
                std::thread::park_timeout(STEP);
                waited += STEP;
            }
            other => return other.map(drop),
        }
    }
}

fn migrate(connection: &Connection, options: &Sqlite) -> Result<(), Stop> {
    if found(connection, options)? == current() {
        return Ok(());
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let migrated = migrate_locked(connection, options);
    connection.execute_batch(if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    migrated
}

fn migrate_locked(connection: &Connection, options: &Sqlite) -> Result<(), Stop> {
    // Another process may have done it meanwhile.
    let found = usize::try_from(found(connection, options)?).unwrap_or_default();
    for migration in MIGRATIONS.iter().skip(found) {
        connection.execute_batch(migration)?;
    }
    connection.pragma_update(None, "user_version", current())?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    Ok(())
}

/// The version of a file; 0 of an empty one.
fn found(connection: &Connection, options: &Sqlite) -> Result<i64, Stop> {
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let version = number("PRAGMA user_version")?;
    let application = number("PRAGMA application_id")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let path = options.path.display();
    if tables > 0 && application != i64::from(APPLICATION) {
        let message = format!("{path}: the file is a database of something else");
        return Err(JournalError::new(JournalErrorKind::Schema, message)
            .hint("give the store a file of its own")
            .into());
    }
    let current = current();
    if version > current {
        let message =
            format!("{path}: the file has version {version}, and this code knows version {current}");
        return Err(JournalError::new(JournalErrorKind::Schema, message).into());
    }
    Ok(version)
}
