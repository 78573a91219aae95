//! What a server or a connection says, as what became of a journal.

use std::{error::Error as _, io};

use deadpool_postgres::PoolError;
use stageflow_core::durable::{JournalError, JournalErrorKind};
use tokio_postgres::{Error, error::SqlState};

/// An error, and whether asking once more may help.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) error: JournalError,
    pub(super) retry: bool,
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Self {
        Self { error, retry: false }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let Some(code) = error.code() else { return unreachable(error) };
        let (kind, retry) = kind(code);
        // Neither its detail nor the message of a data exception: they quote values.
        let said = match error.as_db_error() {
            Some(said) if !code.code().starts_with("22") => {
                format!("PostgreSQL: {} ({})", said.message(), code.code())
            }
            _ => format!("PostgreSQL refuses a value ({})", code.code()),
        };
        let error = JournalError::new(kind, said);
        let error = match hint(code) {
            Some(hint) => error.hint(hint),
            None => error,
        };
        Self { error, retry }
    }
}

impl From<PoolError> for Trouble {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => {
                // What refuses a connection may let the next in, but not another password.
                let retry = error.code().is_none_or(|code| kind(code).1);
                Self { retry, ..error.into() }
            }
            PoolError::Timeout(_) => {
                Self { error: late("no connection of the pool came free, or none was made"), retry: true }
            }
            other => Self { error: late("there is no connection").source(other), retry: true },
        }
    }
}

/// The answer did not come in time.
pub(super) fn late(what: &str) -> JournalError {
    JournalError::new(JournalErrorKind::Unavailable, format!("PostgreSQL does not answer in time: {what}"))
}

fn unreachable(error: Error) -> Trouble {
    let mut said = error.to_string();
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    if let Some(io) = io {
        said = format!("{said}: {io}");
    }
    let retry = error.is_closed() || io.is_some();
    let kind = JournalErrorKind::Unavailable;
    Trouble { error: JournalError::new(kind, format!("PostgreSQL: {said}")).source(error), retry }
}

/// What kind of trouble a code is, and whether asking once more may help.
fn kind(code: &SqlState) -> (JournalErrorKind, bool) {
    let text = code.code();
    match text {
        // No room on a disk, in memory, under a configured limit; but too many connections may be fewer soon.
        "53300" => (JournalErrorKind::Unavailable, true),
        _ if text.starts_with("53") => (JournalErrorKind::Full, false),
        // The server is going down, is coming up, or has ended this connection.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => (JournalErrorKind::Unavailable, true),
        _ if text.starts_with("08") => (JournalErrorKind::Unavailable, true),
        // Two transactions in each other's way.
        "40001" | "40P01" => (JournalErrorKind::Unavailable, true),
        // No such schema, table, column or function.
        "3F000" | "42P01" | "42703" | "42883" => (JournalErrorKind::Schema, false),
        "42501" => (JournalErrorKind::Unsafe, false),
        // A value that no column holds, or what no disk should give.
        _ if text.starts_with("22") || text.starts_with("XX") => (JournalErrorKind::Corrupt, false),
        _ => (JournalErrorKind::Unavailable, false),
    }
}

fn hint(code: &SqlState) -> Option<&'static str> {
    Some(match code.code() {
        "57014" | "55P03" => {
            "a statement took longer than its timeout: see what holds a lock on the tables of the schema `stageflow` (pg_stat_activity, pg_locks)"
        }
        "53300" => "make pools smaller, or max_connections larger",
        "42501" => "grant the role of the application what schema.sql grants it, and no more",
        "25006" => {
            "the server is a standby or read only: connect to the primary (target_session_attrs=read-write)"
        }
        code if code.starts_with("28") || code == "3D000" => {
            "see the role, the password and the name of the database"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_server_are_kinds_of_trouble() {
        let cases = [
            (SqlState::DISK_FULL, JournalErrorKind::Full, false),
            (SqlState::OUT_OF_MEMORY, JournalErrorKind::Full, false),
            (SqlState::TOO_MANY_CONNECTIONS, JournalErrorKind::Unavailable, true),
            (SqlState::ADMIN_SHUTDOWN, JournalErrorKind::Unavailable, true),
            (SqlState::CANNOT_CONNECT_NOW, JournalErrorKind::Unavailable, true),
            (SqlState::T_R_DEADLOCK_DETECTED, JournalErrorKind::Unavailable, true),
            (SqlState::QUERY_CANCELED, JournalErrorKind::Unavailable, false),
            (SqlState::READ_ONLY_SQL_TRANSACTION, JournalErrorKind::Unavailable, false),
            (SqlState::INVALID_PASSWORD, JournalErrorKind::Unavailable, false),
            (SqlState::UNDEFINED_TABLE, JournalErrorKind::Schema, false),
            (SqlState::INSUFFICIENT_PRIVILEGE, JournalErrorKind::Unsafe, false),
            (SqlState::DATA_CORRUPTED, JournalErrorKind::Corrupt, false),
            (SqlState::CHARACTER_NOT_IN_REPERTOIRE, JournalErrorKind::Corrupt, false),
        ];
        for (code, expected, retry) in cases {
            assert_eq!(kind(&code), (expected, retry), "{}", code.code());
        }
    }
}
