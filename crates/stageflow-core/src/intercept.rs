//! `around(call, next)`: the one mechanism for everything that changes how a stage is called.

use std::{
    any::Any,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use serde::Serialize;

use crate::{
    context::StageContext,
    exit::{StageExit, StageResult},
    input::{InputItem, Inputs},
    snapshot::ContextSnapshot,
    stage::{FutureSlot, StageKind},
    value::{Value, shorten},
};

/// Wraps the calls of stages: may refuse them, delay them, repeat them or replace what they give.
///
/// Everything it enters it leaves, on every path: it is one async function around the inner ones. Its verdicts
/// are typed: go on (`next.run().await`), replace the output (`Ok(Value)`), deny
/// ([`StageExit::deny`]), cancel ([`StageExit::cancel`]).
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
    /// What the inner call gives, or a verdict of its own. In [`Layer::Authenticate`] and [`Layer::Tenant`] an
    /// error or panic of its own denies the call.
    fn around(&self, call: &Call, next: Next<'_>) -> impl Future<Output = StageResult<Value>> + Send;

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

    fn fails_closed(self) -> bool {
        matches!(self, Self::At(Layer::Authenticate | Layer::Tenant))
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The dyn-compatible twin of [`Interceptor`].
trait DynInterceptor: Any + Send + Sync {
    fn around<'a>(&'a self, call: &'a Call, next: Next<'a>) -> BoxFuture<'a, StageResult<Value>>;

    /// A whole call whose outermost interceptor this is, in one allocation.
    fn call(&self, slot: &mut FutureSlot, ctx: StageContext, inputs: Inputs);
}

impl<I: Interceptor> DynInterceptor for I {
    fn around<'a>(&'a self, call: &'a Call, next: Next<'a>) -> BoxFuture<'a, StageResult<Value>> {
        Box::pin(Interceptor::around(self, call, next))
    }

    fn call(&self, slot: &mut FutureSlot, ctx: StageContext, inputs: Inputs) {
        // Like a stage's future: it owns the context, through which the chain lives as long as it does.
        slot.put(async move {
            let call = Call::new(ctx);
            let Some((head, rest)) = call.chain().split_first() else {
                return Err(StageExit::internal("a call lost its interceptors"));
            };
            let Some(own) = (&*head.inner as &dyn Any).downcast_ref::<I>() else {
                return Err(StageExit::internal("a call met another interceptor than it began with"));
            };
            own.around(&call, Next { call: &call, chain: rest, inputs, inner_failed: None }).await
        });
    }
}

/// Begins the call of a stage with interceptors around it.
#[doc(hidden)]
pub fn call(slot: &mut FutureSlot, chain: &[AnyInterceptor], ctx: StageContext, inputs: Inputs) {
    match chain.first() {
        Some(head) if !head.placement.fails_closed() => head.inner.call(slot, ctx, inputs),
        _ => slot.put(async move {
            let call = Call::new(ctx);
            Next { call: &call, chain: call.chain(), inputs, inner_failed: None }.start().await
        }),
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
}

impl AnyInterceptor {
    #[doc(hidden)]
    pub fn new(interceptor: impl Interceptor) -> Self {
        let name = interceptor.name().into();
        let placement = interceptor.placement();
        let inner = Arc::new(interceptor);
        let asked = Arc::clone(&inner);
        let applies = move |stage: &str, kind| asked.applies_to(stage, kind);
        Self { inner, applies: Arc::new(applies), name, placement }
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
    pub fn applies_to(&self, stage: &str, kind: StageKind) -> bool {
        (self.applies)(stage, kind)
    }
}

impl fmt::Debug for AnyInterceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}", self.name, self.placement)
    }
}

/// One call of a stage: all its attempts.
#[derive(Debug)]
pub struct Call {
    ctx: StageContext,
    attempts: AtomicU32,
}

impl Call {
    fn new(ctx: StageContext) -> Self {
        Self { ctx, attempts: AtomicU32::new(0) }
    }

    /// The context of the stage. Its attempt number is that of the first attempt.
    pub fn context(&self) -> &StageContext {
        &self.ctx
    }

    /// The immutable facts of the run.
    pub fn snapshot(&self) -> &ContextSnapshot {
        self.ctx.snapshot()
    }

    /// The name of the stage.
    pub fn stage_name(&self) -> &str {
        self.ctx.stage_name()
    }

    /// The kind of the stage.
    pub fn stage_kind(&self) -> StageKind {
        self.ctx.stage_kind()
    }

    fn chain(&self) -> &[AnyInterceptor] {
        self.ctx.scope().chain(self.ctx.index())
    }

    /// How many attempts were started so far.
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }
}

/// What lies inside an interceptor: the other interceptors and, innermost, the attempt.
///
/// Cloning it keeps the inputs for another [`run`](Self::run): they are shared, not copied.
#[derive(Clone, Debug)]
#[must_use = "the stage does not run unless `next.run()` is awaited"]
pub struct Next<'a> {
    call: &'a Call,
    chain: &'a [AnyInterceptor],
    inputs: Inputs,
    /// Where a security interceptor is told that what went wrong is not its own.
    inner_failed: Option<&'a AtomicBool>,
}

impl<'a> Next<'a> {
    /// The input at `index`, if it is a `T`.
    pub fn input<T: Any + Send + Sync>(&self, index: usize) -> Option<&T> {
        match self.inputs.get(index)? {
            InputItem::One(value) => value.downcast_ref(),
            _ => None,
        }
    }

    /// Runs what lies inside. Nothing of it begins before the first poll, and what is never polled is no attempt.
    ///
    /// # Errors
    ///
    /// How the inner call left without an output.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the attempt.
    pub async fn run(self) -> StageResult<Value> {
        let inner_failed = self.inner_failed;
        let done = self.start().await;
        if let (Some(inner_failed), Err(_)) = (inner_failed, &done) {
            inner_failed.store(true, Ordering::Relaxed);
        }
        done
    }

    fn start(self) -> BoxFuture<'a, StageResult<Value>> {
        let Some((head, rest)) = self.chain.split_first() else {
            let attempt = self.call.attempts.fetch_add(1, Ordering::Relaxed) + 1;
            return self.call.ctx.scope().attempt(&self.call.ctx, attempt, self.inputs);
        };
        if head.placement.fails_closed() {
            return Box::pin(guarded(head, Next { chain: rest, inner_failed: None, ..self }));
        }
        head.inner.around(self.call, Next { chain: rest, inner_failed: None, ..self })
    }
}

/// Calls a security interceptor: whatever goes wrong in it denies the call. Only a failure from inside stays what it is.
async fn guarded(head: &AnyInterceptor, next: Next<'_>) -> StageResult<Value> {
    let inner_failed = AtomicBool::new(false);
    let call = next.call;
    let around =
        AssertUnwindSafe(|| head.inner.around(call, Next { inner_failed: Some(&inner_failed), ..next }));
    let done = match std::panic::catch_unwind(around) {
        Ok(future) => CatchUnwind(future).await,
        Err(_) => None,
    };
    match done {
        None => Err(StageExit::deny(format!("`{}` panicked", head.name))),
        Some(Err(exit)) if exit.is_failure() && !inner_failed.load(Ordering::Relaxed) => {
            let denied = exit.error_class() == Some(crate::ErrorClass::Denied);
            Err(if denied { exit } else { StageExit::deny(format!("`{}` {exit}", head.name)) })
        }
        Some(done) => done,
    }
}

/// `None` when the inner future panics.
struct CatchUnwind<'a, T>(BoxFuture<'a, T>);

impl<T> Future for CatchUnwind<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match std::panic::catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    }
}
