//! Which open stores are alive: a lock each, which the system frees when a process ends, and a time for one that is stopped.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rusqlite::Connection;
use stageflow_core::{
    Randomness as _,
    durable::{JournalError, JournalErrorKind},
    time::ThreadRandom,
};

use super::{builder::Sqlite, error::journal_error};
use crate::rows;

/// An open store, as others see it.
pub(super) struct Owner {
    id: i64,
    directory: PathBuf,
    lease: Duration,
    lock: Mutex<Option<File>>,
}

impl Owner {
    /// Says that there is one more, and forgets those that are gone.
    pub(super) fn register(connection: &Connection, options: &Sqlite) -> Result<Self, JournalError> {
        let mut directory = options.path.clone().into_os_string();
        directory.push("-owners");
        let directory = PathBuf::from(directory);
        // Half of all numbers, so that each has a sign that a column keeps.
        let id = i64::try_from(ThreadRandom.next_u64() >> 1).unwrap_or(i64::MAX);
        let lock = lock(&directory, id).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => JournalErrorKind::Full,
                _ => JournalErrorKind::Unavailable,
            };
            JournalError::new(kind, format!("{}: no lock can be made: {error}", directory.display()))
                .hint("let this process make files beside the store")
                .source(error)
        })?;
        let owner = Self { id, directory, lease: options.lease, lock: Mutex::new(Some(lock)) };
        let registered = owner.forget_dead(connection).and_then(|()| owner.renew(connection));
        if let Err(error) = registered {
            owner.unlock();
            return Err(journal_error(&options.path, error));
        }
        Ok(owner)
    }

    /// What it is called in a row.
    pub(super) fn id(&self) -> i64 {
        self.id
    }

    /// Prolongs all leases of this store.
    pub(super) fn renew(&self, connection: &Connection) -> rusqlite::Result<()> {
        let until = rows::nanos_in(self.lease);
        let mut renew = connection.prepare_cached(
            "INSERT INTO owners (owner, until) VALUES (?1, ?2) ON CONFLICT (owner) DO UPDATE SET until = ?2",
        )?;
        renew.execute((self.id, until)).map(drop)
    }

    /// Gives all leases of this store back.
    pub(super) fn resign(&self, connection: &Connection) {
        // Should it fail, the lock is free all the same.
        drop(connection.execute("DELETE FROM owners WHERE owner = ?1", [self.id]));
        self.unlock();
    }

    fn unlock(&self) {
        if self.lock.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            drop(fs::remove_file(file(&self.directory, self.id)));
        }
    }

    /// Until when a row is somebody's: `None` if it is nobody's.
    pub(super) fn held_until(
        &self,
        owner: Option<i64>,
        connection: &Connection,
    ) -> rusqlite::Result<Option<i64>> {
        let Some(owner) = owner else { return Ok(None) };
        let mut find = connection.prepare_cached("SELECT until FROM owners WHERE owner = ?1")?;
        let mut found = find.query([owner])?;
        let Some(row) = found.next()? else { return Ok(None) };
        let until: i64 = row.get(0)?;
        Ok((until > rows::nanos_of(rows::wall_now()) && self.is_alive(owner)).then_some(until))
    }

    fn is_alive(&self, owner: i64) -> bool {
        if owner == self.id {
            return true;
        }
        match File::open(file(&self.directory, owner)) {
            Ok(lock) => match lock.try_lock_shared() {
                Ok(()) => false,
                // Where locks do not work, the time alone decides.
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => true,
            },
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    fn forget_dead(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut list = connection.prepare("SELECT owner FROM owners")?;
        let known: Vec<i64> = list.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for owner in known.into_iter().filter(|owner| !self.is_alive(*owner)) {
            connection.execute("DELETE FROM owners WHERE owner = ?1", [owner])?;
            drop(fs::remove_file(file(&self.directory, owner)));
        }
        Ok(())
    }
}

fn file(directory: &Path, id: i64) -> PathBuf {
    directory.join(format!("{id:016x}"))
}

fn lock(directory: &Path, id: i64) -> io::Result<File> {
    fs::create_dir_all(directory)?;
    let lock = File::create_new(file(directory, id))?;
    lock.lock()?;
    Ok(lock)
}
