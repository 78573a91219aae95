//! What contexts see of a worker and its run.

use std::{
    any::Any,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use stageflow_core::{
    ContextSnapshot, CustomEvent, EventClass, EventKind, RunOutcome, StageContext, StageKind, Value,
    WaitReason,
    budget::account::Account,
    durable::AnyCodec,
    input::Inputs,
    scope::{Answering, CleanUp, Hold, StageScope},
    slot::FutureSlot,
    stage::{ErasedStage, StageFuture},
};
use tokio_util::sync::CancellationToken;

use crate::{
    attempt, child,
    clock::LentWatch,
    durable,
    progress::Sign,
    protocol::{Held, Unnumbered},
    run::RunCore,
    sinks::RunEvents,
};

/// One worker's view of its run. Contexts share it, so that they do not all count on one shared place.
pub(crate) struct WorkerScope {
    pub(crate) run: Arc<RunCore>,
    /// The stage the worker polls for the first time at the moment: its events go the short way.
    entered: AtomicU32,
    /// The start of its first attempt, which the worker notes together with its end.
    start: Unnumbered,
    pub(crate) held: Held,
    /// The time, for the interceptors around the stage that the worker polls for the first time.
    pub(crate) watch: LentWatch,
}

const NOBODY: u32 = u32::MAX;

impl WorkerScope {
    pub(crate) fn new(run: Arc<RunCore>) -> Self {
        Self {
            run,
            entered: AtomicU32::new(NOBODY),
            start: Unnumbered::none(),
            held: Held::none(),
            watch: LentWatch::new(),
        }
    }

    pub(crate) fn enter(&self, stage: u32) {
        self.entered.store(stage, Ordering::Relaxed);
    }

    pub(crate) fn exit(&self) {
        self.entered.store(NOBODY, Ordering::Relaxed);
    }

    /// Nanoseconds of the run, for a stage whose worker may know them.
    pub(crate) fn now(&self, stage: u32) -> u64 {
        let known = self.watch.nanos(stage).map(|nanos| nanos.saturating_sub(self.run.origin));
        known.unwrap_or_else(|| self.run.now())
    }

    /// Draws numbers for `count` events of the stage that was entered, and before them one for its start if that has none:
    /// the first number, and whether it is that of the start.
    #[inline]
    pub(crate) fn draw(&self, events: &RunEvents, count: u64) -> Option<(u64, bool)> {
        if !self.start.claim() {
            return Some((events.next_seqs(count)?, false));
        }
        let first = events.next_seqs(count + 1);
        self.start.numbered();
        Some((first?, true))
    }

    /// The number of the start of the stage that was entered, if it has none yet.
    pub(crate) fn draw_start(&self, events: &RunEvents) -> Option<u64> {
        if !self.start.claim() {
            return None;
        }
        let seq = events.next_seqs(1);
        self.start.numbered();
        seq
    }

    /// An attempt has started: the worker notes the first one of the stage that it has entered.
    #[inline(always)]
    pub(crate) fn attempt_started(&self, stage: u32, attempt: u32) {
        if self.run.events.is_none() {
            return;
        }
        if attempt == 1 && self.entered.load(Ordering::Relaxed) == stage {
            self.start.start();
        } else {
            self.tell_started(stage, attempt);
        }
    }

    #[inline(never)]
    fn tell_started(&self, stage: u32, attempt: u32) {
        self.emit_start(stage);
        self.run.emit_at(self.now(stage), stage, attempt, EventKind::StageStarted);
    }

    /// Emits the start of a stage's first attempt if that has not been done, before something else is emitted for it.
    pub(crate) fn emit_start(&self, stage: u32) {
        if let Some(events) = &self.run.events
            && self.entered.load(Ordering::Relaxed) == stage
            && self.start.claim()
        {
            let record = events.record(self.run.now(), stage, 1, EventKind::StageStarted);
            self.start.numbered();
            if let Some(record) = record {
                events.deliver(vec![events.event(record)]);
            }
        }
    }
}

impl RunCore {
    /// Emits an event at once, from anywhere.
    pub(crate) fn emit(&self, stage: u32, attempt: u32, kind: EventKind) {
        if self.events.is_some() {
            self.emit_at(self.now(), stage, attempt, kind);
        }
    }

    /// The same for what has happened at a time that is known.
    fn emit_at(&self, nanos: u64, stage: u32, attempt: u32, kind: EventKind) {
        if let Some(events) = &self.events
            && let Some(record) = events.record(nanos, stage, attempt, kind)
        {
            events.deliver(vec![events.event(record)]);
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
        self.run.progress(stage, attempt, Sign::Event);
        if let Some(log) = &self.run.log
            && EventClass::of_name(event.name()) <= EventClass::Decision
        {
            log.decided(&self.run, stage, attempt, &event);
        }
        if self.run.events.is_some() && !self.run.is_done() {
            self.emit_start(stage);
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

    fn wall(&self) -> SystemTime {
        self.run.shared.clock.wall()
    }

    fn clock_nanos(&self, stage: u32) -> Option<u64> {
        self.watch.nanos(stage)
    }

    fn progress(&self, stage: u32, attempt: u32) {
        self.run.progress(stage, attempt, Sign::Progress);
    }

    fn min_time(&self, stage: u32) -> Duration {
        self.run.min_time(stage)
    }

    fn random(&self, stage: u32, attempt: u32) -> u64 {
        match &self.run.log {
            Some(log) => log.random(&self.run, stage, attempt),
            None => self.run.shared.random.next_u64(),
        }
    }

    fn spent_attempts(&self, stage: u32) -> u32 {
        self.run.spent_attempts(stage)
    }

    fn pause(&self, ctx: &StageContext, token: String, expires_in: Option<Duration>) -> Answering {
        durable::answer(&self.run, ctx, token, expires_in)
    }

    fn is_sampled(&self) -> bool {
        self.run.shared.samples(&self.run.snapshot)
    }

    fn account(&self) -> &Arc<Account> {
        self.run.account()
    }

    fn settle(&self, stage: u32, attempt: u32, actual: u64) -> bool {
        self.run.settle_cost(stage, attempt, actual)
    }

    fn codec(&self, stage: u32) -> Option<&AnyCodec> {
        self.run.plan.settings(stage)?.codec.as_ref()
    }

    fn outcome(&self) -> Option<RunOutcome> {
        Some(self.run.judge())
    }

    fn set_wait(&self, stage: u32, reason: Option<WaitReason>) {
        if let Some(WaitReason::BackOff { next_attempt, last_error, .. }) = &reason {
            let at = Duration::from_nanos(self.run.now());
            let name = self.run.plan.stage_name(stage);
            self.run.collector().tried_again(at, name, next_attempt.saturating_sub(1), last_error);
        }
        self.run.tell_watched();
        let now = self.run.now();
        let mut details = self.run.details();
        details.waited.set(stage, reason.as_ref(), now);
        match reason {
            Some(reason) => details.waits.insert(stage, reason),
            None => details.waits.remove(&stage),
        };
    }

    fn attempt(&self, slot: &mut FutureSlot, ctx: &StageContext, attempt: u32, inputs: Option<Inputs>) {
        attempt::attempt(self, slot, ctx, attempt, inputs);
    }

    fn run_child(&self, ctx: &StageContext, plan: Arc<dyn Any + Send + Sync>, input: Value) -> StageFuture {
        self.emit_start(ctx.index());
        child::run(&self.run, ctx, plan, input)
    }
}
