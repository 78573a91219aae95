//! `around(call, next)`: the one mechanism for everything that changes how a stage is called.

use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc};

use serde::Serialize;

use crate::{
    admit::RunAdmission,
    call::{self, Call, Next},
    exit::StageResult,
    facts::{PolicyFacts, PolicyId},
    slot::FutureSlot,
    stage::StageKind,
    value::{Value, shorten},
};

/// Wraps the calls of stages: may refuse them, delay them, repeat them or replace what they give.
///
/// Everything it enters it leaves, on every path: it is one async function around the inner ones. Its verdicts
/// are typed: go on (`next.run().await`), replace the output (`Ok(Value)`), deny
/// ([`StageExit::deny`](crate::StageExit::deny)), cancel ([`StageExit::cancel`](crate::StageExit::cancel)).
///
/// The engine owns the innermost step, the *attempt*: permit, attempt timeout, events and attempt number. An
/// interceptor that calls `next` twice gets all of that right by itself.
///
/// # Order
///
/// Outermost first: [`Layer::Authenticate`] … [`Layer::Inner`]; within a layer engine, pipeline, stage; within
/// those the order of addition. `RunReport` and `Engine::order` print it.
///
/// # Cancel safety
///
/// The future is dropped when the run is cancelled or the stage's time is up.
///
/// ```
/// use stageflow_core::{Call, Interceptor, Next, StageResult, Value};
///
/// struct Twice;
///
/// impl Interceptor for Twice {
///     async fn around(&self, _call: &Call, next: Next<'_>) -> StageResult<Value> {
///         match next.clone().run().await {
///             Err(exit) if exit.is_failure() => next.run().await,
///             done => done,
///         }
///     }
/// }
/// ```
pub trait Interceptor: Send + Sync + 'static {
    /// Wraps one call.
    ///
    /// # Errors
    ///
    /// What the inner call gives, or a verdict of its own. Right in [`Layer::Authenticate`] and [`Layer::Tenant`] whatever it does but
    /// run `next` denies the call: every exit and panic of its own, and an answer in place of the stage.
    fn around(&self, call: &Call, next: Next<'_>) -> impl Future<Output = StageResult<Value>> + Send;

    /// Decides on a run as a whole, before anything of it is evaluated: no condition, no stage. It is asked once per run, of those that
    /// an engine has right in [`Layer::Authenticate`] and [`Layer::Tenant`], in their order; child runs are let in with their parent.
    /// Unless it is written, every run is let in, and each call decides for itself.
    ///
    /// # Errors
    ///
    /// Every error, of whatever kind, and every panic denies: the run ends as `Denied`.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when the run is cancelled or its deadline passes.
    fn admit(&self, _run: &RunAdmission) -> impl Future<Output = StageResult<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// Its name in listings and errors.
    fn name(&self) -> String {
        shorten(std::any::type_name::<Self>())
    }

    /// Where it stands among the others.
    fn placement(&self) -> Placement {
        Placement::At(Layer::Inner)
    }

    /// Whether it applies to a stage; asked once per stage when the order is resolved, never while running.
    fn applies_to(&self, _stage: &str, _kind: StageKind) -> bool {
        true
    }

    /// Whether it gives no output unless the stage has given one, so that its stage takes the stage's least time (rule S-15).
    #[doc(hidden)]
    fn always_calls(&self) -> bool {
        false
    }

    /// What it is, with its values: for `Engine::describe`, and for the lint. Asked once, when it is added.
    fn describe(&self) -> PolicyFacts {
        PolicyFacts::Other
    }
}

/// The layers of the onion, outermost first (rule S-21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Who calls.
    Authenticate,
    /// For which tenant.
    Tenant,
    /// Whether it was done before.
    Idempotency,
    /// Whether there is time.
    Deadline,
    /// Whether to try again.
    Retry,
    /// Whether the other side is well.
    Breaker,
    /// Whether there is room: bulkheads and rate limits.
    Limit,
    /// How long an attempt may take.
    Timeout,
    /// What is recorded.
    Trace,
    /// Directly around the attempt: the default.
    Inner,
}

/// Where an interceptor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Around everything of a layer.
    Outside(Layer),
    /// In the layer.
    At(Layer),
    /// Within everything of a layer.
    Inside(Layer),
}

impl Placement {
    /// The layer it refers to.
    pub fn layer(self) -> Layer {
        match self {
            Self::Outside(layer) | Self::At(layer) | Self::Inside(layer) => layer,
        }
    }

    #[doc(hidden)]
    pub fn sort_key(self) -> (Layer, u8) {
        match self {
            Self::Outside(layer) => (layer, 0),
            Self::At(layer) => (layer, 1),
            Self::Inside(layer) => (layer, 2),
        }
    }
}

/// The dyn-compatible twin of [`Interceptor`].
trait DynInterceptor: Any + Send + Sync {
    fn begin(&self, slot: &mut FutureSlot, call: Arc<Call>, depth: usize);
    fn begin_guarded(&self, slot: &mut FutureSlot, call: Arc<Call>, depth: usize);
    fn admit(self: Arc<Self>, run: Arc<RunAdmission>) -> Admitting;
}

/// A decision on a run, on its way.
#[doc(hidden)]
pub type Admitting = Pin<Box<dyn Future<Output = StageResult<()>> + Send>>;

impl<I: Interceptor> DynInterceptor for I {
    fn begin(&self, slot: &mut FutureSlot, call: Arc<Call>, depth: usize) {
        slot.put_with(move || call::around::<I>(call, depth));
    }

    fn begin_guarded(&self, slot: &mut FutureSlot, call: Arc<Call>, depth: usize) {
        slot.put_with(move || call::guard::<I>(call, depth));
    }

    fn admit(self: Arc<Self>, run: Arc<RunAdmission>) -> Admitting {
        Box::pin(async move { Interceptor::admit(&*self, &run).await })
    }
}

/// Whether an interceptor applies to a stage.
type Applies = dyn Fn(&str, StageKind) -> bool + Send + Sync;

/// An interceptor with its type erased.
#[derive(Clone)]
#[doc(hidden)]
pub struct AnyInterceptor {
    inner: Arc<dyn DynInterceptor>,
    applies: Arc<Applies>,
    name: Arc<str>,
    placement: Placement,
    fails_closed: bool,
    always_calls: bool,
    facts: Arc<PolicyFacts>,
    /// For which kinds it is a default that gives way to others.
    default_for: Option<Arc<[StageKind]>>,
}

impl AnyInterceptor {
    #[doc(hidden)]
    pub fn new(interceptor: impl Interceptor) -> Self {
        let name = interceptor.name().into();
        let placement = interceptor.placement();
        let facts = Arc::new(interceptor.describe());
        let always_calls = interceptor.always_calls();
        let inner = Arc::new(interceptor);
        let asked = Arc::clone(&inner);
        let applies = move |stage: &str, kind| asked.applies_to(stage, kind);
        let fails_closed = matches!(placement, Placement::At(Layer::Authenticate | Layer::Tenant));
        Self {
            inner,
            applies: Arc::new(applies),
            name,
            placement,
            fails_closed,
            always_calls,
            facts,
            default_for: None,
        }
    }

    /// The same as a default for stages of these kinds.
    #[doc(hidden)]
    #[must_use]
    pub fn by_default(mut self, kinds: impl IntoIterator<Item = StageKind>) -> Self {
        self.default_for = Some(kinds.into_iter().collect());
        self
    }

    /// Leaves to another default in the same place the kinds that it is for; whether it is one for some kind still.
    #[doc(hidden)]
    pub fn give_way_to(&mut self, other: &Self) -> bool {
        let (Some(kinds), Some(taken)) = (&self.default_for, &other.default_for) else { return true };
        if self.placement != other.placement {
            return true;
        }
        let left: Arc<[_]> = kinds.iter().copied().filter(|kind| !taken.contains(kind)).collect();
        let stays = !left.is_empty();
        self.default_for = Some(left);
        stays
    }

    /// The kinds it is a default for, if it is one.
    #[doc(hidden)]
    pub fn default_for(&self) -> Option<&[StageKind]> {
        self.default_for.as_deref()
    }

    #[doc(hidden)]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[doc(hidden)]
    pub fn placement(&self) -> Placement {
        self.placement
    }

    #[doc(hidden)]
    pub fn facts(&self) -> &PolicyFacts {
        &self.facts
    }

    /// Tells whether two are the same one.
    #[doc(hidden)]
    pub fn id(&self) -> PolicyId {
        PolicyId::of(&self.facts)
    }

    #[doc(hidden)]
    pub fn applies_to(&self, stage: &str, kind: StageKind) -> bool {
        self.default_for.as_ref().is_none_or(|kinds| kinds.contains(&kind)) && (self.applies)(stage, kind)
    }

    /// Whether it may answer in place of the stage, so that no attempt is needed. Those that stand in a layer whose purpose is
    /// another do not.
    #[doc(hidden)]
    pub fn may_answer(&self) -> bool {
        match self.placement {
            Placement::At(layer) => matches!(layer, Layer::Idempotency | Layer::Deadline | Layer::Inner),
            Placement::Outside(_) | Placement::Inside(_) => !self.always_calls,
        }
    }

    /// Whether it keeps out, so that whatever goes wrong in it is a denial.
    #[doc(hidden)]
    pub fn fails_closed(&self) -> bool {
        self.fails_closed
    }

    /// Asks it about a run.
    #[doc(hidden)]
    pub fn admit(&self, run: Arc<RunAdmission>) -> Admitting {
        Arc::clone(&self.inner).admit(run)
    }

    /// Begins a call at the place of this interceptor. The future owns the call, through which the interceptor lives as long.
    #[inline]
    pub(crate) fn begin(&self, slot: &mut FutureSlot, call: Arc<Call>, depth: usize) {
        if self.fails_closed {
            self.inner.begin_guarded(slot, call, depth);
        } else {
            self.inner.begin(slot, call, depth);
        }
    }

    /// The interceptor itself, if it is an `I`.
    #[inline]
    pub(crate) fn downcast<I: Interceptor>(&self) -> Option<&I> {
        (&*self.inner as &dyn Any).downcast_ref()
    }
}

impl fmt::Debug for AnyInterceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}", self.name, self.placement)
    }
}
