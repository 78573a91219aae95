//! `.fallback(stage)`: another stage in place of one that failed, of the types that the compiler wants.

use stageflow_dag::{IntoConfiguredStage, IntoStage, ParallelBuilder, StageBuilder};
use stageflow_interceptors::Fallback;

use crate::Stage;

/// Names the stage that answers when another has failed.
pub trait FallbackExt<S: Stage>: Sized {
    /// Calls `stage`, or runs a whole pipeline, with the same inputs if this one fails for good: what its retries are used up
    /// for, what must not be tried again, what its breaker or limit refuses. Denied and invalid calls stay failures, as
    /// [`Fallback`] says; another fallback of the stage is asked before this one.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use stageflow::prelude::*;
    ///
    /// async fn large_model(_ctx: StageContext, _prompt: Arc<String>) -> StageResult<String> {
    ///     Err("overloaded").transient()
    /// }
    /// async fn small_model(_ctx: StageContext, prompt: Arc<String>) -> StageResult<String> {
    ///     Ok(format!("in short: {prompt}"))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut p = Pipeline::builder("support");
    /// let prompt = p.input();
    /// let reply = p.stage("reply", stage_fn(large_model)).fallback(stage_fn(small_model)).inputs(prompt);
    /// let support = p.build(reply)?;
    ///
    /// assert_eq!(support.run("hello".to_owned()).await?.output(), "in short: hello");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    fn fallback<F>(self, stage: F) -> Self
    where
        F: IntoStage<Stage: Stage<Input = S::Input, Output = S::Output>>;
}

impl<I, S: IntoConfiguredStage> FallbackExt<S::Stage> for StageBuilder<'_, I, S> {
    fn fallback<F>(self, stage: F) -> Self
    where
        F: IntoStage<Stage: Stage<Input = <S::Stage as Stage>::Input, Output = <S::Stage as Stage>::Output>>,
    {
        self.intercept(Fallback::stage(stage.into_stage()))
    }
}

impl<I, S: IntoConfiguredStage, M: FnMut(usize) -> S> FallbackExt<S::Stage> for ParallelBuilder<'_, I, S, M> {
    fn fallback<F>(self, stage: F) -> Self
    where
        F: IntoStage<Stage: Stage<Input = <S::Stage as Stage>::Input, Output = <S::Stage as Stage>::Output>>,
    {
        self.intercept(Fallback::stage(stage.into_stage()))
    }
}
