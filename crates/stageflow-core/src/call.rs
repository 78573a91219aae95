//! One call of a stage: the interceptors around it, one inside the other, and innermost its attempts.

use std::{
    any::Any,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    caught::poll_caught,
    context::StageContext,
    exit::{StageExit, StageResult},
    input::{InputItem, Inputs},
    intercept::{AnyInterceptor, Interceptor},
    scope::StageScope,
    slot::FutureSlot,
    snapshot::ContextSnapshot,
    stage::StageKind,
    time::nanos,
    value::Value,
};

/// One call of a stage: all its attempts.
pub struct Call {
    ctx: StageContext,
    /// Outermost first.
    chain: Arc<[AnyInterceptor]>,
    attempts: AtomicU32,
    has_inputs: bool,
    /// What the stage takes: here until an attempt takes it.
    inputs: Mutex<Inputs>,
    /// Whether there may be another attempt, for which the inputs have to stay.
    repeats: AtomicBool,
    /// Whether its output is not that of the stage.
    is_substituted: AtomicBool,
    /// The call that this is the inside of, with less time: what counts is counted there.
    outer: Option<Arc<Self>>,
}

impl Call {
    fn new(ctx: StageContext, chain: Arc<[AnyInterceptor]>, inputs: Option<Inputs>, made: u32) -> Self {
        Self {
            ctx,
            chain,
            attempts: AtomicU32::new(made),
            has_inputs: inputs.is_some(),
            inputs: Mutex::new(inputs.unwrap_or_default()),
            repeats: AtomicBool::new(false),
            is_substituted: AtomicBool::new(false),
            outer: None,
        }
    }

    /// The same call for what lies inside, whose time ends then at the latest, in nanoseconds of the run.
    fn within(self: &Arc<Self>, until: u64) -> Self {
        let ctx = self.ctx.for_attempt(self.ctx.attempt(), until.min(self.ctx.until_nanos()));
        let inner = Self::new(ctx, Arc::clone(&self.chain), self.take_inputs(), 0);
        Self { outer: Some(Arc::clone(self)), ..inner }
    }

    /// The call as the worker made it.
    #[inline]
    fn whole(&self) -> &Self {
        let mut call = self;
        while let Some(outer) = &call.outer {
            call = outer;
        }
        call
    }

    /// Makes a call that has ended the next one of the same worker.
    #[inline]
    fn renew(&mut self, stage: u32, until: u64, chain: &Arc<[AnyInterceptor]>, inputs: &mut Option<Inputs>) {
        self.ctx.renew(stage, until);
        if !Arc::ptr_eq(&self.chain, chain) {
            self.chain = Arc::clone(chain);
        }
        *self.attempts.get_mut() = 0;
        *self.repeats.get_mut() = false;
        *self.is_substituted.get_mut() = false;
        self.has_inputs = inputs.is_some();
        if let Some(inputs) = inputs.take() {
            *self.inputs.get_mut().unwrap_or_else(PoisonError::into_inner) = inputs;
        }
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

    /// How many attempts were started so far.
    pub fn attempts(&self) -> u32 {
        self.whole().attempts.load(Ordering::Relaxed)
    }

    /// Says that the output of this call is not the stage's own but stands in for it: an answer of last resort, which is good enough
    /// for now. A fallback says so, and an interceptor of your own that does the same should.
    ///
    /// What keeps answers, such as idempotency, does not keep this one unless it is told to.
    ///
    /// ```
    /// use stageflow_core::{Call, Interceptor, Next, StageResult, Value};
    ///
    /// struct Yesterdays(u32);
    ///
    /// impl Interceptor for Yesterdays {
    ///     async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
    ///         match next.run().await {
    ///             Err(exit) if exit.is_failure() => {
    ///                 call.mark_substitute();
    ///                 Ok(Value::new(self.0))
    ///             }
    ///             done => done,
    ///         }
    ///     }
    /// }
    /// ```
    pub fn mark_substitute(&self) {
        self.whole().is_substituted.store(true, Ordering::Relaxed);
    }

    /// Whether its output was said to be a [substitute](Self::mark_substitute).
    pub fn is_substitute(&self) -> bool {
        self.whole().is_substituted.load(Ordering::Relaxed)
    }

    /// The interceptor at `depth`, if it is an `I`.
    fn interceptor<I: Interceptor>(&self, depth: usize) -> StageResult<&I> {
        let found = self.chain.get(depth).and_then(AnyInterceptor::downcast);
        found.ok_or_else(|| StageExit::internal("a call met another interceptor than it began with"))
    }

    fn inputs(&self) -> MutexGuard<'_, Inputs> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The inputs of one more attempt, if the stage takes any: moved to the one that is known to be the only one.
    #[inline]
    fn take_inputs(&self) -> Option<Inputs> {
        let take = || {
            let mut inputs = self.inputs();
            let repeats = self.repeats.load(Ordering::Relaxed);
            if repeats { inputs.clone() } else { std::mem::take(&mut *inputs) }
        };
        self.has_inputs.then(take)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("ctx", &self.ctx)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// What lies inside an interceptor: the other interceptors and, innermost, the attempt.
///
/// Cloning it keeps the inputs for another [`run`](Self::run): they are shared, not copied. A stage that takes
/// [`Owned`](crate::Owned) gets clones of its inputs then.
#[derive(Debug)]
#[must_use = "the stage does not run unless `next.run()` is awaited"]
pub struct Next<'a> {
    call: &'a Arc<Call>,
    /// How many interceptors stand outside of what runs next.
    depth: usize,
    /// What a security interceptor has let through, and how that ended: one of the constants below.
    passed: Option<&'a AtomicU8>,
}

/// It has not let the call through.
const NOT_PASSED: u8 = 0;

/// It has let the call through.
const PASSED: u8 = 1;

/// What lies inside has left without an output.
const INNER_FAILED: u8 = 2;

impl Clone for Next<'_> {
    fn clone(&self) -> Self {
        self.call.repeats.store(true, Ordering::Relaxed);
        Self { ..*self }
    }
}

impl<'a> Next<'a> {
    /// The input at `index`, if it is a `T` and no attempt has taken it.
    pub fn input<T: Any + Send + Sync>(&self, index: usize) -> Option<Arc<T>> {
        match self.call.inputs().get(index)? {
            InputItem::One(value) => value.clone().downcast().ok(),
            _ => None,
        }
    }

    /// The inputs that no attempt has taken. As long as they are kept, a stage that takes [`Owned`](crate::Owned) gets clones.
    #[doc(hidden)]
    pub fn inputs(&self) -> Inputs {
        self.call.inputs().clone()
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
    #[inline]
    pub fn run(self) -> Run<'a> {
        Run { next: self, inner: FutureSlot::default(), has_begun: false }
    }

    /// Runs what lies inside with a time that ends after `limit` at the latest: for whoever ends it then, by dropping it.
    ///
    /// What waits inside then waits no longer, and who judges the call there sees that its time was up.
    #[doc(hidden)]
    pub async fn run_within(self, limit: Duration) -> StageResult<Value> {
        let until = nanos(self.call.ctx.elapsed().saturating_add(limit));
        let call = Arc::new(self.call.within(until));
        Next { call: &call, ..self }.run().await
    }

    /// The inner call has left without an output.
    #[cold]
    fn left(&self, exit: &StageExit) {
        if let Some(passed) = self.passed {
            passed.store(INNER_FAILED, Ordering::Relaxed);
        }
        if self.depth == self.call.chain.len() && exit.is_not_begun() {
            self.call.whole().attempts.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The future of what lies inside an interceptor: made by [`Next::run`].
#[derive(Debug)]
#[must_use = "the stage does not run unless this is awaited"]
pub struct Run<'a> {
    next: Next<'a>,
    inner: FutureSlot,
    has_begun: bool,
}

impl Future for Run<'_> {
    type Output = StageResult<Value>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if !this.has_begun {
            this.has_begun = true;
            if let Some(passed) = this.next.passed {
                passed.store(PASSED, Ordering::Relaxed);
            }
            this.inner = FutureSlot::take();
            begin(&mut this.inner, this.next.call, this.next.depth);
        }
        let done = this.inner.poll(cx);
        if done.is_pending() {
            return done;
        }
        std::mem::take(&mut this.inner).keep();
        if let Poll::Ready(Err(exit)) = &done {
            this.next.left(exit);
        }
        done
    }
}

/// Begins what stands at `depth`: an interceptor, or the attempt.
#[inline(always)]
fn begin(slot: &mut FutureSlot, call: &Arc<Call>, depth: usize) {
    match call.chain.get(depth) {
        Some(head) => head.begin(slot, Arc::clone(call), depth),
        None => {
            let number = call.whole().attempts.fetch_add(1, Ordering::Relaxed) + 1;
            call.ctx.scope().attempt(slot, &call.ctx, number, call.take_inputs());
        }
    }
}

/// Calls an interceptor.
pub(crate) async fn around<I: Interceptor>(call: Arc<Call>, depth: usize) -> StageResult<Value> {
    let own = call.interceptor::<I>(depth)?;
    own.around(&call, Next { call: &call, depth: depth + 1, passed: None }).await
}

/// Calls a security interceptor: whatever it does but let the call through denies it. How what lies inside left stays what it is.
pub(crate) async fn guard<I: Interceptor>(call: Arc<Call>, depth: usize) -> StageResult<Value> {
    let own = call.interceptor::<I>(depth)?;
    let passed = AtomicU8::new(NOT_PASSED);
    let next = Next { call: &call, depth: depth + 1, passed: Some(&passed) };
    let done = match catch_unwind(AssertUnwindSafe(|| own.around(&call, next))) {
        Ok(future) => {
            let mut future = pin!(future);
            poll_fn(|cx| poll_caught(future.as_mut(), cx)).await.ok()
        }
        Err(_) => None,
    };
    let name = || call.chain.get(depth).map_or("", AnyInterceptor::name);
    match done {
        None => Err(StageExit::deny(format!("`{}` panicked", name()))),
        Some(Err(exit)) if passed.load(Ordering::Relaxed) != INNER_FAILED => Err(exit.denied_by(name())),
        Some(Ok(_)) if passed.load(Ordering::Relaxed) == NOT_PASSED => {
            Err(StageExit::deny(format!("`{}` answered in place of the stage", name())))
        }
        Some(done) => done,
    }
}

/// Begins a call that is made again, after so many attempts.
#[doc(hidden)]
pub fn repeat(
    slot: &mut FutureSlot,
    ctx: StageContext,
    chain: &Arc<[AnyInterceptor]>,
    inputs: Option<Inputs>,
    made: u32,
) {
    begin(slot, &Arc::new(Call::new(ctx, Arc::clone(chain), inputs, made)), 0);
}

/// Makes the calls of one worker, one after the other in the same memory where the last one has left it.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Calls {
    last: Option<Arc<Call>>,
    /// For the next call.
    inputs: Option<Inputs>,
}

impl Calls {
    /// Says what the stage of the next call takes, if it takes anything.
    #[inline]
    pub fn give(&mut self, inputs: Inputs) {
        self.inputs = Some(inputs);
    }

    /// What was given for a call that is made without interceptors.
    pub fn take_inputs(&mut self) -> Option<Inputs> {
        self.inputs.take()
    }

    /// Begins the call of a stage with interceptors around it. The scope must be the same each time.
    #[inline]
    pub fn begin<S: StageScope + 'static>(
        &mut self,
        slot: &mut FutureSlot,
        scope: &Arc<S>,
        (stage, until): (u32, u64),
        chain: &Arc<[AnyInterceptor]>,
    ) {
        if let Some(call) = self.last.as_mut().and_then(Arc::get_mut) {
            call.renew(stage, until, chain, &mut self.inputs);
        } else {
            let scope: Arc<S> = Arc::clone(scope);
            let ctx = StageContext::new(scope, stage, 1, until);
            self.last = Some(Arc::new(Call::new(ctx, Arc::clone(chain), self.inputs.take(), 0)));
        }
        if let Some(call) = &self.last {
            begin(slot, call, 0);
        }
    }

    /// Lets go of what the last call was given.
    #[inline]
    pub fn end(&mut self) {
        if !self.last.as_ref().is_some_and(|call| call.has_inputs) {
            return;
        }
        match self.last.as_mut().and_then(Arc::get_mut) {
            Some(call) => {
                call.has_inputs = false;
                *call.inputs.get_mut().unwrap_or_else(PoisonError::into_inner) = Inputs::default();
            }
            // It goes on elsewhere.
            None => self.last = None,
        }
    }
}
