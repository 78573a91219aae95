//! A saga as a stage: typed steps, one after the other, each given what the one before gave.

use std::{any::Any, fmt, future::Future, marker::PhantomData, pin::Pin, sync::Arc};

use stageflow_core::{Stage, StageContext, StageExit, StageKind, StageResult};

use super::{Saga, scope::SagaScope};

/// A step of a [`SagaStage`]: an action, and how it is undone.
///
/// Both may be called at any time by any number of runs; an undo may be called more than once for one output, so it has to be
/// idempotent. Where two functions are enough, there is [`saga_step`].
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{StageContext, StageResult};
/// use stageflow_plus::saga::SagaStep;
///
/// struct BookHotel { url: String }
///
/// impl SagaStep for BookHotel {
///     type Input = u32;
///     type Output = String;
///
///     async fn act(&self, _ctx: &StageContext, nights: Arc<u32>) -> StageResult<String> {
///         Ok(format!("{}/bookings/{nights}", self.url))
///     }
///
///     async fn undo(&self, _ctx: &StageContext, _booking: Arc<String>) -> StageResult<()> {
///         Ok(())
///     }
///
///     fn reference(&self, booking: &String) -> Option<String> {
///         Some(booking.clone())
///     }
/// }
/// ```
pub trait SagaStep: Send + Sync + 'static {
    /// What it takes.
    type Input: Send + Sync + 'static;
    /// What it gives, to the next step and to its undo.
    type Output: Send + Sync + 'static;

    /// Does it. With an error it has left nothing behind.
    ///
    /// # Errors
    ///
    /// Any error rolls the saga back.
    fn act(
        &self,
        ctx: &StageContext,
        input: Arc<Self::Input>,
    ) -> impl Future<Output = StageResult<Self::Output>> + Send;

    /// Undoes what gave this output. A skip says that there is nothing to undo.
    ///
    /// # Errors
    ///
    /// After an error that may pass it is called again.
    fn undo(
        &self,
        ctx: &StageContext,
        output: Arc<Self::Output>,
    ) -> impl Future<Output = StageResult<()>> + Send;

    /// What an operator needs to find what was done, such as the id of a booking.
    fn reference(&self, _output: &Self::Output) -> Option<String> {
        None
    }
}

/// Two async functions as a step: made by [`saga_step`].
pub struct FnStep<A, U, I, O> {
    act: A,
    undo: U,
    types: PhantomData<fn(I) -> O>,
}

/// A step made of two async functions.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{StageContext, StageResult};
/// use stageflow_plus::saga::saga_step;
///
/// async fn book(_ctx: StageContext, nights: Arc<u32>) -> StageResult<String> { Ok(format!("{nights} nights")) }
/// async fn cancel(_ctx: StageContext, _booking: Arc<String>) -> StageResult<()> { Ok(()) }
///
/// let hotel = saga_step(book, cancel);
/// # let _ = hotel;
/// ```
pub fn saga_step<A, U, I, O, FutA, FutU>(act: A, undo: U) -> FnStep<A, U, I, O>
where
    A: Fn(StageContext, Arc<I>) -> FutA + Send + Sync + 'static,
    U: Fn(StageContext, Arc<O>) -> FutU + Send + Sync + 'static,
    FutA: Future<Output = StageResult<O>> + Send,
    FutU: Future<Output = StageResult<()>> + Send,
{
    FnStep { act, undo, types: PhantomData }
}

impl<A, U, I, O, FutA, FutU> SagaStep for FnStep<A, U, I, O>
where
    A: Fn(StageContext, Arc<I>) -> FutA + Send + Sync + 'static,
    U: Fn(StageContext, Arc<O>) -> FutU + Send + Sync + 'static,
    FutA: Future<Output = StageResult<O>> + Send,
    FutU: Future<Output = StageResult<()>> + Send,
    I: Send + Sync + 'static,
    O: Send + Sync + 'static,
{
    type Input = I;
    type Output = O;

    async fn act(&self, ctx: &StageContext, input: Arc<I>) -> StageResult<O> {
        (self.act)(ctx.clone(), input).await
    }

    async fn undo(&self, ctx: &StageContext, output: Arc<O>) -> StageResult<()> {
        (self.undo)(ctx.clone(), output).await
    }
}

type Erased = Arc<dyn Any + Send + Sync>;
type Doing = Pin<Box<dyn Future<Output = StageResult<Erased>> + Send>>;
type ErasedStep = Box<dyn Fn(&SagaScope, &StageContext, &str, Erased) -> Doing + Send + Sync>;

/// A saga of typed steps, as a stage that takes an `Arc<I>` and gives the output of its last step: begun by [`Saga::first`].
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{StageContext, StageResult};
/// use stageflow_dag::{BuildError, Pipeline};
/// use stageflow_plus::saga::{Saga, saga_step};
///
/// async fn reserve(_: StageContext, order: Arc<u32>) -> StageResult<String> { Ok(format!("reserved {order}")) }
/// async fn release(_: StageContext, _: Arc<String>) -> StageResult<()> { Ok(()) }
/// async fn charge(_: StageContext, reserved: Arc<String>) -> StageResult<String> { Ok(format!("{reserved}, paid")) }
/// async fn refund(_: StageContext, _: Arc<String>) -> StageResult<()> { Ok(()) }
///
/// let order = Saga::new("order")
///     .first("reserve", saga_step(reserve, release))
///     .then("charge", saga_step(charge, refund));
///
/// let mut p = Pipeline::builder("shop");
/// let id = p.input();
/// let done = p.stage("order", order).inputs(id);
/// let shop: Pipeline<u32, String> = p.build(done)?;
/// # Ok::<_, BuildError>(())
/// ```
#[must_use = "a saga does nothing before it is a stage of a pipeline"]
pub struct SagaStage<I, O> {
    saga: Saga,
    steps: Vec<(String, ErasedStep)>,
    types: PhantomData<fn(I) -> O>,
}

impl Saga {
    /// A stage whose first step this is.
    pub fn first<S: SagaStep>(self, name: impl Into<String>, step: S) -> SagaStage<S::Input, S::Output> {
        SagaStage { saga: self, steps: vec![(name.into(), erase(step))], types: PhantomData }
    }
}

impl<I, O> SagaStage<I, O> {
    /// The next step, which takes what the last one gives.
    pub fn then<S: SagaStep<Input = O>>(
        mut self,
        name: impl Into<String>,
        step: S,
    ) -> SagaStage<I, S::Output> {
        self.steps.push((name.into(), erase(step)));
        SagaStage { saga: self.saga, steps: self.steps, types: PhantomData }
    }
}

fn erase<S: SagaStep>(step: S) -> ErasedStep {
    let step = Arc::new(step);
    let take = |input: Erased| {
        input
            .downcast::<S::Input>()
            .map_err(|_| StageExit::internal("a step of a saga was given another type"))
    };
    Box::new(move |scope, ctx, name, input| {
        let input = match take(input) {
            Ok(input) => input,
            Err(exit) => return Box::pin(std::future::ready(Err(exit))),
        };
        let (acts, act_ctx) = (Arc::clone(&step), ctx.clone());
        let action = async move { acts.act(&act_ctx, input).await };
        let (undoes, undo_ctx) = (Arc::clone(&step), ctx.clone());
        let undo = move |output| {
            let (undoes, ctx) = (Arc::clone(&undoes), undo_ctx.clone());
            async move { undoes.undo(&ctx, output).await }
        };
        let refers = Arc::clone(&step);
        let step = scope.step(name, action, undo).reference_opt(move |output| refers.reference(output));
        Box::pin(async move { step.await.map(|output| output as Erased) })
    })
}

impl<I, O> Stage for SagaStage<I, O>
where
    I: Send + Sync + 'static,
    O: Clone + Send + Sync + 'static,
{
    type Input = Arc<I>;
    type Output = O;
    const KIND: StageKind = StageKind::Work;

    async fn run(&self, ctx: &StageContext, input: Arc<I>) -> StageResult<O> {
        let body = |scope: SagaScope| async move {
            scope.0.plan(self.steps.iter().map(|(name, _)| name.clone()));
            let mut value: Erased = input;
            for (name, step) in &self.steps {
                value = step(&scope, ctx, name, value).await?;
            }
            value.downcast::<O>().map_err(|_| StageExit::internal("a saga gave another type"))
        };
        // With the saga committed nobody else holds the output.
        self.saga.run(ctx, body).await.map(Arc::unwrap_or_clone)
    }
}

impl<A, U, I, O> fmt::Debug for FnStep<A, U, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("saga_step")
    }
}

impl<I, O> fmt::Debug for SagaStage<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<_> = self.steps.iter().map(|(name, _)| name).collect();
        f.debug_struct("SagaStage").field("saga", &self.saga).field("steps", &steps).finish()
    }
}
