//! A worker: takes ready stages, polls each where it became ready, and goes on with what that made ready.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use stageflow_core::{
    Event, EventKind, RunInfo, StageContext, StageExit, StageResult, Value, call::Calls, code,
    event::EventRecord, intercept::AnyInterceptor, slot::FutureSlot, time::nanos,
};

pub(crate) use stageflow_core::text::panic_message;

use crate::{
    attempt,
    cell::State,
    clock::Watch,
    decide::Verdict,
    ending::EndCause,
    helper,
    node::Spare,
    pending,
    ready::{Ready, Task},
    row::{MIN_ROW, ROOTS},
    run::RunCore,
    scope::WorkerScope,
    sinks::RunEvents,
};

/// How long a worker goes on before it lets tokio run something else, in nanoseconds.
const SLICE: u64 = 200_000;

/// After so many stages in a row that took less than a slice each, events are handed over in batches.
const QUICK_POLLS: u32 = 8;

/// How many events a worker keeps before it hands them over.
const EVENTS_MAX: usize = 128;
/// After so many events those that follow have another [`RunInfo`]: whoever reads these would slow the worker down if it
/// counted on the same place.
const EVENTS_APART: usize = 32;

/// Why a worker stopped working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is nothing to do.
    Idle,
    /// There is more to do, but other tasks have to get their turn.
    Yield,
    /// The run is being cancelled.
    Stopping,
}

/// One worker of one run: the driver has one, each helper has one.
///
/// Its methods are lent the run, which its owner holds: so that workers do not all count on one shared reference count.
pub(crate) struct Worker {
    pub(crate) scope: Arc<WorkerScope>,
    pub(crate) ready: Ready,
    spare: Option<Spare>,
    /// Memory that the future of the last stage has left.
    slot: FutureSlot,
    pub(crate) calls: Calls,
    /// Where it puts pending stages aside.
    pub(crate) shard: usize,
    pub(crate) watch: Watch,
    /// The last reading of the clock.
    pub(crate) now: u64,
    /// When the stage was started that is polled for the first time.
    started_at: u64,
    /// Events that are not yet handed over.
    events: Vec<Event>,
    /// What they share.
    info: Option<Arc<RunInfo>>,
    /// How many stages in a row were polled in no time.
    quick_polls: u32,
    /// Stages that ended here and are not yet taken off the run's count.
    ended: usize,
}

thread_local! {
    static WORKING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in a worker at the moment, so that what it wakes may have to wait for a stage that blocks.
pub(crate) fn is_working() -> bool {
    WORKING.try_with(Cell::get).unwrap_or(false)
}

/// Marks the thread; a run may be driven within a stage of another.
struct Working(bool);

impl Working {
    fn begin() -> Self {
        Self(WORKING.replace(true))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        WORKING.set(self.0);
    }
}

impl Worker {
    pub(crate) fn new(run: &Arc<RunCore>) -> Self {
        let scope = Arc::new(WorkerScope::new(Arc::clone(run)));
        run.queues.add_scope(&scope);
        Self {
            scope,
            ready: Ready::new(run),
            spare: None,
            slot: FutureSlot::take(),
            calls: Calls::default(),
            shard: run.pending.shard(),
            watch: Watch::new(),
            now: 0,
            started_at: 0,
            events: Vec::new(),
            info: None,
            quick_polls: 0,
            ended: 0,
        }
    }

    /// Makes the stages that wait for none ready, in declaration order.
    pub(crate) fn start_roots(&mut self, run: &Arc<RunCore>) {
        self.tell_input(run);
        let roots = run.plan.roots();
        if roots.len() >= MIN_ROW && self.push_row(run, ROOTS, roots.len()) {
            return;
        }
        for root in roots {
            self.push(run, *root);
        }
    }

    /// Works until there is nothing to do, the slice is used up, or the run is being cancelled.
    pub(crate) fn work(&mut self, run: &Arc<RunCore>) -> Progress {
        let _working = Working::begin();
        let began = self.watch.anchor(run, &self.scope.watch);
        self.now = began;
        loop {
            // Nothing starts after the deadline, whoever would start it.
            if self.now >= run.deadline {
                run.end(EndCause::Deadline);
            }
            if run.is_stopping() {
                self.ready.give_back(run);
                self.hand_over(run);
                return Progress::Stopping;
            }
            let task = self.ready.next(run).or_else(|| {
                if run.queues.is_alone() && self.scope.held.is_empty() {
                    return None;
                }
                // What was held back may make something ready.
                self.tell_held(run);
                self.ready.next(run).or_else(|| self.ready.steal(run))
            });
            match task {
                Some(Task::Start(stage)) => self.start(run, stage),
                Some(Task::Resume(node)) => self.resume(run, &node),
                None => {
                    self.hand_over(run);
                    return Progress::Idle;
                }
            }
            if self.now.saturating_sub(began) > SLICE || !tokio::task::coop::has_budget_remaining() {
                self.hand_over(run);
                return Progress::Yield;
            }
        }
    }

    /// A stage has become ready.
    #[inline]
    pub(crate) fn push(&mut self, run: &RunCore, stage: u32) {
        run.cell(stage).mark_ready(self.now);
        self.ready.push(run, stage);
    }

    /// All successors of a stage, or all roots, have become ready. `false` if they have to be pushed one by one.
    pub(crate) fn push_row(&mut self, run: &RunCore, source: u32, count: usize) -> bool {
        self.ready.push_row(run, source, count, self.now)
    }

    /// Calls somebody if there is more to do than the stage this worker is about to enter.
    pub(crate) fn call_for_help(&mut self, run: &Arc<RunCore>) {
        let queues = &run.queues;
        self.ready.offer_next(run);
        if self.ready.take_offered() {
            // Pairs with the look of a helper that has given its place back, and of a driver that has declared itself parked:
            // either they see what was offered, or this worker sees that they are gone.
            std::sync::atomic::fence(Ordering::SeqCst);
        }
        if queues.is_crowded() && !queues.driver_is_parked() {
            return;
        }
        // Somebody could start what is only waiting to be told.
        self.tell_own(run);
        self.ready.offer_next(run);
        if self.ready.has_more(run) {
            // Pairs with the look that a worker takes after it has declared itself idle.
            std::sync::atomic::fence(Ordering::SeqCst);
            if !helper::wake_parked_driver(run) {
                helper::call_one(run);
            }
        }
    }

    /// Starts a ready stage, or decides that it does not run.
    fn start(&mut self, run: &Arc<RunCore>, stage: u32) {
        if let Some(log) = &run.log
            && let Some(restored) = log.restored.get(stage)
        {
            return self.settle_restored(run, stage, restored);
        }
        if !run.plan.is_plain(stage) || run.troubled.load(Ordering::Acquire) {
            let verdict = run.decide(stage);
            // A source that was cancelled meanwhile decides nothing: this stage is cancelled as well.
            if run.is_stopping() {
                return;
            }
            match verdict {
                Verdict::Run => {}
                verdict => return self.settle_verdict(run, stage, verdict),
            }
        }
        let cell = run.cell(stage);
        // Only a condition can decide a stage before all its edges are.
        if run.plan.conditions().is_empty() {
            cell.set_state(State::Running);
        } else if !cell.claim(State::Running) {
            return;
        }
        // Under a limit it starts when it has its permit.
        if !run.is_limited {
            cell.mark_started(self.now);
        }
        if !run.queues.is_alone() {
            self.call_for_help(run);
        }

        self.started_at = self.now;
        let spare = self.spare.take().unwrap_or_else(|| Spare::new(run));
        spare.node.set_stage(stage);
        let mut cx = Context::from_waker(&spare.waker);
        // What a stage that takes long has begun is to be seen while it runs.
        let seen_at_once = run.events.is_some() && self.quick_polls < QUICK_POLLS;
        if seen_at_once {
            self.flush_events(run);
        } else {
            self.scope.enter(stage);
        }
        // One boundary for everything of the user's: taking inputs, calling, polling, dropping.
        let mut slot = std::mem::take(&mut self.slot);
        let polled = catch_unwind(AssertUnwindSafe(|| match attempt::begin(self, run, stage, &mut slot) {
            Ok(()) => slot.poll(&mut cx),
            Err(exit) => Poll::Ready(Err(exit)),
        }));
        self.calls.end();
        match polled.unwrap_or_else(|panic| Poll::Ready(Err(panicked(panic)))) {
            Poll::Ready(result) => {
                self.slot = slot;
                if spare.is_unshared() {
                    self.spare = Some(spare);
                } else {
                    spare.node.task.finish();
                }
                self.finish(run, stage, result);
                self.scope.exit();
            }
            Poll::Pending => {
                self.note_start(run, stage);
                self.scope.exit();
                self.scope.watch.take_back();
                self.suspend(run, stage, spare, slot);
            }
        }
    }

    /// Notes how a stage has ended, and that it had started if that is not known yet.
    pub(crate) fn note(&mut self, run: &RunCore, stage: u32, attempt: u32, kind: &EventKind) {
        if let Some(events) = &run.events {
            self.note_to(events, stage, attempt, || kind.clone());
        }
    }

    /// The same where somebody is known to listen.
    #[inline(always)]
    pub(crate) fn note_to(
        &mut self,
        events: &RunEvents,
        stage: u32,
        attempt: u32,
        kind: impl Fn() -> EventKind,
    ) {
        let Some((mut seq, starts)) = self.scope.draw(events, 1) else { return };
        if starts {
            self.keep(events, seq, self.started_at, stage, 1, || EventKind::StageStarted);
            seq += 1;
        }
        self.keep(events, seq, self.now, stage, attempt, kind);
        if self.events.len() >= EVENTS_MAX || self.quick_polls < QUICK_POLLS {
            self.flush(events);
        }
    }

    /// Notes what happened to a stage that is not started: it is in no attempt.
    pub(crate) fn note_as_is(&mut self, run: &RunCore, stage: u32, kind: &EventKind) {
        if let Some(events) = &run.events
            && let Some(seq) = events.next_seqs(1)
        {
            self.keep(events, seq, self.now, stage, 0, || kind.clone());
            self.flush(events);
        }
    }

    /// Notes that a stage has started, if that is not known yet.
    pub(crate) fn note_start(&mut self, run: &RunCore, stage: u32) {
        if let Some(events) = &run.events
            && let Some(seq) = self.scope.draw_start(events)
        {
            self.keep(events, seq, self.started_at, stage, 1, || EventKind::StageStarted);
        }
    }

    /// Makes an event in its place among the others, so that nothing has to be moved there.
    #[inline(always)]
    fn keep(
        &mut self,
        events: &RunEvents,
        seq: u64,
        nanos: u64,
        stage: u32,
        attempt: u32,
        kind: impl Fn() -> EventKind,
    ) {
        let run = self.info.get_or_insert_with(|| Arc::new(RunInfo::clone(events.info())));
        let record = || EventRecord { seq, nanos, stage, attempt, kind: kind() };
        self.events.extend((0..1).map(|_| Event::new(Arc::clone(run), record())));
    }

    fn flush_events(&mut self, run: &RunCore) {
        if let Some(events) = &run.events {
            self.flush(events);
        }
    }

    fn flush(&mut self, events: &RunEvents) {
        if !self.events.is_empty() {
            if self.events.len() >= EVENTS_APART {
                self.info = None;
            }
            let kept = Vec::with_capacity(self.events.len());
            events.deliver(std::mem::replace(&mut self.events, kept));
        }
    }

    /// Keeps memory for the future of the next stage.
    pub(crate) fn keep_slot(&mut self, slot: FutureSlot) {
        self.slot = slot;
    }

    /// Keeps a node for the next stage.
    pub(crate) fn keep_spare(&mut self, spare: Spare) {
        self.spare = Some(spare);
    }

    /// One more stage has ended.
    pub(crate) fn count_ended(&mut self) {
        self.ended += 1;
    }

    /// Makes what this worker has done visible to the others.
    pub(crate) fn hand_over(&mut self, run: &Arc<RunCore>) {
        self.tell_own(run);
        self.flush_events(run);
        let ended = std::mem::take(&mut self.ended);
        if ended > 0 && run.remaining.fetch_sub(ended, Ordering::AcqRel) == ended {
            run.queues.unpark_driver();
            run.queues.wake_driver();
        }
    }

    /// Until when a stage that starts now may take, in nanoseconds of the run.
    #[inline]
    fn until(&self, run: &Arc<RunCore>, stage: u32) -> u64 {
        let own = if run.is_timed { pending::timer_of(run, stage) } else { None };
        let until = own.map_or(u64::MAX, |(timeout, _)| self.now.saturating_add(nanos(timeout)));
        until.min(run.deadline)
    }

    /// A context for the first attempt of a stage.
    #[inline]
    pub(crate) fn context(&self, run: &Arc<RunCore>, stage: u32) -> StageContext {
        let scope: Arc<WorkerScope> = Arc::clone(&self.scope);
        StageContext::new(scope, stage, 1, self.until(run, stage))
    }

    /// Begins the call of a stage around which something stands.
    #[inline]
    pub(crate) fn call(
        &mut self,
        run: &Arc<RunCore>,
        stage: u32,
        slot: &mut FutureSlot,
        chain: Option<&Arc<[AnyInterceptor]>>,
    ) {
        match chain {
            Some(chain) => {
                let until = self.until(run, stage);
                if run.shared.own_clock {
                    self.scope.watch.lend(stage, run.origin + self.started_at);
                }
                self.calls.begin(slot, &self.scope, (stage, until), chain);
            }
            None => {
                let inputs = self.calls.take_inputs();
                attempt::attempt(&self.scope, slot, &self.context(run, stage), 1, inputs);
            }
        }
    }

    /// Ends a stage with what its call gave.
    pub(crate) fn finish(&mut self, run: &Arc<RunCore>, stage: u32, result: StageResult<Value>) {
        let before = self.now;
        self.now = self.watch.now(run);
        self.quick_polls =
            if self.now.saturating_sub(before) < SLICE { self.quick_polls.saturating_add(1) } else { 0 };
        match result {
            Ok(value) => self.settle_completed(run, stage, value),
            Err(exit) => self.settle_exit(run, stage, exit),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let run = Arc::clone(&self.scope.run);
        self.hand_over(&run);
        std::mem::take(&mut self.slot).keep();
        self.ready.leave(&run);
    }
}

/// The failure that a panic is.
pub(crate) fn panicked(payload: Box<dyn std::any::Any + Send>) -> StageExit {
    let error = format!("panicked: {}", panic_message(payload));
    StageExit::failure(code::PANIC, stageflow_core::ErrorClass::Panic, error.into())
}
