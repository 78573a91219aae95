//! A journal that does as it is told at each of its operations.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use stageflow::{
    RunId, TenantId, UserId,
    durable::{
        Ack, Answered, Encoded, Entry, EntryKind, Journal, JournalError, JournalErrorKind, JournalFuture,
        JournaledRun, PauseRecord, PauseState, RunHeader, RunKey, RunLease, RunSummary,
    },
    store::MemoryStore,
};
use tokio::sync::Notify;

/// An operation that is about to be done.
pub(super) enum Op<'a> {
    Begin,
    Append(&'a [Entry]),
    Claim,
    Release,
    Pause,
    PauseState,
}

impl Op<'_> {
    /// Whether it writes the end of a stage.
    pub(super) fn ends(&self, stage: &str) -> bool {
        let Self::Append(entries) = self else { return false };
        entries.iter().any(
            |entry| matches!(&entry.kind, EntryKind::StageEnded { stage: ended, .. } if &**ended == stage),
        )
    }

    /// Whether it writes the end of the run.
    pub(super) fn ends_run(&self) -> bool {
        let Self::Append(entries) = self else { return false };
        entries.iter().any(|entry| matches!(entry.kind, EntryKind::RunEnded { .. }))
    }
}

/// What is done of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Pass,
    /// Nothing, and there is no answer.
    Hang,
    /// All of it, and there is no answer.
    PassAndHang,
    Fail(JournalErrorKind),
    Panic,
    /// The answer panics when it is asked for.
    PanicLater,
    /// There is no answer, and it panics when it is dropped.
    PanicDropped,
}

type Acked = dyn Fn(&[Entry]) + Send + Sync;

type Told = dyn Fn(Op<'_>) -> Act + Send + Sync;

#[derive(Clone)]
pub(super) struct Scripted {
    pub(super) store: MemoryStore,
    told: Arc<Told>,
    acked: Arc<Acked>,
    poll_interval: Duration,
    /// What the answer of `begin`, `claim` and `pause` waits for, once it is done.
    begins_after: Option<Arc<Notify>>,
    claims_after: Option<Arc<Notify>>,
    pauses_after: Option<Arc<Notify>>,
    /// How many releases there were.
    pub(super) releases: Arc<AtomicU32>,
}

impl Scripted {
    pub(super) fn new(store: &MemoryStore, told: impl Fn(Op<'_>) -> Act + Send + Sync + 'static) -> Self {
        Self {
            store: store.clone(),
            told: Arc::new(told),
            acked: Arc::new(|_| ()),
            poll_interval: Duration::from_millis(2),
            begins_after: None,
            claims_after: None,
            pauses_after: None,
            releases: Arc::default(),
        }
    }

    /// Tells of entries whose writing is acknowledged.
    pub(super) fn acked(mut self, acked: impl Fn(&[Entry]) + Send + Sync + 'static) -> Self {
        self.acked = Arc::new(acked);
        self
    }

    pub(super) fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    pub(super) fn begins_after(mut self, gate: Arc<Notify>) -> Self {
        self.begins_after = Some(gate);
        self
    }

    pub(super) fn claims_after(mut self, gate: Arc<Notify>) -> Self {
        self.claims_after = Some(gate);
        self
    }

    pub(super) fn pauses_after(mut self, gate: Arc<Notify>) -> Self {
        self.pauses_after = Some(gate);
        self
    }

    fn does<'a, T: Send + 'a>(&self, op: Op<'_>, pass: JournalFuture<'a, T>) -> JournalFuture<'a, T> {
        let act = (self.told)(op);
        match act {
            Act::Pass => pass,
            Act::Hang => Box::pin(std::future::pending()),
            Act::PassAndHang => Box::pin(async {
                drop(pass.await);
                std::future::pending().await
            }),
            Act::Fail(kind) => Box::pin(async move { Err(JournalError::new(kind, "as it was told")) }),
            Act::Panic => panic!("as it was told"),
            Act::PanicLater => Box::pin(async { panic!("as it was told") }),
            Act::PanicDropped => {
                let panics = Panics;
                Box::pin(async move {
                    let _panics = panics;
                    std::future::pending().await
                })
            }
        }
    }
}

struct Panics;

impl Drop for Panics {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("as it was told");
        }
    }
}

/// What was done, and then waits for a sign. Dropped, it is done all the same.
async fn after<T>(gate: Option<Arc<Notify>>, done: Result<T, JournalError>) -> Result<T, JournalError> {
    if let Some(gate) = gate {
        gate.notified().await;
    }
    done
}

impl Journal for Scripted {
    fn begin(&self, header: Arc<RunHeader>) -> JournalFuture<'_, RunLease> {
        let (store, gate) = (self.store.clone(), self.begins_after.clone());
        self.does(Op::Begin, Box::pin(async move { after(gate, store.begin(header).await).await }))
    }

    fn append(&self, key: &RunKey, lease: RunLease, entries: Vec<Entry>) -> Ack {
        let act = (self.told)(Op::Append(&entries));
        let acked = Arc::clone(&self.acked);
        let passed = match act {
            Act::Pass | Act::PassAndHang => Some(self.store.append(key, lease, entries.clone())),
            _ => None,
        };
        match (act, passed) {
            (Act::Pass, Some(ack)) => Box::pin(async move {
                ack.await?;
                acked(&entries);
                Ok(())
            }),
            (Act::Fail(kind), _) => Box::pin(async move { Err(JournalError::new(kind, "as it was told")) }),
            (Act::Panic, _) => panic!("as it was told"),
            (Act::PanicLater, _) => Box::pin(async { panic!("as it was told") }),
            (Act::PanicDropped, _) => {
                let panics = Panics;
                Box::pin(async move {
                    let _panics = panics;
                    std::future::pending().await
                })
            }
            _ => Box::pin(std::future::pending()),
        }
    }

    fn claim<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, (RunLease, JournaledRun)> {
        let gate = self.claims_after.clone();
        self.does(Op::Claim, Box::pin(async move { after(gate, self.store.claim(key).await).await }))
    }

    fn release(&self, key: &RunKey, lease: RunLease) {
        self.releases.fetch_add(1, Ordering::SeqCst);
        match (self.told)(Op::Release) {
            Act::Pass | Act::PassAndHang => self.store.release(key, lease),
            Act::Panic => panic!("as it was told"),
            _ => {}
        }
    }

    fn load<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, Option<JournaledRun>> {
        self.store.load(key)
    }

    fn unfinished<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: Option<RunId>,
        limit: usize,
    ) -> JournalFuture<'a, Vec<RunSummary>> {
        self.store.unfinished(tenant, after, limit)
    }

    fn forget_ended<'a>(&'a self, tenant: &'a TenantId, before: SystemTime) -> JournalFuture<'a, u64> {
        self.store.forget_ended(tenant, before)
    }

    fn pause<'a>(
        &'a self,
        key: &'a RunKey,
        lease: RunLease,
        record: &'a PauseRecord,
    ) -> JournalFuture<'a, PauseState> {
        let gate = self.pauses_after.clone();
        let pause = async move { after(gate, self.store.pause(key, lease, record).await).await };
        self.does(Op::Pause, Box::pin(pause))
    }

    fn pause_state<'a>(&'a self, key: &'a RunKey, token: &'a str) -> JournalFuture<'a, Option<PauseState>> {
        self.does(Op::PauseState, self.store.pause_state(key, token))
    }

    fn answer<'a>(
        &'a self,
        key: &'a RunKey,
        token: &'a str,
        answer: Encoded,
        by: Option<&'a UserId>,
    ) -> JournalFuture<'a, Answered> {
        self.store.answer(key, token, answer, by)
    }

    fn pauses<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, Vec<PauseRecord>> {
        self.store.pauses(key)
    }

    fn poll_interval(&self) -> Duration {
        self.poll_interval
    }

    fn describe(&self) -> String {
        "scripted".to_owned()
    }
}
