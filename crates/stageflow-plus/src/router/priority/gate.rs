//! [`PriorityGate`]: so many calls at a time, and who waits goes by priority.

use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stageflow_core::{
    BulkheadFacts, Call, ErrorClass, FieldValue, Interceptor, Layer, Next, PolicyFacts, PolicyId, Priority,
    StageContext, StageExit, StageResult, TenantId, Value, WaitReason, code,
    intercept::Placement,
    text::OneLine,
    time::{Human, nanos},
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::queue::{ClassWeights, PriorityQueue};
use crate::router::clock;

/// The longest wait that a timer is set for.
const LONGEST: Duration = Duration::from_secs(86_400 * 365);

type Cost = dyn Fn(&StageContext) -> u64 + Send + Sync;

/// Lets so many calls through at a time; who waits goes by the priority of the run, and within a class by tenant. See
/// [`PriorityQueue`] for the order and its guarantees.
///
/// As an interceptor around the stages that share something scarce, or awaited by [`enter`](Self::enter) wherever else. Cheap to clone,
/// and all clones are one gate. At most 1,000 calls of each class wait, and the next of that class is refused: a flood of one class
/// takes no place of another. A stage waits no longer than its time allows.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stageflow_core::Priority;
/// use stageflow_plus::router::PriorityGate;
///
/// let gate = PriorityGate::new("model", 1);
/// let permit = gate.enter(Priority::Normal, None, 1).await?;
/// assert_eq!(gate.in_use(), 1);
/// drop(permit);
/// assert_eq!(gate.in_use(), 0);
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// A call that is dropped leaves the queue, or gives its place back.
#[derive(Clone)]
pub struct PriorityGate {
    shared: Arc<Shared>,
    cost: Option<Arc<Cost>>,
}

struct Shared {
    name: Arc<str>,
    places: usize,
    state: Mutex<State>,
}

struct State {
    in_use: usize,
    max_queue: usize,
    queue: PriorityQueue<oneshot::Sender<GatePermit>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a place on to whoever is next. Those who have left in this moment are passed over.
    fn pass_on(self: &Arc<Self>) {
        loop {
            let now = clock::since_epoch(Instant::now());
            let mut state = self.state();
            let Some(next) = state.queue.pop(now) else {
                state.in_use -= 1;
                return;
            };
            drop(state);
            let shared = Some(Arc::clone(self));
            let permit =
                GatePermit { shared, class: next.class, promoted: next.promoted, waited: next.waited };
            match next.job.send(permit) {
                Ok(()) => return,
                Err(mut unwanted) => unwanted.shared = None,
            }
        }
    }
}

/// A place in a [`PriorityGate`], until it is dropped.
#[must_use = "the place is given back when this is dropped"]
pub struct GatePermit {
    shared: Option<Arc<Shared>>,
    class: Priority,
    promoted: bool,
    waited: Duration,
}

impl GatePermit {
    /// The class.
    pub fn class(&self) -> Priority {
        self.class
    }

    /// Whether it came because it was waited for too long.
    pub fn is_promoted(&self) -> bool {
        self.promoted
    }

    /// How long it was waited for.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Drop for GatePermit {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.pass_on();
        }
    }
}

/// Leaves the queue when dropped.
struct Queued<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let gone = self.shared.state().queue.remove(self.id);
        drop(gone);
    }
}

impl PriorityGate {
    /// A gate of a name with so many places, one at least.
    pub fn new(name: impl Into<Arc<str>>, places: usize) -> Self {
        let state = State { in_use: 0, max_queue: 1_000, queue: PriorityQueue::new() };
        let shared = Shared { name: name.into(), places: places.max(1), state: Mutex::new(state) };
        Self { shared: Arc::new(shared), cost: None }
    }

    fn set(
        self,
        change: impl FnOnce(
            PriorityQueue<oneshot::Sender<GatePermit>>,
        ) -> PriorityQueue<oneshot::Sender<GatePermit>>,
    ) -> Self {
        let mut state = self.shared.state();
        state.queue = change(std::mem::take(&mut state.queue));
        drop(state);
        self
    }

    /// Other weights of the classes.
    #[must_use]
    pub fn weights(self, weights: ClassWeights) -> Self {
        self.set(|queue| queue.weights(weights))
    }

    /// As [`PriorityQueue::strict_critical`].
    #[must_use]
    pub fn strict_critical(self, cap: u32) -> Self {
        self.set(|queue| queue.strict_critical(cap))
    }

    /// As [`PriorityQueue::max_wait`]. It is looked at whenever a place becomes free.
    #[must_use]
    pub fn max_wait(self, class: Priority, time: Duration) -> Self {
        self.set(|queue| queue.max_wait(class, time))
    }

    /// How many calls of each class can wait.
    #[must_use]
    pub fn max_queue(self, calls: usize) -> Self {
        self.shared.state().max_queue = calls;
        self
    }

    /// What the call of a stage costs, to be fair between tenants by: tokens, say. Without it each costs 1.
    #[must_use]
    pub fn cost_by(mut self, cost: impl Fn(&StageContext) -> u64 + Send + Sync + 'static) -> Self {
        self.cost = Some(Arc::new(cost));
        self
    }

    /// How many places are taken.
    pub fn in_use(&self) -> usize {
        self.shared.state().in_use
    }

    /// How many calls wait.
    pub fn waiting(&self) -> usize {
        self.shared.state().queue.len()
    }

    /// Waits for a place.
    ///
    /// # Errors
    ///
    /// Too many of the class wait already.
    pub async fn enter(
        &self,
        class: Priority,
        tenant: Option<&TenantId>,
        cost: u64,
    ) -> Result<GatePermit, GateFull> {
        self.enter_within(class, tenant, cost, Duration::MAX).await
    }

    /// A place at once, if one is free.
    pub fn try_enter(&self, class: Priority) -> Option<GatePermit> {
        self.take(&mut self.shared.state(), class)
    }

    /// A place that becomes free goes to whoever waits: a free place and a queue are never there at the same time.
    fn take(&self, state: &mut State, class: Priority) -> Option<GatePermit> {
        if state.in_use == self.shared.places {
            return None;
        }
        state.in_use += 1;
        let (shared, waited) = (Some(Arc::clone(&self.shared)), Duration::ZERO);
        Some(GatePermit { shared, class, promoted: false, waited })
    }

    /// Waits for a place, for so long at most.
    ///
    /// # Errors
    ///
    /// Too many of the class wait already, or there was no turn in that time.
    pub async fn enter_within(
        &self,
        class: Priority,
        tenant: Option<&TenantId>,
        cost: u64,
        within: Duration,
    ) -> Result<GatePermit, GateFull> {
        let shared = &self.shared;
        let (queued, turn) = {
            let mut state = shared.state();
            if let Some(permit) = self.take(&mut state, class) {
                return Ok(permit);
            }
            if state.queue.len_of(class) >= state.max_queue {
                return Err(self.full(class, None));
            }
            let (told, turn) = oneshot::channel();
            let now = clock::since_epoch(Instant::now());
            let id = state.queue.push(now, class, tenant, cost, told);
            (Queued { shared, id }, turn)
        };
        let permit = match timeout(within.min(LONGEST), turn).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(self.full(class, Some(within))),
        };
        drop(queued);
        permit
    }

    fn full(&self, class: Priority, waited: Option<Duration>) -> GateFull {
        GateFull { gate: Arc::clone(&self.shared.name), class, waited }
    }

    async fn admit(&self, ctx: &StageContext) -> Result<GatePermit, GateFull> {
        let class = ctx.snapshot().priority();
        if let Some(permit) = self.try_enter(class) {
            return Ok(permit);
        }
        // On the heap, for those alone that wait.
        Box::pin(self.wait(ctx, class)).await
    }

    async fn wait(&self, ctx: &StageContext, class: Priority) -> Result<GatePermit, GateFull> {
        let tenant = ctx.identity().tenant_id();
        let cost = self.cost.as_ref().map_or(1, |cost| cost(ctx));
        let _waiting = ctx.waiting(WaitReason::Permit { limit: "priority", key: None });
        let within = ctx.slack().unwrap_or(Duration::MAX);
        let permit = self.enter_within(class, tenant, cost, within).await?;
        let fields: [(&str, FieldValue); 4] = [
            ("limit", (*self.shared.name).into()),
            ("class", word(class).into()),
            ("waited_ns", nanos(permit.waited).into()),
            ("promoted", permit.promoted.into()),
        ];
        ctx.emit("limit.waited", fields);
        Ok(permit)
    }
}

pub(super) fn word(class: Priority) -> &'static str {
    match class {
        Priority::Critical => "critical",
        Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
        Priority::Background => "background",
    }
}

/// Emits `limit.waited` for a call that had to wait, and `limit.rejected` for one that is refused, with the code `BULKHEAD_FULL`,
/// class transient.
impl Interceptor for PriorityGate {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        match self.admit(call.context()).await {
            Ok(_permit) => next.run().await,
            Err(full) => {
                let reason = if full.waited.is_some() { "timeout" } else { "full" };
                let fields: [(&str, FieldValue); 3] = [
                    ("limit", (*self.shared.name).into()),
                    ("class", word(full.class).into()),
                    ("reason", reason.into()),
                ];
                call.context().emit("limit.rejected", fields);
                Err(StageExit::failure(code::BULKHEAD_FULL, ErrorClass::Transient, full.into()))
            }
        }
    }

    fn name(&self) -> String {
        format!("PriorityGate({})", self.shared.name)
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Limit)
    }

    fn describe(&self) -> PolicyFacts {
        let mut facts = BulkheadFacts::new(Arc::clone(&self.shared.name), self.shared.places);
        facts.id = Some(PolicyId::of(&self.shared));
        facts.max_queue = self.shared.state().max_queue;
        facts.waits = facts.max_queue > 0;
        facts.into()
    }
}

/// A [`PriorityGate`] did not let a call through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateFull {
    gate: Arc<str>,
    class: Priority,
    waited: Option<Duration>,
}

impl fmt::Display for GateFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gate, class) = (OneLine(&self.gate), word(self.class));
        match self.waited {
            None => write!(f, "the gate `{gate}` has no place for another call of class {class} to wait in"),
            Some(waited) => {
                write!(f, "the gate `{gate}` had no turn for class {class} within {}", Human(waited))
            }
        }
    }
}

impl Error for GateFull {}

impl fmt::Debug for PriorityGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state();
        f.debug_struct("PriorityGate")
            .field("name", &self.shared.name)
            .field("places", &self.shared.places)
            .field("in_use", &state.in_use)
            .field("waiting", &state.queue.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for GatePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatePermit")
            .field("class", &self.class)
            .field("waited", &self.waited)
            .finish_non_exhaustive()
    }
}
