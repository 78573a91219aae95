//! `(ctx, Input) -> async Result<Output, StageExit>`: what a stage is.

use std::{any::Any, fmt, future::Future, marker::PhantomData, pin::Pin, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    context::StageContext,
    exit::{StageExit, StageResult},
    input::{InputError, InputSource, StageInput},
    slot::FutureSlot,
    value::{TypeTag, Value},
};

/// One step of a pipeline: a value with one async method. Configuration lives in its fields.
///
/// The engine may call `run` any number of times, also at the same time: for each run of the pipeline, and for
/// each attempt. State that must not be shared between calls belongs into the future, not into the stage.
///
/// # Cancel safety
///
/// When the run is cancelled the future is dropped at its next `.await`. What must happen all the same goes
/// into [`StageContext::on_cleanup`].
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{Stage, StageContext, StageKind, StageResult};
///
/// struct Greet { greeting: String }
///
/// impl Stage for Greet {
///     type Input = Arc<String>;
///     type Output = String;
///     const KIND: StageKind = StageKind::Transform;
///
///     async fn run(&self, _ctx: &StageContext, name: Arc<String>) -> StageResult<String> {
///         Ok(format!("{}, {name}!", self.greeting))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stage",
    label = "not a stage",
    note = "implement `Stage`, or wrap an async function with `stage_fn`",
    note = "a stage with settings, such as a `RetryStage` or what `configured` gives, can only be added to a pipeline; give that pipeline here"
)]
pub trait Stage: Send + Sync + 'static {
    /// What it takes: exactly what its ports deliver.
    type Input: StageInput;
    /// What it gives.
    type Output: Any + Send + Sync;
    /// What kind of work it is, where the pipeline does not say otherwise.
    const KIND: StageKind = StageKind::Transform;

    /// Does the work.
    ///
    /// # Errors
    ///
    /// Any error fails the stage; [`StageExit`] says more than that.
    fn run(
        &self,
        ctx: &StageContext,
        input: Self::Input,
    ) -> impl Future<Output = StageResult<Self::Output>> + Send;

    #[doc(hidden)]
    fn start(
        &self,
        ctx: StageContext,
        input: Self::Input,
    ) -> impl Future<Output = StageResult<Value>> + Send + 'static
    where
        Self: Sized,
    {
        // The future owns the context, the context owns the plan, and the plan owns the stage: so the
        // stage needs no reference count of its own.
        async move {
            let Some(stage) = ctx.scope().stage_as::<Self>(ctx.index()) else {
                return Err(StageExit::internal("a context belongs to another stage"));
            };
            stage.run(&ctx, input).await.map(Value::new)
        }
    }

    #[doc(hidden)]
    fn role(&self) -> StageRole {
        StageRole::Leaf
    }

    /// The plan, of a stage that is a pipeline.
    #[doc(hidden)]
    fn child_plan(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }

    /// What it takes at least, as far as it knows itself: a pipeline does.
    #[doc(hidden)]
    fn min_time(&self) -> Duration {
        Duration::ZERO
    }
}

/// What a stage means to the scheduler.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageRole {
    /// Does its own work.
    Leaf,
    /// Is a pipeline: it waits for its own stages, and holds no permit meanwhile.
    Pipeline,
}

/// The erased future of one attempt.
#[doc(hidden)]
pub type StageFuture = Pin<Box<dyn Future<Output = StageResult<Value>> + Send>>;

/// What kind of work a stage does. Limits can be set per kind; nothing else depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// Computes something from its inputs.
    #[default]
    Transform,
    /// Fetches something from elsewhere.
    Enrich,
    /// Decides which branch is taken.
    Route,
    /// Decides whether the run may go on.
    Guard,
    /// Has an effect on the world.
    Work,
    /// Lets a model act.
    Agent,
}

impl StageKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Transform, Self::Enrich, Self::Route, Self::Guard, Self::Work, Self::Agent];

    /// The kind as one word, as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transform => "transform",
            Self::Enrich => "enrich",
            Self::Route => "route",
            Self::Guard => "guard",
            Self::Work => "work",
            Self::Agent => "agent",
        }
    }
}

impl fmt::Display for StageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text is not a kind of stage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of stage: use transform, enrich, route, guard, work or agent")]
pub struct UnknownKind(String);

impl std::str::FromStr for StageKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// An async function as a stage: made by [`stage_fn`].
pub struct FnStage<F, I, O> {
    function: F,
    types: PhantomData<fn(I) -> O>,
}

impl<F, I, O> fmt::Debug for FnStage<F, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stage_fn({})", std::any::type_name::<F>())
    }
}

/// Makes a stage of an async function.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{StageContext, StageResult, stage_fn};
///
/// async fn count(_ctx: StageContext, text: Arc<String>) -> StageResult<usize> {
///     Ok(text.split_whitespace().count())
/// }
///
/// let stage = stage_fn(count);
/// let shout = stage_fn(|_ctx, text: Arc<String>| async move { Ok(text.to_uppercase()) });
/// # let _ = (stage, shout);
/// ```
pub fn stage_fn<F, I, O, Fut>(function: F) -> FnStage<F, I, O>
where
    F: Fn(StageContext, I) -> Fut + Send + Sync + 'static,
    I: StageInput,
    O: Any + Send + Sync,
    Fut: Future<Output = StageResult<O>> + Send + 'static,
{
    FnStage { function, types: PhantomData }
}

impl<F, I, O, Fut> Stage for FnStage<F, I, O>
where
    F: Fn(StageContext, I) -> Fut + Send + Sync + 'static,
    I: StageInput,
    O: Any + Send + Sync,
    Fut: Future<Output = StageResult<O>> + Send + 'static,
{
    type Input = I;
    type Output = O;

    async fn run(&self, ctx: &StageContext, input: I) -> StageResult<O> {
        (self.function)(ctx.clone(), input).await
    }

    fn start(
        &self,
        ctx: StageContext,
        input: I,
    ) -> impl Future<Output = StageResult<Value>> + Send + 'static {
        let future = (self.function)(ctx, input);
        async move { future.await.map(Value::new) }
    }
}

/// A stage with its types erased: what a plan holds.
#[doc(hidden)]
pub trait ErasedStage: Any + Send + Sync {
    fn start(&self, ctx: StageContext, inputs: &mut dyn InputSource) -> Result<StageFuture, InputError>;
    /// Like `start`, in memory that the last stage may have left.
    fn start_in(
        &self,
        slot: &mut FutureSlot,
        ctx: StageContext,
        inputs: &mut dyn InputSource,
    ) -> Result<(), InputError>;
    fn output(&self) -> TypeTag;
    /// Whether a value is of the type of the output.
    fn gives(&self, value: &Value) -> bool;
    fn role(&self) -> StageRole;
    fn child_plan(&self) -> Option<Arc<dyn Any + Send + Sync>>;
    fn min_time(&self) -> Duration;
}

impl<S: Stage> ErasedStage for S {
    fn start(&self, ctx: StageContext, inputs: &mut dyn InputSource) -> Result<StageFuture, InputError> {
        let input = S::Input::take(inputs)?;
        Ok(Box::pin(Stage::start(self, ctx, input)))
    }

    fn start_in(
        &self,
        slot: &mut FutureSlot,
        ctx: StageContext,
        inputs: &mut dyn InputSource,
    ) -> Result<(), InputError> {
        let input = S::Input::take(inputs)?;
        slot.put(Stage::start(self, ctx, input));
        Ok(())
    }

    fn output(&self) -> TypeTag {
        TypeTag::of::<S::Output>()
    }

    fn gives(&self, value: &Value) -> bool {
        value.is::<S::Output>()
    }

    fn role(&self) -> StageRole {
        Stage::role(self)
    }

    fn child_plan(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Stage::child_plan(self)
    }

    fn min_time(&self) -> Duration {
        Stage::min_time(self)
    }
}
