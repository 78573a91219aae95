//! [`Journal`]: what keeps the journals of runs.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{Answered, Encoded, Entry, EntryKind, JournalError, PauseRecord, PauseState};
use crate::{
    id::{RunId, TenantId, UserId},
    outcome::RunOutcome,
    snapshot::ContextSnapshot,
};

/// What a journal is doing. Dropping it loses the answer, not what was asked for.
pub type JournalFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send + 'a>>;

/// Completes when entries are durable: whatever happens to process and machine from then on, they are read again.
pub type Ack = Pin<Box<dyn Future<Output = Result<(), JournalError>> + Send>>;

/// Under what a run is kept. There is no key without a tenant (rule S-32).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunKey {
    tenant: TenantId,
    run: RunId,
}

impl RunKey {
    /// A run of a tenant.
    pub fn new(tenant: impl Into<TenantId>, run: RunId) -> Self {
        Self { tenant: tenant.into(), run }
    }

    /// The tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The run.
    pub fn run(&self) -> RunId {
        self.run
    }
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} of tenant `{}`", self.run, self.tenant)
    }
}

/// What a run was begun with.
#[derive(Clone, Debug)]
pub struct RunHeader {
    /// Its key.
    pub key: RunKey,
    /// Whose it is, until when it may take, and what it may use. Extensions come back if they were inserted by name.
    pub snapshot: ContextSnapshot,
    /// The input of the pipeline.
    pub input: Option<Encoded>,
    /// When it began, by the wall clock.
    pub started: SystemTime,
    /// What its random numbers are drawn from.
    pub seed: u64,
    /// The run that it is a branch of, if it is one.
    pub branch_of: Option<RunId>,
}

impl RunHeader {
    /// Checks that the snapshot is that of the key: the key is what the store has kept apart, and the snapshot is what stages, policies
    /// and events go by. Whoever goes on with a run calls it first.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](super::JournalErrorKind::Corrupt), if the snapshot is of another tenant, of none, or of another run. Whose it says
    /// it is, is not in the error.
    pub fn check(&self) -> Result<(), JournalError> {
        let identity = self.snapshot.identity();
        let what = if identity.run_id() != self.key.run() {
            "another run"
        } else if identity.tenant_id() != Some(self.key.tenant()) {
            "another tenant"
        } else {
            return Ok(());
        };
        let error = JournalError::new(
            super::JournalErrorKind::Corrupt,
            format!("the header of {} is that of {what}", self.key),
        );
        Err(error.hint("somebody has changed the row: find out who can write to the store, and restore the run from a backup"))
    }
}

/// The right to go on with a run, for a time. A later lease of the same run has a larger epoch, and the earlier one is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLease {
    /// How often the run was begun or taken over.
    pub epoch: u64,
}

/// How a run stands in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunState {
    /// It has not ended, and some process holds its lease.
    Running,
    /// It has not ended, and nobody goes on with it.
    Resumable,
    /// It has ended.
    Ended(RunOutcome),
}

/// One run in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// Its key.
    pub key: RunKey,
    /// Its pipeline.
    pub pipeline: String,
    /// When it began.
    pub started: SystemTime,
    /// How it stands.
    pub state: RunState,
}

/// Everything that a journal has of a run.
#[derive(Clone, Debug)]
pub struct JournaledRun {
    /// What it was begun with.
    pub header: RunHeader,
    /// Its entries, by their numbers.
    pub entries: Vec<Entry>,
}

impl JournaledRun {
    /// How it has ended, if it has.
    pub fn outcome(&self) -> Option<RunOutcome> {
        self.entries.iter().rev().find_map(|entry| match &entry.kind {
            EntryKind::RunEnded { outcome, .. } => Some(*outcome),
            _ => None,
        })
    }
}

/// Keeps the journals of runs: what was begun, what has ended, and who goes on with it.
///
/// # Contract
///
/// - **Durable.** What [`append`](Self::append) and [`begin`](Self::begin) have acknowledged is read again, whatever becomes of the
///   process and the machine. What was not acknowledged is there as a whole or not at all: the entries of a run that can be read are always
///   the first ones, without a gap.
/// - **Fenced.** Of all leases of a run only the last given is worth something: entries under any other are refused with
///   [`LeaseLost`](super::JournalErrorKind::LeaseLost), and not written.
/// - **By tenant.** The tenant of the key decides what is seen: of a run of another tenant nothing can be found out, also not whether it
///   exists.
/// - **In order.** The entries of one run become durable in the order of the calls of `append`.
/// - **Eager.** `append` has taken the entries when it returns; dropping the [`Ack`] loses nothing.
///
/// Whoever writes another one has it tested by the suite `stageflow_store::conformance`.
pub trait Journal: Send + Sync + 'static {
    /// Begins a run: durable when it completes.
    ///
    /// # Errors
    ///
    /// [`Exists`](super::JournalErrorKind::Exists), also for a run that has ended; whatever the store is in trouble with.
    fn begin(&self, header: Arc<RunHeader>) -> JournalFuture<'_, RunLease>;

    /// Writes entries of a run, whose numbers follow those before.
    fn append(&self, key: &RunKey, lease: RunLease, entries: Vec<Entry>) -> Ack;

    /// Takes a run over that nobody goes on with: gives a new lease, and what the journal has of the run.
    ///
    /// # Errors
    ///
    /// [`NotFound`](super::JournalErrorKind::NotFound), [`Ended`](super::JournalErrorKind::Ended),
    /// [`LeaseHeld`](super::JournalErrorKind::LeaseHeld).
    fn claim<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, (RunLease, JournaledRun)>;

    /// Gives a lease back, so that another may take the run over at once. It is called where nothing can wait: a store that has to does
    /// so in a task of its own, after what was appended before.
    fn release(&self, key: &RunKey, lease: RunLease);

    /// What the journal has of a run, for whoever only reads.
    fn load<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, Option<JournaledRun>>;

    /// The runs of a tenant that have not ended, the oldest first, at most so many of those after `after`.
    fn unfinished<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: Option<RunId>,
        limit: usize,
    ) -> JournalFuture<'a, Vec<RunSummary>>;

    /// Forgets the runs of a tenant that have ended before a time; gives how many those were.
    fn forget_ended<'a>(&'a self, tenant: &'a TenantId, before: SystemTime) -> JournalFuture<'a, u64>;

    /// Opens a pause of a run, or finds it as it was opened before: durable when it completes.
    fn pause<'a>(
        &'a self,
        key: &'a RunKey,
        lease: RunLease,
        record: &'a PauseRecord,
    ) -> JournalFuture<'a, PauseState>;

    /// How a pause stands; `None` if it was never opened.
    fn pause_state<'a>(&'a self, key: &'a RunKey, token: &'a str) -> JournalFuture<'a, Option<PauseState>>;

    /// Answers a pause, once: durable when it completes. It takes no lease, as somebody outside the run gives the answer.
    fn answer<'a>(
        &'a self,
        key: &'a RunKey,
        token: &'a str,
        answer: Encoded,
        by: Option<&'a UserId>,
    ) -> JournalFuture<'a, Answered>;

    /// The pauses of a run that wait for their answer.
    fn pauses<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, Vec<PauseRecord>>;

    /// How long to wait between two looks at a pause whose answer may come from another process.
    fn poll_interval(&self) -> Duration {
        Duration::from_millis(500)
    }

    /// How many bytes a tenant has stored, as far as the journal knows it: asked before a run begins whose tenant has a quota of them.
    fn stored_bytes<'a>(&'a self, _tenant: &'a TenantId) -> JournalFuture<'a, Option<u64>> {
        Box::pin(async { Ok(None) })
    }

    /// What it is, for listings: a file, or a server and a database, without a password.
    fn describe(&self) -> String;
}
