//! A pipeline in the place of a stage: a run of its own, a child of the run it is part of.

use std::{
    any::{Any, type_name},
    fmt,
    sync::Arc,
    time::Duration,
};

use stageflow_core::{
    ErrorClass, Stage, StageContext, StageExit, StageResult, Value,
    stage::{StageFuture, StageRole},
};

use crate::pipeline::Pipeline;

/// What is a stage and nothing else: every [`Stage`], and every [`Pipeline`]. With settings it is an
/// [`IntoConfiguredStage`](crate::IntoConfiguredStage).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stage",
    label = "not a stage",
    note = "implement `Stage`, wrap an async function with `stage_fn`, or take a whole `Pipeline`",
    note = "a stage with settings, such as a `RetryStage` or what `configured` gives, can only be added to a pipeline; give that pipeline here"
)]
pub trait IntoStage {
    /// The stage that is added.
    type Stage: Stage;

    /// Makes the stage.
    fn into_stage(self) -> Self::Stage;
}

#[diagnostic::do_not_recommend]
impl<S: Stage> IntoStage for S {
    type Stage = S;

    fn into_stage(self) -> S {
        self
    }
}

impl<I: Any + Send + Sync, O: Any + Send + Sync> IntoStage for Pipeline<I, O> {
    type Stage = SubPipeline<I, O>;

    fn into_stage(self) -> SubPipeline<I, O> {
        SubPipeline(self)
    }
}

/// A pipeline as a stage. It is not a [`Stage`] itself, because its own `run` is that of a whole run.
pub struct SubPipeline<I, O>(Pipeline<I, O>);

impl<I: Any + Send + Sync, O: Any + Send + Sync> SubPipeline<I, O> {
    fn child(&self, ctx: &StageContext, input: Arc<I>) -> StageFuture {
        let plan: Arc<dyn Any + Send + Sync> = Arc::clone(self.0.plan()) as _;
        ctx.run_child(plan, Value::from_arc(input))
    }
}

impl<I: Any + Send + Sync, O: Any + Send + Sync> Stage for SubPipeline<I, O> {
    type Input = Arc<I>;
    type Output = O;

    async fn run(&self, ctx: &StageContext, input: Arc<I>) -> StageResult<O> {
        let output = self.child(ctx, input).await?;
        let Ok(output) = output.downcast::<O>() else {
            return Err(StageExit::internal("a child pipeline gave an output of another type"));
        };
        Arc::try_unwrap(output).map_err(|_| {
            let what = format!(
                "the output of pipeline `{}` is still shared and cannot be moved out: \
                 add the pipeline itself as a stage, or give `{}` as an `Arc`",
                self.0.name(),
                type_name::<O>()
            );
            StageExit::fail(what).class(ErrorClass::Permanent)
        })
    }

    fn start(
        &self,
        ctx: StageContext,
        input: Arc<I>,
    ) -> impl Future<Output = StageResult<Value>> + Send + 'static {
        // The child's value is passed on as it is: nothing has to be moved out of its `Arc`.
        self.child(&ctx, input)
    }

    fn role(&self) -> StageRole {
        StageRole::Pipeline
    }

    fn child_plan(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::clone(self.0.plan()) as _)
    }

    fn min_time(&self) -> Duration {
        self.0.plan().min_time()
    }
}

impl<I, O> fmt::Debug for SubPipeline<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SubPipeline").field(&self.0.name()).finish()
    }
}
