//! [`SqliteAnswers`]: answers in a file, given once for all processes that share it.

use std::{
    collections::HashMap,
    fmt,
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, Row};
use stageflow_core::{
    Randomness as _, TenantId,
    durable::{Encoded, JournalError},
    idempotency::{Answer, Begin, Fingerprint, IdempotencyStore, Lease, StoreFuture, StoreKey, Wait},
    time::ThreadRandom,
};
use tokio::sync::watch;

use super::{
    Shared, SqliteStore,
    error::Stop,
    owner::Owner,
    scope::{Scope, Sql},
};
use crate::rows;

/// How long whoever waits for another process leaves it alone.
const POLL: Duration = Duration::from_millis(50);

/// Answers in a file: a handle of a [`SqliteStore`], which has them.
///
/// Of all processes that share the file one is the first under a key. The others wait: in its process until it has an answer,
/// elsewhere by a look from time to time. When its process dies the key is free at once, and when it is stopped with the end of the lease:
/// what it has done by then is done, and may be done again.
#[derive(Clone)]
pub struct SqliteAnswers {
    store: SqliteStore,
    ttl: Duration,
    lease: Duration,
}

type Id = (TenantId, [u8; 32]);

/// The keys that are in flight in this process, and who waits for them.
#[derive(Default)]
pub(super) struct Waiters(Mutex<HashMap<Id, watch::Sender<()>>>);

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes when a key is not in flight any more, or it is worth another look.
    fn wait(&self, id: &Id) -> Wait {
        let gone = self.lock().get(id).map(watch::Sender::subscribe);
        Box::pin(async move {
            match gone {
                // Nothing is ever sent: it ends when the sender goes.
                Some(mut gone) => drop(tokio::time::timeout(POLL * 20, gone.changed()).await),
                None => tokio::time::sleep(POLL).await,
            }
        })
    }
}

const FIND: Sql = Sql::new(
    "SELECT fingerprint, owner, until, failure, answer_version, answer FROM answers WHERE tenant = ?1 AND key = ?2",
);
const FIRST: Sql = Sql::new(
    "INSERT OR REPLACE INTO answers (tenant, key, pipeline, stage, fingerprint, lease, owner, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
);
const COMPLETE: Sql = Sql::new(
    "UPDATE answers SET failure = ?5, answer_version = ?6, answer = ?7, until = ?8 WHERE tenant = ?1 AND key = ?2 AND lease = ?3 AND answer IS NULL AND until > ?4",
);
const ABANDON: Sql =
    Sql::new("DELETE FROM answers WHERE tenant = ?1 AND key = ?2 AND lease = ?3 AND answer IS NULL");
const FORGET: Sql = Sql::new(
    "DELETE FROM answers WHERE tenant = ?1 AND key IN (SELECT key FROM answers WHERE tenant = ?1 AND until <= ?2 LIMIT 16)",
);

/// What the table has under a key.
enum Known {
    Nothing,
    Other,
    InFlight,
    Done(Answer),
}

fn known(
    scope: &Scope<'_>,
    key: &[u8; 32],
    fingerprint: &[u8],
    owner: &Owner,
    connection: &Connection,
) -> Result<Known, Stop> {
    let read = |row: &Row<'_>| {
        let same = row.get_ref(0)?.as_blob()? == fingerprint;
        let (of, until, failure): (i64, i64, Option<bool>) = (row.get(1)?, row.get(2)?, row.get(3)?);
        Ok((same, of, until, failure, row.get::<_, Option<i64>>(4)?, row.get::<_, Option<Vec<u8>>>(5)?))
    };
    let Some((same, of, until, failure, version, bytes)) = scope.find(FIND, &[key], read)? else {
        return Ok(Known::Nothing);
    };
    let answer: Option<Encoded> = rows::encoded(version, bytes)?;
    let is_over = until <= rows::nanos_of(rows::wall_now());
    if is_over || answer.is_none() && owner.held_until(Some(of), connection)?.is_none() {
        return Ok(Known::Nothing);
    }
    if !same {
        return Ok(Known::Other);
    }
    Ok(match answer {
        Some(answer) => Known::Done(rows::answer(failure.unwrap_or_default(), answer)?),
        None => Known::InFlight,
    })
}

/// Gives a key back if whoever asks for it is gone before the answer.
struct Asking<'a> {
    answers: &'a SqliteAnswers,
    key: &'a StoreKey,
    lease: Option<Lease>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease {
            self.answers.abandon(self.key, lease);
        }
    }
}

/// Wakes whoever waits for a key, once it has its answer.
struct Finished {
    shared: Arc<Shared>,
    id: Id,
}

impl Drop for Finished {
    fn drop(&mut self) {
        self.shared.waiters.lock().remove(&self.id);
    }
}

impl SqliteAnswers {
    pub(super) fn new(store: SqliteStore) -> Self {
        Self { store, ttl: Duration::from_secs(24 * 60 * 60), lease: Duration::from_secs(10 * 60) }
    }

    /// How long an answer is kept, from when it was given. It goes with a later call of its tenant.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long a first call may take.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    async fn ask(&self, key: &StoreKey, fingerprint: &Fingerprint) -> Result<Begin, JournalError> {
        let id = rows::answer_key(key)?;
        let (tenant, digest) = id.clone();
        let (pipeline, stage) = (key.pipeline().to_owned(), key.stage().to_owned());
        let (fingerprint, time) = (fingerprint.clone(), self.lease);
        // Half of all numbers, so that each has a sign that a column keeps.
        let lease = ThreadRandom.next_u64() >> 1;
        let asked = self.store.write(fingerprint.as_bytes().len(), move |connection, owner| {
            let scope = Scope::new(connection, &tenant)?;
            let known = known(&scope, &digest, fingerprint.as_bytes(), owner, connection)?;
            if matches!(known, Known::Nothing) {
                scope.execute(FORGET, &[&rows::nanos_of(rows::wall_now())])?;
                let (bytes, until) = (fingerprint.as_bytes(), rows::nanos_in(time));
                let lease = rows::column(lease);
                scope.execute(FIRST, &[&digest, &pipeline, &stage, &bytes, &lease, &owner.id(), &until])?;
            }
            Ok(known)
        });
        let waiters = &self.store.inner.shared.waiters;
        let mut asking = Asking { answers: self, key, lease: Some(Lease::new(lease, time)) };
        let known = asked.await;
        asking.lease = None;
        Ok(match known? {
            Known::Nothing => {
                waiters.lock().insert(id, watch::Sender::new(()));
                Begin::First(Lease::new(lease, time))
            }
            Known::Other => Begin::Mismatch,
            Known::InFlight => Begin::InFlight(waiters.wait(&id)),
            Known::Done(answer) => Begin::Done(answer),
        })
    }

    /// Stores an answer: it is taken when this returns.
    fn finish(
        &self,
        key: &StoreKey,
        lease: Lease,
        answer: &Answer,
    ) -> Result<(Finished, super::journal::Answer<bool>), JournalError> {
        let id = rows::answer_key(key)?;
        let (is_failure, encoded) = rows::answer_columns(answer)?;
        let (tenant, digest) = id.clone();
        let ttl = self.ttl;
        let bytes = encoded.bytes.len();
        let finished = self.store.write(bytes, move |connection, _| {
            let now = rows::nanos_of(rows::wall_now());
            let (version, until) = (i64::from(encoded.version), rows::nanos_in(ttl));
            let changed = Scope::new(connection, &tenant)?.execute(
                COMPLETE,
                &[&digest, &rows::column(lease.id()), &now, &is_failure, &version, &encoded.bytes, &until],
            )?;
            Ok(changed == 1)
        });
        Ok((Finished { shared: Arc::clone(&self.store.inner.shared), id }, finished))
    }
}

impl IdempotencyStore for SqliteAnswers {
    fn begin<'a>(&'a self, key: &'a StoreKey, fingerprint: &'a Fingerprint) -> StoreFuture<'a, Begin> {
        Box::pin(async move { Ok(self.ask(key, fingerprint).await?) })
    }

    fn complete<'a>(&'a self, key: &'a StoreKey, lease: Lease, answer: Answer) -> StoreFuture<'a, bool> {
        match self.finish(key, lease, &answer) {
            Ok((done, finished)) => Box::pin(async move {
                let _done = done;
                Ok(finished.await?)
            }),
            Err(error) => Box::pin(ready(Err(error.into()))),
        }
    }

    fn abandon(&self, key: &StoreKey, lease: Lease) {
        let Ok(id) = rows::answer_key(key) else { return };
        let (tenant, digest) = id.clone();
        drop(self.store.write(0, move |connection, _| {
            let lease = rows::column(lease.id());
            Ok(Scope::new(connection, &tenant)?.execute(ABANDON, &[&digest, &lease])?)
        }));
        // Whoever wakes asks behind this.
        self.store.inner.shared.waiters.lock().remove(&id);
    }

    fn keeps_bytes(&self) -> bool {
        true
    }

    fn lease_time(&self) -> Option<Duration> {
        Some(self.lease)
    }

    fn kept_for(&self) -> Option<Duration> {
        Some(self.ttl)
    }
}

impl fmt::Debug for SqliteAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteAnswers")
            .field("store", &self.store)
            .field("ttl", &self.ttl)
            .field("lease", &self.lease)
            .finish()
    }
}
