//! Runs, entries and pauses in their tables.

use std::{collections::HashMap, time::SystemTime};

use rusqlite::{Connection, Row};
use stageflow_core::{
    RunId, TenantId, UserId,
    durable::{
        Answered, Encoded, Entry, EntryKind, JournaledRun, PauseRecord, PauseState, RunHeader, RunKey,
        RunLease, RunState, RunSummary,
    },
};

use super::{
    error::Stop,
    owner::Owner,
    scope::{Scope, Sql},
};
use crate::rows;

/// What is the same of a run in every statement.
pub(super) struct Runs<'a> {
    scope: Scope<'a>,
    connection: &'a Connection,
    key: &'a RunKey,
    run: [u8; 16],
}

/// A run as the table has it.
struct Standing {
    epoch: i64,
    owner: Option<i64>,
    has_ended: bool,
}

type Stored<T> = Result<T, Stop>;

const STANDING: Sql =
    Sql::new("SELECT epoch, owner, outcome IS NOT NULL FROM runs WHERE tenant = ?1 AND run = ?2");
const BEGIN: Sql = Sql::new(
    "INSERT INTO runs (tenant, run, pipeline, started, epoch, owner) VALUES (?1, ?2, ?3, ?4, 1, ?5)",
);
const HEADER: Sql =
    Sql::new("INSERT INTO headers (tenant, run, header, input_version, input) VALUES (?1, ?2, ?3, ?4, ?5)");
const LAST: Sql = Sql::new("SELECT max(seq) FROM entries WHERE tenant = ?1 AND run = ?2");
const ENTRY: Sql = Sql::new(
    "INSERT INTO entries (tenant, run, seq, at, kind, payload_version, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
);
const END: Sql =
    Sql::new("UPDATE runs SET outcome = ?3, ended = ?4, owner = NULL WHERE tenant = ?1 AND run = ?2");
const CLAIM: Sql = Sql::new("UPDATE runs SET epoch = ?3, owner = ?4 WHERE tenant = ?1 AND run = ?2");
const RELEASE: Sql = Sql::new("UPDATE runs SET owner = NULL WHERE tenant = ?1 AND run = ?2 AND epoch = ?3");
const LOAD_HEADER: Sql = Sql::new(
    "SELECT h.header, r.started, h.input_version, h.input FROM runs r JOIN headers h USING (tenant, run) WHERE r.tenant = ?1 AND run = ?2",
);
const LOAD_ENTRIES: Sql = Sql::new(
    "SELECT seq, at, kind, payload_version, payload FROM entries WHERE tenant = ?1 AND run = ?2 ORDER BY seq",
);
const UNFINISHED: Sql = Sql::new(
    "SELECT run, pipeline, started, owner FROM runs WHERE tenant = ?1 AND run > ?2 AND outcome IS NULL ORDER BY run LIMIT ?3",
);
const FORGET: Sql = Sql::new("DELETE FROM runs WHERE tenant = ?1 AND ended < ?2");
const PAUSE: Sql = Sql::new(
    "INSERT INTO pauses (tenant, run, token, stage, opened, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
);
const PAUSE_STATE: Sql = Sql::new(
    "SELECT expires, answer_version, answer FROM pauses WHERE tenant = ?1 AND run = ?2 AND token = ?3",
);
const ANSWER: Sql = Sql::new(
    "UPDATE pauses SET answer_version = ?4, answer = ?5, answered = ?6, answered_by = ?7 WHERE tenant = ?1 AND run = ?2 AND token = ?3",
);
const PAUSES: Sql = Sql::new(
    "SELECT stage, token, opened, expires FROM pauses WHERE tenant = ?1 AND run = ?2 AND answer IS NULL AND (expires IS NULL OR expires > ?3) ORDER BY opened, token",
);

impl<'a> Runs<'a> {
    pub(super) fn new(connection: &'a Connection, key: &'a RunKey) -> Stored<Self> {
        Ok(Self { scope: Scope::new(connection, key.tenant())?, connection, key, run: *key.run().as_bytes() })
    }

    fn standing(&self) -> Stored<Option<Standing>> {
        let read =
            |row: &Row<'_>| Ok(Standing { epoch: row.get(0)?, owner: row.get(1)?, has_ended: row.get(2)? });
        Ok(self.scope.find(STANDING, &[&self.run], read)?)
    }

    /// That the lease is the last of the run, and the run goes on.
    fn leased(&self, lease: RunLease) -> Stored<()> {
        let standing = self.standing()?.filter(|standing| standing.epoch == rows::column(lease.epoch));
        match standing {
            None => Err(rows::lost(self.key).into()),
            Some(standing) if standing.has_ended => Err(rows::ended(self.key).into()),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn begin(&self, header: &RunHeader, text: &str, owner: &Owner) -> Stored<RunLease> {
        if self.standing()?.is_some() {
            return Err(rows::exists(self.key).into());
        }
        let (pipeline, started) = (header.snapshot.pipeline(), rows::nanos_of(header.started));
        self.scope.execute(BEGIN, &[&self.run, &pipeline, &started, &owner.id()])?;
        let (version, input) = columns(header.input.as_ref());
        self.scope.execute(HEADER, &[&self.run, &text, &version, &input])?;
        Ok(RunLease { epoch: 1 })
    }

    /// Writes entries, whose texts were made before.
    pub(super) fn append(&self, lease: RunLease, entries: &[Entry], texts: &[String]) -> Stored<()> {
        self.leased(lease)?;
        if entries.is_empty() {
            return Ok(());
        }
        let last = self.scope.find(LAST, &[&self.run], |row| row.get::<_, Option<i64>>(0))?.flatten();
        rows::follows(self.key, rows::number(last.unwrap_or_default()), entries)?;
        for (entry, text) in entries.iter().zip(texts) {
            let (version, payload) = columns(entry.payload.as_ref());
            let (seq, at) = (rows::column(entry.seq), rows::column(entry.at));
            self.scope.execute(ENTRY, &[&self.run, &seq, &at, text, &version, &payload])?;
            if let EntryKind::RunEnded { outcome, .. } = &entry.kind {
                self.scope.execute(END, &[&self.run, &outcome.as_str(), &at])?;
            }
        }
        Ok(())
    }

    pub(super) fn claim(&self, owner: &Owner) -> Stored<(RunLease, JournaledRun)> {
        let standing = self.standing()?.ok_or_else(|| rows::not_found(self.key))?;
        if standing.has_ended {
            return Err(rows::ended(self.key).into());
        }
        if let Some(until) = owner.held_until(standing.owner, self.connection)? {
            return Err(rows::held(self.key, rows::time_of(until)).into());
        }
        let run = self.load()?.ok_or_else(|| rows::not_found(self.key))?;
        let epoch = standing.epoch + 1;
        self.scope.execute(CLAIM, &[&self.run, &epoch, &owner.id()])?;
        Ok((RunLease { epoch: rows::number(epoch) }, run))
    }

    pub(super) fn release(&self, lease: RunLease) -> Stored<()> {
        self.scope.execute(RELEASE, &[&self.run, &rows::column(lease.epoch)])?;
        Ok(())
    }

    pub(super) fn load(&self) -> Stored<Option<JournaledRun>> {
        let read = |row: &Row<'_>| {
            Ok((row.get::<_, String>(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?, row.get(3)?))
        };
        let Some((text, started, version, input)) = self.scope.find(LOAD_HEADER, &[&self.run], read)? else {
            return Ok(None);
        };
        let header = rows::header(self.key, &text, started, rows::encoded(version, input)?)?;
        let read = |row: &Row<'_>| {
            let (seq, at, kind) = (row.get(0)?, row.get(1)?, row.get_ref(2)?.as_str()?);
            let payload = rows::encoded(row.get(3)?, row.get(4)?);
            Ok(payload.and_then(|payload| rows::entry(self.key, seq, at, kind, payload)))
        };
        let entries = self.scope.list(LOAD_ENTRIES, &[&self.run], read)?;
        Ok(Some(JournaledRun { header, entries: entries.into_iter().collect::<Result<_, _>>()? }))
    }

    pub(super) fn pause(&self, lease: RunLease, record: &PauseRecord) -> Stored<PauseState> {
        self.leased(lease)?;
        let (opened, expires) = (rows::nanos_of(record.opened), record.expires.map(rows::nanos_of));
        self.scope.execute(PAUSE, &[&self.run, &record.token, &record.stage, &opened, &expires])?;
        let state = self.pause_state(&record.token)?;
        Ok(state.unwrap_or(PauseState::Open { expires: record.expires }))
    }

    pub(super) fn pause_state(&self, token: &str) -> Stored<Option<PauseState>> {
        let now = rows::nanos_of(rows::wall_now());
        let read = |row: &Row<'_>| Ok((row.get::<_, Option<i64>>(0)?, row.get(1)?, row.get(2)?));
        let Some((expires, version, answer)) = self.scope.find(PAUSE_STATE, &[&self.run, &token], read)?
        else {
            return Ok(None);
        };
        Ok(Some(match (rows::encoded(version, answer)?, expires) {
            (Some(answer), _) => PauseState::Answered(answer),
            (None, Some(expires)) if expires <= now => PauseState::Expired,
            (None, expires) => PauseState::Open { expires: expires.map(rows::time_of) },
        }))
    }

    pub(super) fn answer(&self, token: &str, answer: &Encoded, by: Option<&UserId>) -> Stored<Answered> {
        let (Some(standing), Some(state)) = (self.standing()?, self.pause_state(token)?) else {
            return Ok(Answered::NotWaiting);
        };
        match state {
            PauseState::Answered(_) => return Ok(Answered::AlreadyAnswered),
            _ if standing.has_ended => return Ok(Answered::NotWaiting),
            PauseState::Open { .. } => {}
            _ => return Ok(Answered::Expired),
        }
        let (version, bytes) = columns(Some(answer));
        let now = rows::nanos_of(rows::wall_now());
        let by = by.map(UserId::as_str);
        self.scope.execute(ANSWER, &[&self.run, &token, &version, &bytes, &now, &by])?;
        Ok(Answered::Taken)
    }

    pub(super) fn pauses(&self) -> Stored<Vec<PauseRecord>> {
        if self.standing()?.is_none_or(|standing| standing.has_ended) {
            return Ok(Vec::new());
        }
        let read = |row: &Row<'_>| {
            Ok(PauseRecord {
                stage: row.get(0)?,
                token: row.get(1)?,
                opened: rows::time_of(row.get(2)?),
                expires: row.get::<_, Option<i64>>(3)?.map(rows::time_of),
            })
        };
        let now = rows::nanos_of(rows::wall_now());
        Ok(self.scope.list(PAUSES, &[&self.run, &now], read)?)
    }
}

/// The runs of a tenant that have not ended.
pub(super) fn unfinished(
    connection: &Connection,
    tenant: &TenantId,
    after: Option<RunId>,
    limit: usize,
    owner: &Owner,
) -> Stored<Vec<RunSummary>> {
    let scope = Scope::new(connection, tenant)?;
    let after = after.map_or(Vec::new(), |after| after.as_bytes().to_vec());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let read = |row: &Row<'_>| {
        Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get::<_, Option<i64>>(3)?))
    };
    let found = scope.list(UNFINISHED, &[&after, &limit], read)?;
    // Many runs are held by few.
    let mut alive = HashMap::new();
    let summary = |(run, pipeline, started, holder): ([u8; 16], String, i64, Option<i64>)| {
        let is_held = match alive.get(&holder) {
            Some(known) => *known,
            None => *alive.entry(holder).or_insert(owner.held_until(holder, connection)?.is_some()),
        };
        let state = if is_held { RunState::Running } else { RunState::Resumable };
        let key = RunKey::new(tenant.as_str(), RunId::from_bytes(run));
        Ok(RunSummary { key, pipeline, started: rows::time_of(started), state })
    };
    found.into_iter().map(summary).collect()
}

/// Forgets the runs of a tenant that have ended before.
pub(super) fn forget(connection: &Connection, tenant: &TenantId, before: SystemTime) -> Stored<u64> {
    let scope = Scope::new(connection, tenant)?;
    Ok(scope.execute(FORGET, &[&rows::nanos_of(before)])? as u64)
}

/// A value in its two columns.
fn columns(encoded: Option<&Encoded>) -> (Option<i64>, Option<&[u8]>) {
    (encoded.map(|encoded| i64::from(encoded.version)), encoded.map(|encoded| encoded.bytes.as_slice()))
}
