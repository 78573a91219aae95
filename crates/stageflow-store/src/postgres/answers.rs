//! [`PostgresAnswers`]: answers that all processes on one database share.

use std::{fmt, time::Duration};

use stageflow_core::{
    TenantId,
    durable::JournalError,
    idempotency::{Answer, Begin, Fingerprint, IdempotencyStore, Lease, StoreFuture, StoreKey},
};

use super::{
    access::{Access, Statement},
    columns,
    trouble::{Trouble, late},
};
use crate::rows;

/// Takes a key that is free, or whose time has ended. A repeated one finds its own lease.
const TAKE: &str = "
INSERT INTO stageflow.answers (tenant, key, fingerprint, lease, until)
VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5::float8))
ON CONFLICT (tenant, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, lease = excluded.lease, until = excluded.until,
        is_failure = NULL, answer_version = NULL, answer = NULL
    WHERE answers.until <= clock_timestamp()";

const LOOK: &str = "
SELECT lease, fingerprint, is_failure, answer_version, answer,
    GREATEST(extract(epoch FROM until - clock_timestamp())::float8, 0)
FROM stageflow.answers WHERE tenant = $1 AND key = $2";

/// A repeated one finds its own answer.
const COMPLETE: &str = "
UPDATE stageflow.answers
SET is_failure = $4, answer_version = $5, answer = $6, until = clock_timestamp() + make_interval(secs => $7::float8)
WHERE tenant = $1 AND key = $2 AND lease = $3 AND until > clock_timestamp()
    AND (is_failure IS NULL OR (is_failure = $4 AND answer_version = $5 AND answer = $6))
RETURNING lease";

/// Each answer that is stored takes up to two away whose time has ended, so that they do not pile up.
const SWEEP: &str = "
DELETE FROM stageflow.answers WHERE tenant = $1 AND key IN (
    SELECT key FROM stageflow.answers WHERE tenant = $1 AND until <= clock_timestamp() LIMIT 2 FOR UPDATE SKIP LOCKED)";

const ABANDON: &str = "
DELETE FROM stageflow.answers WHERE tenant = $1 AND key = $2 AND lease = $3 AND is_failure IS NULL";

/// The bounds of the time between two looks at a call in flight: half the time that it has taken so far.
const LOOKS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// Answers in PostgreSQL: a handle of a [`PostgresStore`](super::PostgresStore), whose connections it uses. Leases and the time that
/// answers are kept go by the clock of the database.
#[derive(Clone)]
pub struct PostgresAnswers {
    access: Access,
    ttl: Duration,
    lease: Duration,
}

/// The longest time that is added to the clock of the database: a thousand years.
const LONGEST: Duration = Duration::from_secs(1_000 * 366 * 24 * 60 * 60);

impl PostgresAnswers {
    pub(super) fn new(access: Access) -> Self {
        Self { access, ttl: Duration::from_secs(24 * 60 * 60), lease: Duration::from_secs(10 * 60) }
    }

    /// How long an answer is kept.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.min(LONGEST);
        self
    }

    /// How long a first call may take.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.min(LONGEST);
        self
    }
}

struct Key {
    tenant: TenantId,
    hash: Vec<u8>,
}

impl Key {
    fn of(key: &StoreKey) -> Result<Self, JournalError> {
        let (tenant, hash) = rows::answer_key(key)?;
        Ok(Self { tenant, hash: hash.to_vec() })
    }
}

async fn begin(access: &Access, key: &Key, fingerprint: &[u8], lease: Lease) -> Result<Begin, Trouble> {
    let (tenant, seconds) = (rows::tenant(&key.tenant)?, lease.time().as_secs_f64());
    let mine = lease.id().cast_signed();
    let statements: [Statement<'_>; 2] =
        [(TAKE, vec![&tenant, &key.hash, &fingerprint, &mine, &seconds]), (LOOK, vec![&tenant, &key.hash])];
    let answers = access.with_tenant(&key.tenant, &statements).await?;
    // It was abandoned between two statements.
    let Some(row) = answers[1].first() else {
        return Err(Trouble { error: late("a key that is taken and given back"), retry: true });
    };
    let (holder, of): (i64, &[u8]) = (row.try_get(0)?, row.try_get(1)?);
    if holder == mine {
        return Ok(Begin::First(lease));
    }
    if of != fingerprint {
        return Ok(Begin::Mismatch);
    }
    let remains: f64 = row.try_get(5)?;
    Ok(match (row.try_get::<_, Option<bool>>(2)?, rows::encoded(row.try_get(3)?, row.try_get(4)?)?) {
        (Some(is_failure), Some(answer)) => Begin::Done(rows::answer(is_failure, answer)?),
        _ => {
            let remains = Duration::try_from_secs_f64(remains).unwrap_or(LONGEST);
            let taken = lease.time().saturating_sub(remains);
            let pause = (taken / 2).clamp(LOOKS.0, LOOKS.1).min(remains.max(LOOKS.0));
            Begin::InFlight(Box::pin(tokio::time::sleep(pause)))
        }
    })
}

async fn complete(
    access: &Access,
    key: &Key,
    lease: i64,
    answer: &(bool, stageflow_core::durable::Encoded),
    ttl: f64,
) -> Result<bool, Trouble> {
    let tenant = rows::tenant(&key.tenant)?;
    let (is_failure, version) = (answer.0, i64::from(answer.1.version));
    let statements: [Statement<'_>; 2] = [
        (COMPLETE, vec![&tenant, &key.hash, &lease, &is_failure, &version, &answer.1.bytes, &ttl]),
        (SWEEP, vec![&tenant]),
    ];
    let answers = access.with_tenant(&key.tenant, &statements).await?;
    Ok(!answers[0].is_empty())
}

async fn abandon(access: &Access, key: &Key, lease: i64) -> Result<(), Trouble> {
    let tenant = rows::tenant(&key.tenant)?;
    access.with_tenant(&key.tenant, &[(ABANDON, vec![&tenant, &key.hash, &lease])]).await.map(drop)
}

impl IdempotencyStore for PostgresAnswers {
    fn begin<'a>(&'a self, key: &'a StoreKey, fingerprint: &'a Fingerprint) -> StoreFuture<'a, Begin> {
        let (access, key, fingerprint) = (self.access.clone(), Key::of(key), fingerprint.as_bytes().to_vec());
        let (id, _) = columns::unique().as_u64_pair();
        let (_, random) = columns::unique().as_u64_pair();
        let lease = Lease::new(id.rotate_left(32) ^ random, self.lease);
        let begun = self.access.spawn(async move {
            let key = key?;
            access.repeat(|| begin(&access, &key, &fingerprint, lease)).await
        });
        Box::pin(async move { Ok(begun.await?) })
    }

    fn complete<'a>(&'a self, key: &'a StoreKey, lease: Lease, answer: Answer) -> StoreFuture<'a, bool> {
        let (access, key, ttl) = (self.access.clone(), Key::of(key), self.ttl.as_secs_f64());
        let done = self.access.spawn(async move {
            let (key, answer) = (key?, rows::answer_columns(&answer)?);
            access.repeat(|| complete(&access, &key, lease.id().cast_signed(), &answer, ttl)).await
        });
        Box::pin(async move { Ok(done.await?) })
    }

    fn abandon(&self, key: &StoreKey, lease: Lease) {
        let Ok(key) = Key::of(key) else { return };
        let access = self.access.clone();
        drop(
            self.access.spawn(async move {
                access.repeat(|| abandon(&access, &key, lease.id().cast_signed())).await
            }),
        );
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

impl fmt::Debug for PostgresAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresAnswers")
            .field("ttl", &self.ttl)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
