//! What contexts see of a worker and its run.

use std::{
    any::Any,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use stageflow_core::{
    ContextSnapshot, CustomEvent, Event, EventKind, RunInfo, StageContext, StageKind, Value, WaitReason,
    event::EventRecord,
    input::Inputs,
    intercept::AnyInterceptor,
    scope::{CleanUp, Hold, StageScope},
    stage::{ErasedStage, StageFuture},
};
use tokio_util::sync::CancellationToken;

use crate::{attempt, child, protocol::Held, run::RunCore};

/// One worker's view of its run. Contexts share it, so that they do not all count on one shared place.
pub(crate) struct WorkerScope {
    pub(crate) run: Arc<RunCore>,
    /// The stage the worker polls for the first time at the moment: its events go the short way.
    entered: AtomicU32,
    /// The number of the event that its first attempt has started, for the worker to note; zero for none.
    started: AtomicU64,
    /// Shared by the events noted here, so that workers do not all count on one shared place.
    info: Arc<RunInfo>,
    pub(crate) held: Held,
}

const NOBODY: u32 = u32::MAX;

impl WorkerScope {
    pub(crate) fn new(run: Arc<RunCore>) -> Self {
        Self {
            info: if run.events.is_some() {
                Arc::new(RunInfo::clone(&run.info))
            } else {
                Arc::clone(&run.info)
            },
            run,
            entered: AtomicU32::new(NOBODY),
            started: AtomicU64::new(0),
            held: Held::none(),
        }
    }

    pub(crate) fn enter(&self, stage: u32) {
        self.entered.store(stage, Ordering::Relaxed);
    }

    pub(crate) fn exit(&self) {
        self.entered.store(NOBODY, Ordering::Relaxed);
    }

    /// An event of this run.
    #[inline]
    pub(crate) fn event(&self, record: EventRecord) -> Event {
        Event::new(Arc::clone(&self.info), record)
    }

    /// The number under which the stage's first attempt has started, if it has since the last look.
    #[inline]
    pub(crate) fn take_started(&self) -> Option<u64> {
        let seq = self.started.load(Ordering::Relaxed);
        if seq != 0 {
            self.started.store(0, Ordering::Relaxed);
        }
        (seq != 0).then_some(seq)
    }

    /// An attempt has started: within the worker's first poll of the stage, the worker notes it.
    pub(crate) fn attempt_started(&self, stage: u32, attempt: u32) {
        let Some(events) = &self.run.events else { return };
        if attempt == 1 && self.entered.load(Ordering::Relaxed) == stage {
            self.started.store(events.next_seq().unwrap_or(0), Ordering::Relaxed);
        } else {
            self.run.emit(stage, attempt, EventKind::StageStarted);
        }
    }
}

impl RunCore {
    /// Emits an event at once, from anywhere.
    pub(crate) fn emit(&self, stage: u32, attempt: u32, kind: EventKind) {
        if let Some(events) = &self.events
            && let Some(record) = events.record(self.now(), stage, attempt, kind)
        {
            events.deliver(vec![Event::new(Arc::clone(&self.info), record)]);
        }
    }
}

impl StageScope for WorkerScope {
    fn snapshot(&self) -> &Arc<ContextSnapshot> {
        &self.run.snapshot
    }

    fn stage_name(&self, stage: u32) -> &str {
        self.run.plan.stage_name(stage)
    }

    fn stage_kind(&self, stage: u32) -> StageKind {
        self.run.plan.kind(stage)
    }

    fn stage(&self, stage: u32) -> Option<&dyn ErasedStage> {
        Some(self.run.plan.stage(stage))
    }

    fn chain(&self, stage: u32) -> &[AnyInterceptor] {
        self.run.chains.as_ref().map_or(&[], |chains| chains.of(stage))
    }

    fn is_cancelled(&self) -> bool {
        self.run.is_stopping()
    }

    fn cancel_reason(&self) -> Option<String> {
        if !self.is_cancelled() {
            return None;
        }
        self.run.ending.cause().map(|cause| cause.for_stages().to_string())
    }

    fn cancellation(&self) -> CancellationToken {
        self.run.token()
    }

    fn emit(&self, stage: u32, attempt: u32, event: CustomEvent) {
        if self.run.events.is_some() && !self.run.is_done() {
            self.run.emit(stage, attempt, EventKind::Custom(Arc::new(event)));
        }
    }

    fn on_cleanup(&self, stage: u32, clean_up: CleanUp) {
        self.run.register_clean_up(stage, clean_up);
    }

    fn hold(&self, stage: u32) -> Hold {
        self.run.holds.fetch_add(1, Ordering::SeqCst);
        let permits = {
            let mut details = self.run.details();
            *details.holds.entry(stage).or_default() += 1;
            details.permits.get(&stage).and_then(Weak::upgrade)
        };
        let run = Arc::clone(&self.run);
        Hold::new(move || {
            // What goes on elsewhere is still in flight, so it keeps the permits until it ends.
            drop(permits);
            run.release_hold(stage);
        })
    }

    fn elapsed_nanos(&self) -> u64 {
        self.run.now()
    }

    fn random(&self) -> u64 {
        self.run.shared.random.next_u64()
    }

    fn set_wait(&self, stage: u32, reason: Option<WaitReason>) {
        let mut details = self.run.details();
        match reason {
            Some(reason) => details.waits.insert(stage, reason),
            None => details.waits.remove(&stage),
        };
    }

    fn attempt(&self, ctx: &StageContext, attempt: u32, inputs: Inputs) -> StageFuture {
        attempt::attempt(self, ctx, attempt, inputs)
    }

    fn run_child(&self, ctx: &StageContext, plan: Arc<dyn Any + Send + Sync>, input: Value) -> StageFuture {
        child::run(&self.run, ctx, plan, input)
    }
}
