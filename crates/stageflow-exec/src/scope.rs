//! What contexts see of a worker and its run.

use std::{
    any::Any,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use stageflow_core::{
    ContextSnapshot, CustomEvent, EventKind, StageContext, StageKind, Value, WaitReason,
    event::EventRecord,
    input::Inputs,
    intercept::AnyInterceptor,
    scope::{CleanUp, Hold, StageScope},
    stage::{ErasedStage, StageFuture},
};
use tokio_util::sync::CancellationToken;

use crate::{attempt, child, protocol::Held, run::RunCore};

/// From this age on, in nanoseconds, events are handed over before the next stage is entered.
const EVENTS_MAX_AGE: u64 = 20_000;

/// How many events a worker keeps before it hands them over.
const EVENTS_MAX: usize = 128;

/// One worker's view of its run. Contexts share it, so that they do not all count on one shared place.
pub(crate) struct WorkerScope {
    pub(crate) run: Arc<RunCore>,
    /// The stage the worker polls for the first time at the moment: its events go the short way.
    entered: AtomicU32,
    pub(crate) held: Held,
    events: Mutex<EventBuffer>,
}

#[derive(Default)]
struct EventBuffer {
    records: Vec<EventRecord>,
    since: u64,
}

const NOBODY: u32 = u32::MAX;

impl WorkerScope {
    pub(crate) fn new(run: Arc<RunCore>) -> Self {
        Self { run, entered: AtomicU32::new(NOBODY), held: Held::none(), events: Mutex::default() }
    }

    pub(crate) fn enter(&self, stage: u32) {
        self.entered.store(stage, Ordering::Relaxed);
    }

    pub(crate) fn exit(&self) {
        self.entered.store(NOBODY, Ordering::Relaxed);
    }

    /// Notes an event; the worker hands it over with others.
    pub(crate) fn note(&self, now: u64, stage: u32, attempt: u32, kind: EventKind) {
        let Some(events) = &self.run.events else { return };
        let full = {
            let mut buffer = self.buffer();
            if buffer.records.is_empty() {
                buffer.since = now;
            }
            buffer.records.push(events.record(now, stage, attempt, kind));
            buffer.records.len() >= EVENTS_MAX
        };
        if full {
            self.flush_events();
        }
    }

    pub(crate) fn attempt_started(&self, stage: u32, attempt: u32) {
        if self.run.events.is_none() {
            return;
        }
        if self.entered.load(Ordering::Relaxed) == stage {
            self.note(self.run.now(), stage, attempt, EventKind::StageStarted);
        } else {
            self.run.emit(stage, attempt, EventKind::StageStarted);
        }
    }

    pub(crate) fn flush_old_events(&self, now: u64) {
        if self.run.events.is_some() {
            let old = {
                let buffer = self.buffer();
                !buffer.records.is_empty() && now.saturating_sub(buffer.since) > EVENTS_MAX_AGE
            };
            if old {
                self.flush_events();
            }
        }
    }

    pub(crate) fn flush_events(&self) {
        if let Some(events) = &self.run.events {
            let records = std::mem::take(&mut self.buffer().records);
            if !records.is_empty() {
                let mut emptied = events.deliver(&self.run.info, records);
                emptied.clear();
                let mut buffer = self.buffer();
                if buffer.records.capacity() == 0 {
                    buffer.records = emptied;
                }
            }
        }
    }

    fn buffer(&self) -> MutexGuard<'_, EventBuffer> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunCore {
    /// Emits an event at once, from anywhere.
    pub(crate) fn emit(&self, stage: u32, attempt: u32, kind: EventKind) {
        if let Some(events) = &self.events {
            let record = events.record(self.now(), stage, attempt, kind);
            events.deliver(&self.info, vec![record]);
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

    fn hold(&self) -> Hold {
        self.run.holds.fetch_add(1, Ordering::SeqCst);
        let run = Arc::clone(&self.run);
        Hold::new(move || run.release_hold())
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
