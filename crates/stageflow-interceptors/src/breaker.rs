//! A circuit breaker: calls to a dependency that is ill are not made, until a few probes have found it well again.
//!
//! Three parts: [`state`] decides as a pure function of time, randomness and its state; [`CircuitBreaker`] keeps one such
//! state per key and hands out permits; [`intercept`] puts that around the calls of stages.

mod builder;
mod gate;
mod intercept;
mod key;
mod lru;
mod outcome;
mod permit;
mod rules;
mod state;
mod window;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use stageflow_core::{
    Call, StageContext, TenantId,
    time::{SeededRandom, nanos},
};
use tokio::{sync::Notify, time::Instant};

use crate::clock;

use self::{
    gate::{Gate, Locked},
    lru::Lru,
    permit::Entry,
    rules::Rules,
    state::{Change, Machine, Mode, To},
};

pub use self::{
    builder::CircuitBreakerBuilder,
    key::BreakerKey,
    outcome::{
        BreakerOutcome, BreakerReason, BreakerSnapshot, BreakerState, BreakerTotals, BreakerTransition,
        Forced,
    },
    permit::{BreakerOpen, BreakerPermit},
    rules::BreakerConfigError,
};

/// What `gate` uses, so that `tests/model` can run it under a model checker.
mod sync {
    pub(super) use std::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    };
}

/// How long a probe keeps its slot if nothing is known about how long it may take.
const LEASE: Duration = Duration::from_secs(60);

/// Keeps calls away from a dependency that is ill.
///
/// Closed, it lets all calls through and counts. Too many failures open it, and it rejects all calls with `BREAKER_OPEN` for
/// a while. Then a fixed number of probes is let through; if all succeed it closes, and if one fails it opens for longer.
///
/// Cheap to clone, and all clones are one breaker. Put it around stages as an [`Interceptor`](stageflow_core::Interceptor), in
/// the layer [`Breaker`](stageflow_core::Layer::Breaker), or ask it yourself:
///
/// ```
/// use stageflow_interceptors::{BreakerOutcome, BreakerState, CircuitBreaker};
/// use tokio::time::Instant;
///
/// let breaker = CircuitBreaker::builder("search").consecutive(2).build()?;
/// let key = breaker.key(None);
/// for _ in 0..2 {
///     let permit = breaker.try_acquire(&key, Instant::now())?;
///     permit.record(BreakerOutcome::Failure { retry_after: None });
/// }
/// assert!(matches!(breaker.state(&key), BreakerState::Open { .. }));
/// let open = breaker.try_acquire(&key, Instant::now()).unwrap_err();
/// assert!(open.retry_after().is_some_and(|left| left.as_secs() >= 7)); // 10 s, give or take a fifth
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Guarantees
///
/// - What counts is rule S-25: see [`BreakerOutcome::of`]. Cancelled and refused calls say nothing.
/// - Half-open, no more probes are under way or have succeeded than have to succeed, however many callers there are.
/// - It never stays half-open because of a probe that never ends: one that is dropped gives its slot back at once, and one
///   that hangs makes room for another when its lease is over. The result of either counts whenever it comes.
/// - A call that was admitted before a change of the state changes nothing when it ends after it.
/// - Memory is bounded by the number of keys; the key that was not asked for longest is forgotten, which closes it.
/// - Time is tokio's, randomness is the run's: in a simulation the same seed opens it at the same time for as long.
#[derive(Clone)]
pub struct CircuitBreaker {
    shared: Arc<Shared>,
}

/// The right to make a call, or the refusal of whoever was asked.
type Asked = Result<Entry, (Arc<Cell>, BreakerOpen)>;

/// What the clones and permits of a breaker have in common.
#[derive(Debug)]
struct Shared {
    dependency: Arc<str>,
    rules: Arc<Rules>,
    /// Whether each stage is a dependency of its own.
    per_stage: bool,
    per_tenant: bool,
    probe_lease: Option<Duration>,
    max_wait: Option<Duration>,
    initially: Option<Forced>,
    /// Chance for calls that belong to no run.
    random: SeededRandom,
    /// The beginning of time, and when that was since the epoch.
    origin: Instant,
    began: u64,
    cells: Mutex<Lru<BreakerKey, Arc<Cell>>>,
}

/// One key.
#[derive(Debug)]
struct Cell {
    key: BreakerKey,
    gate: Gate,
    /// An operator decides here: it is not forgotten while others can be.
    forced: AtomicBool,
    /// Tells whoever waits that asking again may help.
    changed: Notify,
}

impl Cell {
    fn machine(&self) -> Locked<'_> {
        self.gate.lock()
    }

    /// The right to make a call if it is closed, as whoever has the table says.
    #[inline]
    fn admit_closed(self: &Arc<Self>, at: u64) -> Option<Entry> {
        let ticket = self.gate.admit_closed(at)?;
        Some(Entry::new(Arc::clone(self), ticket))
    }
}

impl Shared {
    fn nanos(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.origin))
    }

    #[inline]
    fn now(&self, ctx: &StageContext) -> u64 {
        clock::now(ctx).saturating_sub(self.began)
    }

    fn instant(&self, at: u64) -> Instant {
        self.origin + Duration::from_nanos(at)
    }

    #[inline]
    fn cells(&self) -> MutexGuard<'_, Lru<BreakerKey, Arc<Cell>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a key; from now on something is.
    fn cell(&self, key: &BreakerKey) -> Arc<Cell> {
        self.cell_in(&mut self.cells(), key)
    }

    fn cell_in(&self, cells: &mut Lru<BreakerKey, Arc<Cell>>, key: &BreakerKey) -> Arc<Cell> {
        let make = || {
            Arc::new(Cell {
                key: key.clone(),
                gate: Gate::new(Machine::new(Arc::clone(&self.rules), self.initially)),
                forced: AtomicBool::new(false),
                changed: Notify::new(),
            })
        };
        cells.get(key, make, |cell| cell.forced.load(Ordering::Relaxed))
    }

    /// Asks for the call of a stage; gives what is to be asked where it is not closed.
    #[inline]
    fn enter(&self, call: &Call, at: u64) -> Result<Entry, Arc<Cell>> {
        let tenant = call.snapshot().identity().tenant_id().filter(|_| self.per_tenant);
        let is_it = |key: &BreakerKey| match self.per_stage {
            false => key.is(&self.dependency, tenant),
            true => key.is_of_stage(call.snapshot().pipeline(), call.stage_name(), tenant),
        };
        if let Some(newest) = self.cells().newest(is_it) {
            return newest.admit_closed(at).ok_or_else(|| Arc::clone(newest));
        }
        self.enter_anew(call, at)
    }

    #[inline(never)]
    fn enter_anew(&self, call: &Call, at: u64) -> Result<Entry, Arc<Cell>> {
        self.enter_as(&self.key_of(call), at)
    }

    /// The same for a key.
    fn enter_as(&self, key: &BreakerKey, at: u64) -> Result<Entry, Arc<Cell>> {
        let mut cells = self.cells();
        let cell = self.cell_in(&mut cells, key);
        match cell.gate.admit_closed(at) {
            Some(ticket) => Ok(Entry::new(cell, ticket)),
            None => Err(cell),
        }
    }

    /// The key of the call of a stage.
    fn key_of(&self, call: &Call) -> BreakerKey {
        let tenant = call.snapshot().identity().tenant_id();
        if self.per_stage {
            let tenant = tenant.filter(|_| self.per_tenant).cloned();
            return BreakerKey::of_stage(call.snapshot().pipeline(), call.stage_name(), tenant);
        }
        self.key(tenant)
    }

    fn key(&self, tenant: Option<&TenantId>) -> BreakerKey {
        BreakerKey::new(Arc::clone(&self.dependency), tenant.filter(|_| self.per_tenant).cloned())
    }

    fn state(&self, machine: &Machine) -> BreakerState {
        match machine.mode() {
            Mode::Closed => BreakerState::Closed,
            Mode::Open { until } => BreakerState::Open { until: self.instant(*until) },
            Mode::HalfOpen(_) => BreakerState::HalfOpen,
            Mode::Forced(forced) => BreakerState::Forced(*forced),
        }
    }

    fn transition(&self, key: &BreakerKey, change: Change) -> BreakerTransition {
        let to = match change.to {
            To::Closed => BreakerState::Closed,
            To::Open { until } => BreakerState::Open { until: self.instant(until) },
            To::HalfOpen => BreakerState::HalfOpen,
            To::Forced(forced) => BreakerState::Forced(forced),
        };
        BreakerTransition { key: key.clone(), to, reason: change.reason }
    }
}

impl CircuitBreaker {
    /// A breaker for a dependency: what fails, such as a service, and not who calls it.
    pub fn builder(dependency: impl Into<String>) -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::new(dependency.into())
    }

    /// A breaker that takes each stage of each pipeline for a dependency of its own: for many stages of which nothing is known, such as by
    /// default around those of an engine. Where stages call the same service one [`builder`](Self::builder) for it knows more, and sooner.
    ///
    /// Its keys are those of [`BreakerKey::of_stage`], 10,000 at most. Around everything but the stages of a pipeline, that is asked
    /// by [`try_acquire`](Self::try_acquire), keys are as ever.
    ///
    /// ```
    /// use stageflow_interceptors::{BreakerKey, BreakerState, CircuitBreaker};
    ///
    /// let breaker = CircuitBreaker::per_stage().failure_rate(0.2).build()?;
    /// assert_eq!(breaker.state(&BreakerKey::of_stage("support", "search", None)), BreakerState::Closed);
    /// # Ok::<(), stageflow_interceptors::BreakerConfigError>(())
    /// ```
    pub fn per_stage() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::per_stage()
    }

    /// The key of its dependency for a tenant; without the tenant if it does not keep tenants apart.
    pub fn key(&self, tenant: Option<&TenantId>) -> BreakerKey {
        self.shared.key(tenant)
    }

    /// Asks for a call at the time `now`, by the clock of tokio. The permit is to be told how the call ended; one that is
    /// dropped says nothing.
    ///
    /// Keys of other dependencies are kept apart as well: one breaker can serve several, such as the routes of a router.
    ///
    /// # Errors
    ///
    /// The breaker is open, or half-open with all its probes under way.
    pub fn try_acquire(&self, key: &BreakerKey, now: Instant) -> Result<BreakerPermit, BreakerOpen> {
        let lease = self.shared.probe_lease.unwrap_or(LEASE);
        let now = self.shared.nanos(now);
        let asked = match self.shared.enter_as(key, now) {
            Ok(entry) => Ok(entry),
            Err(cell) => self.ask(cell, now, lease).0,
        };
        match asked {
            Ok(entry) => Ok(BreakerPermit::new(&self.shared, entry)),
            Err((cell, open)) => {
                cell.machine().reject();
                Err(open)
            }
        }
    }

    /// Asks for a call, and says whether asking has changed the state.
    fn ask(&self, cell: Arc<Cell>, at: u64, lease: Duration) -> (Asked, Option<BreakerTransition>) {
        let (admitted, change) = cell.machine().admit(at, lease);
        let change = change.map(|change| self.shared.transition(&cell.key, change));
        let asked = match admitted {
            Ok(ticket) => Ok(Entry::new(cell, ticket)),
            Err(refusal) => {
                let open = BreakerOpen::new(&cell.key, refusal, at);
                Err((cell, open))
            }
        };
        (asked, change)
    }

    /// What it does with the calls of a key. Of a key nobody has asked for, or that was forgotten, it knows nothing bad.
    ///
    /// An open breaker becomes half-open by the first call after its time.
    pub fn state(&self, key: &BreakerKey) -> BreakerState {
        let known = self.shared.cells().peek(key);
        match (known, self.shared.initially) {
            (Some(cell), _) => self.shared.state(&cell.machine()),
            (None, Some(forced)) => BreakerState::Forced(forced),
            (None, None) => BreakerState::Closed,
        }
    }

    /// Everything it knows, in the order of the keys. Each key is looked at on its own: it is no one moment of all.
    pub fn snapshot(&self) -> Vec<BreakerSnapshot> {
        let cells: Vec<_> = self.shared.cells().values().cloned().collect();
        let now = self.shared.nanos(Instant::now());
        let mut all: Vec<_> = cells.iter().map(|cell| self.look(cell, now)).collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    fn look(&self, cell: &Cell, now: u64) -> BreakerSnapshot {
        let mut machine = cell.machine();
        let tally = machine.tally(now);
        BreakerSnapshot {
            key: cell.key.clone(),
            state: self.shared.state(&machine),
            calls: tally.calls,
            failed: tally.failed,
            slow: tally.slow,
            generation: machine.generation(),
            totals: machine.totals(),
        }
    }

    /// Decides in its place for a key, until [`release`](Self::release). Gives the change, if it is one.
    ///
    /// Keys it decides for are forgotten last.
    pub fn force(&self, key: &BreakerKey, forced: Forced) -> Option<BreakerTransition> {
        self.decide(key, Some(forced))
    }

    /// Lets it decide again for a key, which begins closed and without a past. Gives the change, if it is one.
    pub fn release(&self, key: &BreakerKey) -> Option<BreakerTransition> {
        self.decide(key, None)
    }

    fn decide(&self, key: &BreakerKey, forced: Option<Forced>) -> Option<BreakerTransition> {
        loop {
            let cell = self.shared.cell(key);
            let now = self.shared.nanos(Instant::now());
            let change = {
                let mut machine = cell.machine();
                cell.forced.store(forced.is_some(), Ordering::Relaxed);
                machine.force(now, forced)
            };
            cell.changed.notify_waiters();
            // A flood of keys could have pushed it out before it was marked.
            if self.shared.cells().peek(key).is_some_and(|known| Arc::ptr_eq(&known, &cell)) {
                return change.map(|change| self.shared.transition(key, change));
            }
        }
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("dependency", &self.shared.dependency)
            .field("keys", &self.shared.cells().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
