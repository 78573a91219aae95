//! [`MemoryStore`]: journals, answers and audit records of one process.

mod answers;
mod data;
#[cfg(all(test, feature = "conformance"))]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, ready},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use stageflow_core::{
    RunId, RunOutcome, TenantId, UserId,
    audit::Audited,
    durable::{
        Ack, Answered, Encoded, Entry, EntryKind, Journal, JournalError, JournalFuture, JournaledRun,
        PauseRecord, PauseState, RunHeader, RunKey, RunLease, RunState, RunSummary,
    },
};
use tokio::time::Instant;

use self::answers::AnswerRow;
pub use self::answers::MemoryAnswers;
use crate::rows;

/// A store in memory: for tests, and for runs that need not survive their process. Clones share what it holds.
///
/// It has the contract of every other store, except that nothing survives the last clone. Values go through text and bytes here as well,
/// so that what does not come back elsewhere does not come back here.
///
/// # Leases
///
/// A run stays with whoever began it until it is released, as both live in one process. With [`lease`](Self::lease) it is free some time
/// after it was last written; [`expire_leases`](Self::expire_leases) stands in for the death of a process. Both go by tokio's clock, so
/// a test may pause it.
///
/// # Bounds
///
/// None: what is not [forgotten](Journal::forget_ended) stays.
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    lease: Option<Duration>,
    /// The time of day when tokio's clock stood there.
    base: (SystemTime, Instant),
}

#[derive(Default)]
struct State {
    runs: BTreeMap<(TenantId, RunId), Run>,
    answers: BTreeMap<(TenantId, [u8; 32]), AnswerRow>,
    audit: BTreeMap<TenantId, Vec<Audited>>,
    /// The last number given to a lease of an answer.
    last: u64,
}

struct Run {
    header: String,
    pipeline: String,
    started: i64,
    input: Option<Encoded>,
    entries: Vec<Row>,
    epoch: u64,
    hold: Hold,
    /// How it has ended, and when by its own clock.
    ended: Option<(RunOutcome, u64)>,
    pauses: BTreeMap<String, PauseRow>,
}

/// Until when a run is somebody's.
#[derive(Clone, Copy)]
enum Hold {
    Released,
    Until(Instant),
    UntilReleased,
}

impl Hold {
    fn is_held(self, now: Instant) -> bool {
        match self {
            Self::Released => false,
            Self::Until(until) => now < until,
            Self::UntilReleased => true,
        }
    }
}

struct Row {
    seq: u64,
    at: u64,
    kind: String,
    payload: Option<Encoded>,
}

struct PauseRow {
    record: PauseRecord,
    answer: Option<Encoded>,
}

impl PauseRow {
    fn state(&self, now: SystemTime) -> PauseState {
        match (&self.answer, self.record.expires) {
            (Some(answer), _) => PauseState::Answered(answer.clone()),
            (None, Some(expires)) if expires <= now => PauseState::Expired,
            (None, expires) => PauseState::Open { expires },
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store, whose runs are free only when they are released.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Arc::default(), lease: None, base: (rows::wall_now(), Instant::now()) }
    }

    /// How long after it was last written a run is free for others.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Ends the leases of all runs and answers in flight, as though the processes that hold them had died.
    pub fn expire_leases(&self) {
        let mut state = self.lock();
        for run in state.runs.values_mut() {
            run.hold = Hold::Released;
        }
        state.answers.retain(|_, row| !row.is_in_flight());
    }

    /// Forgets all answers, as though their time had come.
    pub fn expire_answers(&self) {
        self.lock().answers.retain(|_, row| row.is_in_flight());
    }

    /// A store of answers beside the journal: leases of 10 minutes, and answers for a day.
    pub fn answers(&self) -> MemoryAnswers {
        MemoryAnswers::new(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of day, which stands still and jumps with tokio's clock.
    fn wall(&self) -> SystemTime {
        let (wall, instant) = self.base;
        wall.checked_add(Instant::now().saturating_duration_since(instant)).unwrap_or(wall)
    }

    fn hold(&self) -> Hold {
        let until = self.lease.and_then(|lease| Instant::now().checked_add(lease));
        until.map_or(Hold::UntilReleased, Hold::Until)
    }

    fn begin_now(&self, header: &RunHeader) -> Result<RunLease, JournalError> {
        rows::tenant(header.key.tenant())?;
        let run = Run {
            header: rows::header_text(header)?,
            pipeline: header.snapshot.pipeline().to_owned(),
            started: rows::nanos_of(header.started),
            input: header.input.clone(),
            entries: Vec::new(),
            epoch: 1,
            hold: self.hold(),
            ended: None,
            pauses: BTreeMap::new(),
        };
        let mut state = self.lock();
        let key = id(&header.key);
        if state.runs.contains_key(&key) {
            return Err(rows::exists(&header.key));
        }
        state.runs.insert(key, run);
        Ok(RunLease { epoch: 1 })
    }

    fn append_now(&self, key: &RunKey, lease: RunLease, entries: Vec<Entry>) -> Result<(), JournalError> {
        rows::tenant(key.tenant())?;
        let hold = self.hold();
        let mut state = self.lock();
        let run = state.leased(key, lease)?;
        rows::follows(key, run.entries.last().map_or(0, |last| last.seq), &entries)?;
        let ended = entries.iter().find_map(|entry| match &entry.kind {
            EntryKind::RunEnded { outcome, .. } => Some((*outcome, entry.at)),
            _ => None,
        });
        let rows: Result<Vec<_>, _> = entries.into_iter().map(|entry| Row::of(key, entry)).collect();
        run.entries.extend(rows?);
        run.ended = ended;
        run.hold = hold;
        Ok(())
    }

    fn claim_now(&self, key: &RunKey) -> Result<(RunLease, JournaledRun), JournalError> {
        rows::tenant(key.tenant())?;
        let (hold, now) = (self.hold(), Instant::now());
        let mut state = self.lock();
        let run = state.runs.get_mut(&id(key)).ok_or_else(|| rows::not_found(key))?;
        if run.ended.is_some() {
            return Err(rows::ended(key));
        }
        if run.hold.is_held(now) {
            let until = match run.hold {
                Hold::Until(until) => self.wall().checked_add(until.saturating_duration_since(now)),
                Hold::Released | Hold::UntilReleased => None,
            };
            return Err(rows::held(key, until.unwrap_or_else(|| rows::time_of(i64::MAX))));
        }
        let journaled = run.journaled(key)?;
        run.epoch += 1;
        run.hold = hold;
        Ok((RunLease { epoch: run.epoch }, journaled))
    }

    fn unfinished_now(
        &self,
        tenant: &TenantId,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunSummary>, JournalError> {
        rows::tenant(tenant)?;
        let now = Instant::now();
        let state = self.lock();
        let open = state.of(tenant, after).filter(|(_, run)| run.ended.is_none()).take(limit);
        let summaries = open.map(|(run_id, run)| RunSummary {
            key: RunKey::new(tenant.as_str(), run_id),
            pipeline: run.pipeline.clone(),
            started: rows::time_of(run.started),
            state: if run.hold.is_held(now) { RunState::Running } else { RunState::Resumable },
        });
        Ok(summaries.collect())
    }

    fn forget_now(&self, tenant: &TenantId, before: SystemTime) -> Result<u64, JournalError> {
        rows::tenant(tenant)?;
        let before = rows::number(rows::nanos_of(before));
        let mut state = self.lock();
        let known = state.runs.len();
        state.runs.retain(|(of, _), run| of != tenant || run.ended.is_none_or(|(_, at)| at >= before));
        Ok((known - state.runs.len()) as u64)
    }

    fn pause_now(
        &self,
        key: &RunKey,
        lease: RunLease,
        record: &PauseRecord,
    ) -> Result<PauseState, JournalError> {
        rows::tenant(key.tenant())?;
        let (hold, now) = (self.hold(), self.wall());
        let mut state = self.lock();
        let run = state.leased(key, lease)?;
        run.hold = hold;
        let token = record.token.clone();
        let row =
            run.pauses.entry(token).or_insert_with(|| PauseRow { record: record.clone(), answer: None });
        Ok(row.state(now))
    }

    fn answer_now(&self, key: &RunKey, token: &str, answer: Encoded) -> Result<Answered, JournalError> {
        rows::tenant(key.tenant())?;
        let now = self.wall();
        let mut state = self.lock();
        let Some(run) = state.runs.get_mut(&id(key)) else { return Ok(Answered::NotWaiting) };
        let Some(pause) = run.pauses.get_mut(token) else { return Ok(Answered::NotWaiting) };
        Ok(match pause.state(now) {
            PauseState::Answered(_) => Answered::AlreadyAnswered,
            _ if run.ended.is_some() => Answered::NotWaiting,
            PauseState::Open { .. } => {
                pause.answer = Some(answer);
                Answered::Taken
            }
            _ => Answered::Expired,
        })
    }

    /// What `read` says of a run of a tenant that can be a key.
    fn of_run<T>(
        &self,
        key: &RunKey,
        read: impl FnOnce(Option<&Run>, SystemTime) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        rows::tenant(key.tenant())?;
        let now = self.wall();
        read(self.lock().runs.get(&id(key)), now)
    }
}

fn id(key: &RunKey) -> (TenantId, RunId) {
    (key.tenant().clone(), key.run())
}

impl State {
    /// The run, if the lease is its last and it goes on.
    fn leased(&mut self, key: &RunKey, lease: RunLease) -> Result<&mut Run, JournalError> {
        let run = self.runs.get_mut(&id(key)).filter(|run| run.epoch == lease.epoch);
        let run = run.ok_or_else(|| rows::lost(key))?;
        if run.ended.is_some() { Err(rows::ended(key)) } else { Ok(run) }
    }

    /// The runs of a tenant, by their ids.
    fn of<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: Option<RunId>,
    ) -> impl Iterator<Item = (RunId, &'a Run)> + 'a {
        let from = match after {
            Some(after) => Bound::Excluded((tenant.clone(), after)),
            None => Bound::Unbounded,
        };
        let runs = self.runs.range((from, Bound::Unbounded));
        runs.skip_while(move |((of, _), _)| of < tenant)
            .take_while(move |((of, _), _)| of == tenant)
            .map(|((_, run_id), run)| (*run_id, run))
    }
}

impl Run {
    fn journaled(&self, key: &RunKey) -> Result<JournaledRun, JournalError> {
        let header = rows::header(key, &self.header, self.started, self.input.clone())?;
        let entries = self.entries.iter().map(|row| {
            let (seq, at) = (rows::column(row.seq), rows::column(row.at));
            rows::entry(key, seq, at, &row.kind, row.payload.clone())
        });
        Ok(JournaledRun { header, entries: entries.collect::<Result<_, _>>()? })
    }
}

impl Row {
    fn of(key: &RunKey, entry: Entry) -> Result<Self, JournalError> {
        let kind = rows::kind_text(key, &entry.kind)?;
        Ok(Self { seq: entry.seq, at: entry.at, kind, payload: entry.payload })
    }
}

/// What is done by now, as a future that borrows nothing.
fn done<T: Send + 'static>(
    result: Result<T, JournalError>,
) -> std::pin::Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send>> {
    Box::pin(ready(result))
}

impl Journal for MemoryStore {
    fn begin(&self, header: Arc<RunHeader>) -> JournalFuture<'_, RunLease> {
        done(self.begin_now(&header))
    }

    fn append(&self, key: &RunKey, lease: RunLease, entries: Vec<Entry>) -> Ack {
        done(self.append_now(key, lease, entries))
    }

    fn claim<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, (RunLease, JournaledRun)> {
        Box::pin(async move { self.claim_now(key) })
    }

    fn release(&self, key: &RunKey, lease: RunLease) {
        if let Ok(run) = self.lock().leased(key, lease) {
            run.hold = Hold::Released;
        }
    }

    fn load<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, Option<JournaledRun>> {
        Box::pin(async move { self.of_run(key, |run, _| run.map(|run| run.journaled(key)).transpose()) })
    }

    fn unfinished<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: Option<RunId>,
        limit: usize,
    ) -> JournalFuture<'a, Vec<RunSummary>> {
        Box::pin(async move { self.unfinished_now(tenant, after, limit) })
    }

    fn forget_ended<'a>(&'a self, tenant: &'a TenantId, before: SystemTime) -> JournalFuture<'a, u64> {
        Box::pin(async move { self.forget_now(tenant, before) })
    }

    fn pause<'a>(
        &'a self,
        key: &'a RunKey,
        lease: RunLease,
        record: &'a PauseRecord,
    ) -> JournalFuture<'a, PauseState> {
        Box::pin(async move { self.pause_now(key, lease, record) })
    }

    fn pause_state<'a>(&'a self, key: &'a RunKey, token: &'a str) -> JournalFuture<'a, Option<PauseState>> {
        Box::pin(async move {
            self.of_run(key, |run, now| {
                Ok(run.and_then(|run| run.pauses.get(token)).map(|pause| pause.state(now)))
            })
        })
    }

    fn answer<'a>(
        &'a self,
        key: &'a RunKey,
        token: &'a str,
        answer: Encoded,
        _by: Option<&'a UserId>,
    ) -> JournalFuture<'a, Answered> {
        Box::pin(async move { self.answer_now(key, token, answer) })
    }

    fn pauses<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, Vec<PauseRecord>> {
        Box::pin(async move {
            self.of_run(key, |run, now| {
                let Some(run) = run.filter(|run| run.ended.is_none()) else { return Ok(Vec::new()) };
                let open =
                    run.pauses.values().filter(|row| matches!(row.state(now), PauseState::Open { .. }));
                Ok(open.map(|row| row.record.clone()).collect())
            })
        })
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(2)
    }

    fn stored_bytes<'a>(&'a self, tenant: &'a TenantId) -> JournalFuture<'a, Option<u64>> {
        Box::pin(async {
            stageflow_core::audit::TenantData::usage(self, tenant).await.map(|usage| Some(usage.bytes))
        })
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("MemoryStore")
            .field("runs", &state.runs.len())
            .field("answers", &state.answers.len())
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
