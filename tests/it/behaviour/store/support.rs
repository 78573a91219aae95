//! A journal that can be slow, full or dead, and stages that count their calls.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use stageflow::{
    Engine, RunId, StageInput, TenantId, UserId,
    durable::{
        Ack, Answered, Durability, Encoded, Entry, EntryKind, Journal, JournalError, JournalErrorKind,
        JournalFuture, JournaledRun, PauseRecord, PauseState, RunHeader, RunKey, RunLease, RunSummary,
    },
    prelude::*,
    store::MemoryStore,
};
use tokio::sync::Semaphore;

/// How often each stage was called, over all processes.
#[derive(Clone, Default)]
pub(super) struct Calls(Arc<Mutex<HashMap<String, u32>>>);

impl Calls {
    pub(super) fn of(&self, stage: &str) -> u32 {
        self.0.lock().expect("no test panics here").get(stage).copied().unwrap_or(0)
    }

    pub(super) fn add(&self, stage: &str) -> u32 {
        let mut calls = self.0.lock().expect("no test panics here");
        let calls = calls.entry(stage.to_owned()).or_default();
        *calls += 1;
        *calls
    }

    /// A stage that adds one to a number, and counts its calls.
    pub(super) fn plus_one(&self) -> impl Stage<Input = Arc<u32>, Output = u32> + use<> {
        self.gives(|n: Arc<u32>| *n + 1)
    }

    /// A stage that counts its calls.
    pub(super) fn gives<I, O, F>(&self, give: F) -> impl Stage<Input = I, Output = O> + use<I, O, F>
    where
        I: StageInput,
        O: Send + Sync + 'static,
        F: Fn(I) -> O + Copy + Send + Sync + 'static,
    {
        let calls = self.clone();
        stage_fn(move |ctx: StageContext, input: I| {
            calls.add(ctx.stage_name());
            async move { Ok(give(input)) }
        })
    }

    /// The same, and hangs as long as the door is shut.
    pub(super) fn behind(&self, door: &Door) -> impl Stage<Input = Arc<u32>, Output = u32> + use<> {
        let (calls, door) = (self.clone(), door.clone());
        stage_fn(move |ctx: StageContext, n: Arc<u32>| {
            let (calls, door) = (calls.clone(), door.clone());
            async move {
                calls.add(ctx.stage_name());
                door.pass().await;
                Ok(*n + 1)
            }
        })
    }
}

/// Shut until somebody opens it.
#[derive(Clone)]
pub(super) struct Door(Arc<Semaphore>);

impl Door {
    pub(super) fn shut() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub(super) fn open(&self) {
        self.0.add_permits(1_000);
    }

    async fn pass(&self) {
        drop(self.0.acquire().await);
    }
}

pub(super) fn engine(journal: impl Into<Durability>) -> Engine {
    Engine::builder().journal(journal).build().expect("the engine builds")
}

/// Runs a pipeline until `until` holds, and then kills the process it is in: a runtime with everything in it, of which nothing is
/// awaited. Gives the id of the run.
pub(super) fn killed<I, O>(
    store: &MemoryStore,
    pipeline: &Pipeline<I, O>,
    input: I,
    until: impl Fn() -> bool,
) -> RunId
where
    I: Send + Sync + 'static,
    O: Send + Sync + 'static,
{
    let runtime = runtime();
    let id = runtime.block_on(async {
        let run = engine(store.clone()).run(pipeline, input).tenant("acme").start();
        while !until() {
            // sleeps: on paused time
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let id = run.run_id().expect("it was let in");
        // Whoever is killed runs no `Drop`.
        std::mem::forget(run);
        id
    });
    runtime.shutdown_background();
    store.expire_leases();
    id
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().expect("a runtime")
}

/// The names of the entries of a run, with their stages.
pub(super) async fn written(store: &MemoryStore, run: RunId) -> Vec<String> {
    let run = store.load(&RunKey::new("acme", run)).await.expect("it is read").expect("it is there");
    let line = |entry: &Entry| match entry.kind.stage() {
        Some(stage) => format!("{} {stage}", entry.kind.name()),
        None => entry.kind.name().to_owned(),
    };
    run.entries.iter().map(line).collect()
}

/// A journal before which trouble stands.
#[derive(Clone)]
pub(super) struct Troubled {
    pub(super) store: MemoryStore,
    /// After so many appends each one fails in this way.
    pub(super) fails: Arc<Mutex<Option<(u32, JournalErrorKind)>>>,
    pub(super) appends: Arc<AtomicU32>,
    /// Whether runs cannot begin.
    pub(super) is_dead: Arc<AtomicBool>,
    /// What entries wait for before they are durable.
    pub(super) door: Option<Door>,
}

impl Troubled {
    pub(super) fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            fails: Arc::default(),
            appends: Arc::default(),
            is_dead: Arc::default(),
            door: None,
        }
    }

    pub(super) fn fails_after(self, appends: u32, kind: JournalErrorKind) -> Self {
        *self.fails.lock().expect("no test panics here") = Some((appends, kind));
        self
    }
}

impl Journal for Troubled {
    fn begin(&self, header: Arc<RunHeader>) -> JournalFuture<'_, RunLease> {
        if self.is_dead.load(Ordering::SeqCst) {
            let error = JournalError::new(JournalErrorKind::Unavailable, "the server is dead");
            return Box::pin(async { Err(error) });
        }
        self.store.begin(header)
    }

    fn append(&self, key: &RunKey, lease: RunLease, entries: Vec<Entry>) -> Ack {
        let nth = self.appends.fetch_add(1, Ordering::SeqCst);
        let fails = *self.fails.lock().expect("no test panics here");
        if let Some((after, kind)) = fails
            && nth >= after
        {
            return Box::pin(async move { Err(JournalError::new(kind, "no space left on device")) });
        }
        let door = self.door.clone();
        let waits = entries.iter().any(|entry| matches!(entry.kind, EntryKind::StageEnded { .. }));
        let ack = self.store.append(key, lease, entries);
        Box::pin(async move {
            if let Some(door) = door.filter(|_| waits) {
                door.pass().await;
            }
            ack.await
        })
    }

    fn claim<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, (RunLease, JournaledRun)> {
        self.store.claim(key)
    }

    fn release(&self, key: &RunKey, lease: RunLease) {
        self.store.release(key, lease);
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
        self.store.pause(key, lease, record)
    }

    fn pause_state<'a>(&'a self, key: &'a RunKey, token: &'a str) -> JournalFuture<'a, Option<PauseState>> {
        self.store.pause_state(key, token)
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
        self.store.poll_interval()
    }

    fn describe(&self) -> String {
        format!("{} in trouble", self.store.describe())
    }
}

/// A pipeline over a number that is kept, with one chain of stages.
pub(super) fn chain(
    build: impl FnOnce(&mut stageflow::Builder<u32>, Port<u32>) -> Port<u32>,
) -> Pipeline<u32, u32> {
    let mut p = Pipeline::builder("chain");
    let n = p.durable_input();
    let last = build(&mut p, n);
    p.build(last).expect("it builds")
}
