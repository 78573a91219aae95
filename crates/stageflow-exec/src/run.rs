//! One run: everything its workers share.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use stageflow_core::{
    CancelCause, ContextSnapshot, Failure, FailureCollector, FailureRules, Reservation, RunOutcome,
    StageOutcome, Timeouts, Value, WaitReason, budget::account::Account, intercept::AnyInterceptor,
    scope::CleanUp, stage::StageRole,
};
use stageflow_dag::{chains::Chains, plan::Plan};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    aside::Aside,
    cell::{Cell, State},
    decide::MIN_HELD,
    durable::RunLog,
    ending::{EndCause, Ending},
    engine::EngineShared,
    limits::{Permits, RunLimits, TenantLimits},
    outputs::Outputs,
    progress::{Pulse, Pulses, Watched},
    queue::Queues,
    sinks::RunEvents,
    waits::Waited,
};

/// Everything the workers of one run share.
pub(crate) struct RunCore {
    pub(crate) plan: Arc<Plan>,
    pub(crate) snapshot: Arc<ContextSnapshot>,
    pub(crate) shared: Arc<EngineShared>,
    pub(crate) chains: Option<Arc<Chains>>,
    pub(crate) limits: RunLimits,
    pub(crate) events: Option<RunEvents>,
    pub(crate) handle: Handle,
    pub(crate) depth: u32,
    /// No stage has anything around it: no interceptor, limit, timeout, least time or counted input.
    pub(crate) bare: bool,
    pub(crate) is_limited: bool,
    /// Attempts have to be paid for: a stage has a cost, or the run is made again.
    pub(crate) is_metered: bool,
    /// Some stage may have a timeout.
    pub(crate) is_timed: bool,
    /// Made where some stage has an idle timeout.
    pub(crate) pulses: Option<Pulses>,
    /// Who goes by the progress of this run.
    pub(crate) watched: Option<Arc<Watched>>,
    /// What it writes, if it is written down.
    pub(crate) log: Option<Box<RunLog>>,

    pub(crate) cells: Box<[Cell]>,
    pub(crate) outputs: Outputs,
    pub(crate) conditions: Box<[AtomicU8]>,
    pub(crate) groups: Box<[AtomicBool]>,

    /// The engine clock's reading at the start.
    pub(crate) origin: u64,
    /// Nanoseconds of the run; `u64::MAX` for none.
    pub(crate) deadline: u64,
    /// Nanoseconds of the run; [`NOT_YET`] before.
    ended_at: AtomicU64,
    pub(crate) outcome: OnceLock<RunOutcome>,

    /// How many stages have not ended.
    pub(crate) remaining: AtomicUsize,
    /// Whether some stage ended without an output: then readiness has to be looked at closely.
    pub(crate) troubled: AtomicBool,
    pub(crate) ending: Ending,
    token: OnceLock<CancellationToken>,
    pub(crate) queues: Queues,
    /// Stages whose futures are pending.
    pub(crate) pending: Aside,
    /// Work of stages that goes on elsewhere.
    pub(crate) holds: AtomicUsize,
    pub(crate) clean_ups: Mutex<Option<Vec<(u32, CleanUp)>>>,
    children: Mutex<Vec<Weak<RunCore>>>,
    /// Opened when somebody asks for it; a child's is its parent's, or lies within it.
    pub(crate) account: OnceLock<Arc<Account>>,
    pub(crate) of_tenant: OnceLock<Arc<Account>>,
    /// Of a run that is made again: the account out of which each stage takes a retry.
    pub(crate) repeats: Option<Arc<Account>>,
    /// Made at the first failure.
    collector: OnceLock<Box<FailureCollector>>,
    /// How many stages have completed, where the rules about failures depend on it.
    pub(crate) completed: Option<AtomicUsize>,
    /// Made when something is to be noted: most runs just complete.
    details: OnceLock<Box<Mutex<Details>>>,
    /// Kept for errors that lend it.
    pub(crate) first_failure: OnceLock<Option<Failure>>,
    /// The run's place in its engine's list.
    pub(crate) live_key: OnceLock<usize>,
}

/// No time at which a run ends.
const NOT_YET: u64 = u64::MAX;

/// What is known of the few stages that did not simply complete.
#[derive(Debug, Default)]
pub(crate) struct Details {
    pub(crate) outcomes: HashMap<u32, StageOutcome>,
    pub(crate) waits: HashMap<u32, WaitReason>,
    /// What stages have waited for.
    pub(crate) waited: Waited,
    /// The run's number in the queue of the monitor, while it waits there.
    pub(crate) place: Option<u64>,
    pub(crate) quota: Option<crate::quota::InQueue>,
    /// Whether it waits for the engine's authentication.
    pub(crate) is_at_gate: bool,
    /// How long it waited there, in nanoseconds, if it did.
    pub(crate) queued: Option<u64>,
    /// How much work of a stage goes on elsewhere.
    pub(crate) holds: HashMap<u32, u32>,
    /// The permits of attempts that are in flight.
    pub(crate) permits: HashMap<u32, Weak<Permits>>,
    /// What is reserved for the cost of attempts.
    pub(crate) costs: HashMap<(u32, u32), Reservation>,
    pub(crate) clean_up_failures: Vec<CleanUpFailure>,
}

/// A clean-up that went wrong. It changes no outcome.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CleanUpFailure {
    /// `CLEANUP_FAILED` or `CLEANUP_TIMEOUT`.
    pub code: stageflow_core::Code,
    /// The stage that registered it.
    pub stage: String,
    /// What went wrong.
    pub error: String,
}

/// What a run starts from.
pub(crate) struct Seed {
    pub(crate) chains: Option<Arc<Chains>>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) input: Value,
    pub(crate) snapshot: Arc<ContextSnapshot>,
    pub(crate) shared: Arc<EngineShared>,
    pub(crate) handle: Handle,
    pub(crate) events: Option<RunEvents>,
    pub(crate) keep: Option<stageflow_core::Keep>,
    pub(crate) max_in_flight: Option<u32>,
    pub(crate) tenant: Option<TenantLimits>,
    pub(crate) account: Option<Arc<Account>>,
    pub(crate) repeats: Option<Arc<Account>>,
    pub(crate) depth: u32,
    pub(crate) watched: Option<Arc<Watched>>,
    pub(crate) log: Option<Box<RunLog>>,
}

impl RunCore {
    pub(crate) fn new(seed: Seed) -> Arc<Self> {
        let Seed {
            chains,
            plan,
            input,
            snapshot,
            shared,
            handle,
            events,
            keep,
            max_in_flight,
            watched,
            log,
            ..
        } = seed;
        let policies = plan.policies();
        let keep_all = keep.unwrap_or(policies.keep) == stageflow_core::Keep::All;
        let count = u32::try_from(plan.len()).unwrap_or(u32::MAX);
        let limits = RunLimits::new(
            max_in_flight.or(policies.max_in_flight),
            &policies.kind_limits,
            &shared.limits,
            seed.tenant,
        );
        let outputs = Outputs::new(&plan, input, keep_all);
        let is_metered =
            seed.repeats.is_some() || plan.all_settings().values().any(|settings| settings.cost.is_some());
        let is_set = !plan.all_settings().is_empty();
        let is_timed = is_set || policies.timeouts.is_set() || shared.timeouts.is_set();
        let bare = chains.is_none()
            && log.is_none()
            && limits.is_empty()
            && !is_timed
            && !is_metered
            && !plan.has_min_times()
            && !outputs.is_counted();
        let has_idle = is_timed
            && (policies.timeouts.idle.or(shared.timeouts.idle).get().is_some()
                || plan.all_settings().values().any(|settings| settings.timeouts.idle.get().is_some()));
        Arc::new(Self {
            bare,
            log,
            is_timed,
            pulses: has_idle.then(|| (0..count).map(|_| Pulse::default()).collect()),
            watched,
            is_limited: !limits.is_empty(),
            is_metered,
            chains,
            cells: plan.in_degrees().iter().map(|edges| Cell::new(*edges)).collect(),
            outputs,
            conditions: plan.conditions().iter().map(|_| AtomicU8::new(0)).collect(),
            groups: (0..plan.groups()).map(|_| AtomicBool::new(false)).collect(),
            origin: shared.clock.monotonic_nanos(),
            deadline: snapshot.deadline().map_or(u64::MAX, stageflow_core::time::nanos),
            ended_at: AtomicU64::new(NOT_YET),
            outcome: OnceLock::new(),
            remaining: AtomicUsize::new(plan.len()),
            troubled: AtomicBool::new(false),
            ending: Ending::default(),
            token: OnceLock::new(),
            queues: Queues::new(&handle, shared.seed, plan.max_in_degree() >= MIN_HELD),
            pending: Aside::default(),
            holds: AtomicUsize::new(0),
            clean_ups: Mutex::new(Some(Vec::new())),
            children: Mutex::new(Vec::new()),
            account: seed.account.map_or_else(OnceLock::new, OnceLock::from),
            of_tenant: OnceLock::new(),
            repeats: seed.repeats,
            collector: OnceLock::new(),
            completed: rules_of(&plan, &shared)
                .is_some_and(FailureRules::counts_completed)
                .then(AtomicUsize::default),
            details: OnceLock::new(),
            first_failure: OnceLock::new(),
            live_key: OnceLock::new(),
            plan,
            snapshot,
            shared,
            limits,
            events,
            handle,
            depth: seed.depth,
        })
    }

    /// Nanoseconds since the run started.
    pub(crate) fn now(&self) -> u64 {
        self.shared.clock.monotonic_nanos().saturating_sub(self.origin)
    }

    /// The run has ended, and it took until now.
    pub(crate) fn set_end(&self) {
        self.ended_at.store(self.now(), Ordering::SeqCst);
    }

    /// How long the run took, once it has ended.
    pub(crate) fn took(&self) -> Option<Duration> {
        Some(self.ended_at.load(Ordering::SeqCst)).filter(|end| *end != NOT_YET).map(Duration::from_nanos)
    }

    /// The output of a stage that completed, or the pipeline's input, where it is still there.
    pub(crate) fn output(&self, source: u32) -> Option<Value> {
        let value = self.outputs.get(source);
        if value.is_some() || source == stageflow_dag::plan::INPUT {
            return value;
        }
        // Units are not stored.
        let unit = Value::new(());
        let completed = self.cell(source).state() == State::Completed;
        (completed && self.plan.stage(source).gives(&unit)).then_some(unit)
    }

    /// What counts for the time of a stage: what the stage says, then the pipeline, then the engine. The engine's defaults are for
    /// the stages that do the work, not for pipelines in the place of stages, whose own stages they count for.
    pub(crate) fn timeouts(&self, stage: u32) -> Timeouts {
        if !self.is_timed {
            return Timeouts::default();
        }
        let near = self.plan.timeouts(stage);
        let far = &self.shared.timeouts;
        if far.is_set() && self.plan.stage(stage).role() == StageRole::Leaf { near.or(*far) } else { near }
    }

    /// What an attempt of a stage takes at least.
    pub(crate) fn min_time(&self, stage: u32) -> Duration {
        if !self.plan.has_min_times() {
            return Duration::ZERO;
        }
        if self.shared.may_answer {
            // For stages of the child run as well.
            return self.plan.settings(stage).map_or(Duration::ZERO, |settings| settings.min_time);
        }
        self.plan.min_time_of(stage)
    }

    /// The interceptors around a stage, if there are any.
    #[inline]
    pub(crate) fn chain(&self, stage: u32) -> Option<&Arc<[AnyInterceptor]>> {
        self.chains.as_ref()?.of(stage)
    }

    #[inline]
    pub(crate) fn cell(&self, stage: u32) -> &Cell {
        &self.cells[stage as usize]
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.ending.is_stopping()
    }

    /// When the run began to stop, in nanoseconds of the run.
    pub(crate) fn stopped_at(&self) -> u64 {
        self.ending.stopped_at()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.outcome.get().is_some()
    }

    pub(crate) fn details(&self) -> MutexGuard<'_, Details> {
        self.details.get_or_init(Box::default).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is something in them.
    #[inline]
    pub(crate) fn has_details(&self) -> bool {
        self.details.get().is_some()
    }

    /// Like [`details`](Self::details), if there is something in them.
    #[inline]
    pub(crate) fn known_details(&self) -> Option<MutexGuard<'_, Details>> {
        Some(self.details.get()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether no stage has failed.
    pub(crate) fn has_no_failure(&self) -> bool {
        self.collector.get().is_none_or(|collector| collector.is_empty())
    }

    /// The rules about failures, where some are set.
    pub(crate) fn failure_rules(&self) -> Option<&FailureRules> {
        rules_of(&self.plan, &self.shared)
    }

    /// What gathers the failures of the run.
    pub(crate) fn collector(&self) -> &FailureCollector {
        self.collector.get_or_init(|| {
            let rules = self.failure_rules().cloned().unwrap_or_default();
            Box::new(FailureCollector::new(rules).stages(self.plan.len()))
        })
    }

    /// Ends the run early: the one path for every cause (S-16).
    pub(crate) fn end(&self, cause: EndCause) -> bool {
        let reason = cause.for_stages();
        if !self.ending.end(cause, self.now()) {
            return false;
        }
        if let Some(token) = self.token.get() {
            token.cancel();
        }
        let children = std::mem::take(&mut *self.lock_children());
        for child in children.iter().filter_map(Weak::upgrade) {
            child.end(EndCause::Cancel(CancelCause::Parent { reason: reason.to_string() }));
        }
        self.queues.wake_driver();
        true
    }

    /// The token of the run, made when somebody first asks for it.
    pub(crate) fn token(&self) -> CancellationToken {
        let token = self.token.get_or_init(CancellationToken::new);
        // A cancellation that looked for the token before it was there has left this to us.
        if self.is_stopping() {
            token.cancel();
        }
        token.clone()
    }

    /// Ties a child run to this one: it is cancelled as soon as this one is.
    pub(crate) fn adopt(&self, child: &Arc<RunCore>) {
        {
            let mut children = self.lock_children();
            if children.len() == children.capacity() {
                children.retain(|known| known.strong_count() > 0);
            }
            children.push(Arc::downgrade(child));
        }
        if let (true, Some(cause)) = (self.is_stopping(), self.ending.cause()) {
            let reason = cause.for_stages().to_string();
            child.end(EndCause::Cancel(CancelCause::Parent { reason }));
        }
    }

    /// The child runs that are still there.
    pub(crate) fn children(&self) -> Vec<Arc<RunCore>> {
        self.lock_children().iter().filter_map(Weak::upgrade).collect()
    }

    fn lock_children(&self) -> MutexGuard<'_, Vec<Weak<RunCore>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a stage may go on after a cancellation: nanoseconds of the run until which it may.
    ///
    /// A child run ends itself, so the stage may go on while it waits for one.
    pub(crate) fn grace_until(&self, stage: u32, stopped_at: u64) -> u64 {
        if self.plan.stage(stage).role() == StageRole::Pipeline
            && self.details().waits.get(&stage) == Some(&WaitReason::ChildRun)
        {
            return u64::MAX;
        }
        if let Some(log) = &self.log
            && log.director().is_some_and(|director| director.ends(&log.path(self, stage)))
        {
            return u64::MAX;
        }
        let grace = self.plan.settings(stage).and_then(|settings| settings.grace);
        grace.map_or(0, |grace| stopped_at.saturating_add(stageflow_core::time::nanos(grace)))
    }

    /// The stages of which something goes on elsewhere, though they have ended, in declaration order.
    pub(crate) fn lingering(&self) -> Vec<u32> {
        let held: Vec<u32> = self.details().holds.keys().copied().collect();
        let mut lingering: Vec<u32> =
            held.into_iter().filter(|stage| self.cell(*stage).state().is_terminal()).collect();
        lingering.sort_unstable();
        lingering
    }

    /// The stages that have not ended.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = u32> {
        (0u32..).zip(&self.cells).filter(|(_, cell)| !cell.state().is_terminal()).map(|(stage, _)| stage)
    }

    pub(crate) fn release_hold(&self, stage: u32) {
        {
            let mut details = self.details();
            if let Some(count) = details.holds.get_mut(&stage) {
                *count -= 1;
                if *count == 0 {
                    details.holds.remove(&stage);
                }
            }
        }
        if self.holds.fetch_sub(1, Ordering::SeqCst) == 1 && self.queues.is_closed() {
            self.queues.wake_driver();
        }
    }
}

/// The rules about failures of a run of `plan`: its own, else those of the engine.
fn rules_of<'a>(plan: &'a Plan, shared: &'a EngineShared) -> Option<&'a FailureRules> {
    plan.policies().on_failure.as_ref().or(shared.on_failure.as_ref())
}

impl Drop for RunCore {
    fn drop(&mut self) {
        // Stages that were left pending by a helper after the runtime had dropped the driver: each keeps itself alive.
        for node in self.pending.drain() {
            let _panicked = catch_unwind(AssertUnwindSafe(|| drop(node.take_body())));
        }
    }
}

impl std::fmt::Debug for RunCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunCore").field("plan", &self.plan).finish_non_exhaustive()
    }
}
