//! The record behind a [`TestContext`](super::TestContext), and the scope through which contexts write into it.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::Poll,
    time::Duration,
};

use stageflow_core::{
    ContextSnapshot, CustomEvent, ErrorClass, Randomness, StageContext, StageExit, StageKind, StageResult,
    Value, WaitReason,
    budget::account::Account,
    input::Inputs,
    scope::{Answering, CleanUp, Hold, StageScope, no_journal},
    slot::FutureSlot,
    stage::{ErasedStage, StageFuture},
    time::{SeededRandom, nanos},
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// What was asked of the contexts of one test.
pub(super) struct Record {
    began: Instant,
    token: CancellationToken,
    /// Told when the last hold is released.
    released: Notify,
    state: Mutex<State>,
    /// Opened by the first context that asks for it.
    account: OnceLock<Arc<Account>>,
}

pub(super) struct State {
    pub(super) events: Vec<CustomEvent>,
    /// The stage of each event.
    pub(super) stages: Vec<String>,
    pub(super) clean_ups: Vec<CleanUp>,
    pub(super) holds: usize,
    pub(super) signs: usize,
    pub(super) waits: Vec<WaitReason>,
    pub(super) waiting: Option<WaitReason>,
    cancelled: Option<String>,
    random: SeededRandom,
}

impl Record {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            began: Instant::now(),
            token: CancellationToken::new(),
            released: Notify::new(),
            account: OnceLock::new(),
            state: Mutex::new(State {
                events: Vec::new(),
                stages: Vec::new(),
                clean_ups: Vec::new(),
                holds: 0,
                signs: 0,
                waits: Vec::new(),
                waiting: None,
                cancelled: None,
                random: SeededRandom::new(seed),
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn seed(&self, seed: u64) {
        self.lock().random = SeededRandom::new(seed);
    }

    pub(super) fn cancel(&self, reason: String) {
        self.lock().cancelled.get_or_insert(reason);
        // Outside the lock: it wakes, and wakers are the user's.
        self.token.cancel();
    }

    pub(super) async fn released(&self) {
        loop {
            let released = self.released.notified();
            if self.lock().holds == 0 {
                return;
            }
            released.await;
        }
    }

    pub(super) async fn run_clean_ups(&self) -> Vec<String> {
        let mut failures = Vec::new();
        loop {
            let next = self.lock().clean_ups.pop();
            let Some(mut clean_up) = next else { return failures };
            let done = poll_fn(|cx| {
                let polled = catch_unwind(AssertUnwindSafe(|| clean_up.as_mut().poll(cx)));
                polled.unwrap_or_else(|_| Poll::Ready(Err("panicked".into())))
            });
            if let Err(error) = done.await {
                failures.push(error.to_string());
            }
        }
    }

    fn release(&self) {
        let left = {
            let mut state = self.lock();
            state.holds = state.holds.saturating_sub(1);
            state.holds
        };
        if left == 0 {
            self.released.notify_waiters();
        }
    }
}

/// The scope of one context.
pub(super) struct TestScope {
    pub(super) snapshot: Arc<ContextSnapshot>,
    pub(super) name: String,
    pub(super) kind: StageKind,
    pub(super) record: Arc<Record>,
}

impl StageScope for TestScope {
    fn snapshot(&self) -> &Arc<ContextSnapshot> {
        &self.snapshot
    }

    fn stage_name(&self, _: u32) -> &str {
        &self.name
    }

    fn stage_kind(&self, _: u32) -> StageKind {
        self.kind
    }

    fn stage(&self, _: u32) -> Option<&dyn ErasedStage> {
        None
    }

    fn is_cancelled(&self) -> bool {
        self.record.token.is_cancelled()
    }

    fn cancel_reason(&self) -> Option<String> {
        self.record.lock().cancelled.clone()
    }

    fn cancellation(&self) -> CancellationToken {
        self.record.token.clone()
    }

    fn emit(&self, _: u32, _: u32, event: CustomEvent) {
        let mut state = self.record.lock();
        state.events.push(event);
        state.stages.push(self.name.clone());
    }

    fn on_cleanup(&self, _: u32, clean_up: CleanUp) {
        self.record.lock().clean_ups.push(clean_up);
    }

    fn hold(&self, _: u32) -> Hold {
        self.record.lock().holds += 1;
        let record = Arc::clone(&self.record);
        Hold::new(move || record.release())
    }

    fn elapsed_nanos(&self) -> u64 {
        nanos(self.record.elapsed())
    }

    fn progress(&self, _: u32, _: u32) {
        self.record.lock().signs += 1;
    }

    fn pause(&self, _: &StageContext, _: String, _: Option<Duration>) -> Answering {
        Box::pin(std::future::ready(Err(no_journal())))
    }

    fn random(&self, _: u32, _: u32) -> u64 {
        self.record.lock().random.next_u64()
    }

    fn account(&self) -> &Arc<Account> {
        self.record.account.get_or_init(|| self.snapshot.budget().open(1))
    }

    fn settle(&self, _: u32, _: u32, actual: u64) -> bool {
        self.account().settle(0, actual);
        true
    }

    fn set_wait(&self, _: u32, reason: Option<WaitReason>) {
        let mut state = self.record.lock();
        state.waits.extend(reason.clone());
        state.waiting = reason;
    }

    fn attempt(&self, slot: &mut FutureSlot, _: &StageContext, _: u32, _: Option<Inputs>) {
        slot.put(no_engine());
    }

    fn run_child(&self, _: &StageContext, _: Arc<dyn Any + Send + Sync>, _: Value) -> StageFuture {
        no_engine()
    }
}

fn no_engine() -> StageFuture {
    let exit = || {
        StageExit::fail("a test context has no engine and runs no pipelines")
            .class(ErrorClass::Permanent)
            .hint("put the pipeline, or the stage with its interceptors, into a pipeline and run that")
    };
    Box::pin(async move { StageResult::Err(exit()) })
}
