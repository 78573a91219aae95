//! [`Journal`] on PostgreSQL.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use stageflow_core::{
    RunId, TenantId, UserId,
    durable::{
        Ack, Answered, Encoded, Entry, EntryKind, Journal, JournalError, JournalFuture, JournaledRun,
        PauseRecord, PauseState, RunHeader, RunKey, RunLease, RunState, RunSummary,
    },
};
use tokio::{sync::oneshot, time::Instant};
use tokio_postgres::Row;

use super::{
    PostgresStore,
    access::{Access, Statement},
    batch::{Line, Request},
    columns::{self, Id},
    pauses,
    trouble::{Trouble, late},
};
use crate::rows;

/// A repeated one finds its own row.
const BEGIN: &str = "
INSERT INTO stageflow.runs
    (tenant, run, epoch, holder, lease_until, next_seq, pipeline, started, header, input_version, input)
VALUES ($1, $2, 1, $3, clock_timestamp() + make_interval(secs => $4::float8), 1, $5, $6, $7, $8, $9)
ON CONFLICT (tenant, run) DO UPDATE SET lease_until = excluded.lease_until
    WHERE runs.holder = excluded.holder AND runs.epoch = 1 AND runs.outcome IS NULL
RETURNING run";

/// A repeated one finds its own epoch.
const CLAIM: &str = "
UPDATE stageflow.runs
SET epoch = CASE WHEN holder = $3 THEN epoch ELSE epoch + 1 END, holder = $3,
    lease_until = clock_timestamp() + make_interval(secs => $4::float8)
WHERE tenant = $1 AND run = $2 AND outcome IS NULL
    AND (lease_until IS NULL OR lease_until <= clock_timestamp() OR holder = $3)
RETURNING epoch";

const RUN: &str = "
SELECT header, started, input_version, input, outcome IS NOT NULL AS ended,
    (extract(epoch FROM lease_until) * 1000000000)::bigint AS until
FROM stageflow.runs WHERE tenant = $1 AND run = $2";

const ENTRIES: &str = "
SELECT seq, at, kind, payload_version, payload FROM stageflow.entries WHERE tenant = $1 AND run = $2 ORDER BY seq";

const ENTRIES_OF_HOLDER: &str = "
SELECT seq, at, kind, payload_version, payload FROM stageflow.entries
WHERE tenant = $1 AND run = $2
    AND EXISTS (SELECT FROM stageflow.runs WHERE tenant = $1 AND run = $2 AND holder = $3)
ORDER BY seq";

const UNFINISHED: &str = "
SELECT run, pipeline, started, COALESCE(lease_until > clock_timestamp(), false)
FROM stageflow.runs
WHERE tenant = $1 AND outcome IS NULL AND ($2::uuid IS NULL OR run > $2)
ORDER BY run LIMIT $3";

/// Some at a time, so that none takes longer than a statement may.
const FORGET: &str = "
WITH gone AS (
    DELETE FROM stageflow.runs WHERE tenant = $1 AND run IN (
        SELECT run FROM stageflow.runs WHERE tenant = $1 AND outcome IS NOT NULL AND ended < $2
        ORDER BY run LIMIT 200 FOR UPDATE SKIP LOCKED
    ) RETURNING run
), entries AS (
    DELETE FROM stageflow.entries AS e USING gone WHERE e.tenant = $1 AND e.run = gone.run
), pauses AS (
    DELETE FROM stageflow.pauses AS p USING gone WHERE p.tenant = $1 AND p.run = gone.run
)
SELECT count(*) FROM gone";

/// A text as a column, which holds no zero byte.
pub(super) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn journaled(key: &RunKey, run: &Row, entries: &[Row]) -> Result<JournaledRun, Trouble> {
    let input = rows::encoded(run.try_get(2)?, run.try_get(3)?)?;
    let header = rows::header(key, run.try_get(0)?, run.try_get(1)?, input)?;
    let entries = entries.iter().map(|row| {
        let payload = rows::encoded(row.try_get(3)?, row.try_get(4)?)?;
        Ok(rows::entry(key, row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, payload)?)
    });
    Ok(JournaledRun { header, entries: entries.collect::<Result<_, Trouble>>()? })
}

async fn begin(access: &Access, header: &RunHeader, holder: Id, lease: f64) -> Result<RunLease, Trouble> {
    let key = &header.key;
    let (tenant, run) = (rows::tenant(key.tenant())?, columns::id(key.run()));
    let (pipeline, started) = (text(header.snapshot.pipeline()), rows::nanos_of(header.started));
    let body = rows::header_text(header)?;
    let version = header.input.as_ref().map(|input| i64::from(input.version));
    let input = header.input.as_ref().map(|input| input.bytes.as_slice());
    let statement: Statement<'_> =
        (BEGIN, vec![&tenant, &run, &holder, &lease, &pipeline, &started, &body, &version, &input]);
    let answers = access.with_tenant(key.tenant(), &[statement]).await?;
    if answers[0].is_empty() { Err(rows::exists(key).into()) } else { Ok(RunLease { epoch: 1 }) }
}

async fn claim(
    access: &Access,
    key: &RunKey,
    holder: Id,
    lease: f64,
) -> Result<(RunLease, JournaledRun), Trouble> {
    let (tenant, run) = (rows::tenant(key.tenant())?, columns::id(key.run()));
    let statements: [Statement<'_>; 3] = [
        (CLAIM, vec![&tenant, &run, &holder, &lease]),
        (RUN, vec![&tenant, &run]),
        (ENTRIES_OF_HOLDER, vec![&tenant, &run, &holder]),
    ];
    let answers = access.with_tenant(key.tenant(), &statements).await?;
    let Some(row) = answers[1].first() else { return Err(rows::not_found(key).into()) };
    if let Some(claimed) = answers[0].first() {
        let epoch = rows::number(claimed.try_get(0)?);
        return Ok((RunLease { epoch }, journaled(key, row, &answers[2])?));
    }
    let (ended, until): (bool, Option<i64>) = (row.try_get(4)?, row.try_get(5)?);
    Err(match until {
        _ if ended => rows::ended(key).into(),
        Some(until) => rows::held(key, rows::time_of(until)).into(),
        // It was given back between two statements.
        None => Trouble { error: late("the lease of a run"), retry: true },
    })
}

async fn load(access: &Access, key: &RunKey) -> Result<Option<JournaledRun>, Trouble> {
    let (tenant, run) = (rows::tenant(key.tenant())?, columns::id(key.run()));
    let statements: [Statement<'_>; 2] = [(RUN, vec![&tenant, &run]), (ENTRIES, vec![&tenant, &run])];
    let answers = access.with_tenant(key.tenant(), &statements).await?;
    answers[0].first().map(|row| journaled(key, row, &answers[1])).transpose()
}

async fn unfinished(
    access: &Access,
    tenant: &TenantId,
    after: Option<RunId>,
    limit: i64,
) -> Result<Vec<RunSummary>, Trouble> {
    let (name, after) = (rows::tenant(tenant)?, after.map(columns::id));
    let answers = access.with_tenant(tenant, &[(UNFINISHED, vec![&name, &after, &limit])]).await?;
    let summaries = answers[0].iter().map(|row| {
        Ok(RunSummary {
            key: RunKey::new(tenant.clone(), columns::run(row.try_get(0)?)),
            pipeline: row.try_get(1)?,
            started: rows::time_of(row.try_get(2)?),
            state: if row.try_get(3)? { RunState::Running } else { RunState::Resumable },
        })
    });
    summaries.collect()
}

impl PostgresStore {
    /// Hands to the writer what it is to do, and gives what it says.
    fn ask(&self, request: impl FnOnce(Option<oneshot::Sender<Result<(), JournalError>>>) -> Request) -> Ack {
        let (done, answer) = oneshot::channel();
        let request = request(Some(done));
        let until = request.until;
        if self.queue.send(request).is_err() {
            return Box::pin(async { Err(late("the task that writes has ended")) });
        }
        let answer = self.access.runtime.spawn(tokio::time::timeout_at(until, answer));
        Box::pin(async move {
            match answer.await {
                Ok(Ok(Ok(answer))) => answer,
                Ok(Err(_)) => Err(late("entries of a journal; whether they were written is not known")),
                _ => Err(late("the task that writes has ended")),
            }
        })
    }

    fn lease_seconds(&self) -> f64 {
        self.options.lease.as_secs_f64()
    }
}

fn lines(key: &RunKey, entries: &[Entry]) -> Result<Vec<Line>, JournalError> {
    rows::tenant(key.tenant())?;
    let before = entries.first().map_or(0, |first| first.seq.saturating_sub(1));
    rows::follows(key, before, entries)?;
    let line = |entry: &Entry| {
        Ok(Line {
            seq: rows::column(entry.seq),
            at: rows::column(entry.at),
            kind: rows::kind_text(key, &entry.kind)?,
            payload: entry.payload.clone(),
        })
    };
    entries.iter().map(line).collect()
}

/// How the run ends with these entries, and when.
fn ended(entries: &[Entry]) -> Option<(&'static str, i64)> {
    entries.iter().find_map(|entry| match &entry.kind {
        EntryKind::RunEnded { outcome, .. } => Some((outcome.as_str(), rows::column(entry.at))),
        _ => None,
    })
}

impl Journal for PostgresStore {
    fn begin(&self, header: Arc<RunHeader>) -> JournalFuture<'_, RunLease> {
        let (access, lease, key) = (self.access.clone(), self.lease_seconds(), header.key.clone());
        let holder = columns::unique();
        let begun =
            self.access.spawn(async move { access.repeat(|| begin(&access, &header, holder, lease)).await });
        Box::pin(async move {
            let lease = begun.await?;
            // Only who has the answer goes on with it: the lease of any other ends.
            self.held.take(key, rows::column(lease.epoch));
            Ok(lease)
        })
    }

    fn append(&self, key: &RunKey, lease: RunLease, entries: Vec<Entry>) -> Ack {
        let ended = ended(&entries);
        let lines = match lines(key, &entries) {
            Ok(lines) => lines,
            Err(error) => return Box::pin(async { Err(error) }),
        };
        let until = Instant::now() + self.options.answer_within;
        let key = key.clone();
        self.ask(|done| Request { key, lease, lines, ended, release: None, done, until })
    }

    fn claim<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, (RunLease, JournaledRun)> {
        let (access, lease, of) = (self.access.clone(), self.lease_seconds(), key.clone());
        let (releases, holder) = (self.releases.clone(), columns::unique());
        let claimed = self.access.spawn(async move {
            releases.settled(|key| *key == of).await;
            access.repeat(|| claim(&access, &of, holder, lease)).await
        });
        Box::pin(async move {
            let (lease, run) = claimed.await?;
            self.held.take(key.clone(), rows::column(lease.epoch));
            Ok((lease, run))
        })
    }

    fn release(&self, key: &RunKey, lease: RunLease) {
        self.held.drop_lost(key, rows::column(lease.epoch));
        if rows::tenant(key.tenant()).is_err() {
            return;
        }
        let until = Instant::now() + self.options.answer_within;
        let release = Some(self.releases.begin(key, lease.epoch));
        let (key, lines) = (key.clone(), Vec::new());
        let _it_ends_by_itself =
            self.queue.send(Request { key, lease, lines, ended: None, release, done: None, until });
    }

    fn load<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, Option<JournaledRun>> {
        let (access, key) = (self.access.clone(), key.clone());
        self.access.spawn(async move { access.repeat(|| load(&access, &key)).await })
    }

    fn unfinished<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: Option<RunId>,
        limit: usize,
    ) -> JournalFuture<'a, Vec<RunSummary>> {
        let (access, tenant) = (self.access.clone(), tenant.clone());
        let limit = rows::column(limit as u64);
        let releases = self.releases.clone();
        self.access.spawn(async move {
            releases.settled(|key| *key.tenant() == tenant).await;
            access.repeat(|| unfinished(&access, &tenant, after, limit)).await
        })
    }

    fn forget_ended<'a>(&'a self, tenant: &'a TenantId, before: SystemTime) -> JournalFuture<'a, u64> {
        let (access, tenant) = (self.access.clone(), tenant.clone());
        let before = rows::nanos_of(before);
        self.access.spawn(async move {
            let mut forgotten = 0;
            loop {
                let some = access.once(forget(&access, &tenant, before)).await?;
                forgotten += some;
                if some == 0 {
                    return Ok(forgotten);
                }
            }
        })
    }

    fn pause<'a>(
        &'a self,
        key: &'a RunKey,
        lease: RunLease,
        record: &'a PauseRecord,
    ) -> JournalFuture<'a, PauseState> {
        let (access, key, record) = (self.access.clone(), key.clone(), record.clone());
        let (epoch, seconds) = (rows::column(lease.epoch), self.lease_seconds());
        self.access.spawn(async move {
            access.repeat(|| pauses::pause(&access, &key, epoch, &record, seconds)).await
        })
    }

    fn pause_state<'a>(&'a self, key: &'a RunKey, token: &'a str) -> JournalFuture<'a, Option<PauseState>> {
        let (access, key, token) = (self.access.clone(), key.clone(), token.to_owned());
        self.access.spawn(async move { access.repeat(|| pauses::pause_state(&access, &key, &token)).await })
    }

    fn answer<'a>(
        &'a self,
        key: &'a RunKey,
        token: &'a str,
        said: Encoded,
        by: Option<&'a UserId>,
    ) -> JournalFuture<'a, Answered> {
        let (access, key, token, by) = (self.access.clone(), key.clone(), token.to_owned(), by.cloned());
        let call = columns::unique();
        self.access.spawn(async move {
            access.repeat(|| pauses::answer(&access, &key, &token, &said, by.as_ref(), call)).await
        })
    }

    fn pauses<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, Vec<PauseRecord>> {
        let (access, key) = (self.access.clone(), key.clone());
        self.access.spawn(async move { access.repeat(|| pauses::pauses(&access, &key)).await })
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(500)
    }

    fn describe(&self) -> String {
        self.place.to_string()
    }
}

async fn forget(access: &Access, tenant: &TenantId, before: i64) -> Result<u64, Trouble> {
    let name = rows::tenant(tenant)?;
    let answers = access.with_tenant(tenant, &[(FORGET, vec![&name, &before])]).await?;
    Ok(rows::number(answers[0][0].try_get(0)?))
}
