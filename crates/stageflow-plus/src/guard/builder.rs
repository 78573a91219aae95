//! `p.guard("input guard", guard).over(prompt)`.

use std::{fmt, sync::Arc};

use stageflow_dag::{Builder, OptionalOrPort, OptionalPort, OrPort, Port, StageBuilder, Wire};

use super::{content::Content, contract::Guard, exit::OnBlock, guarded::Guarded, stage::GuardStage};

/// Adds guards to pipelines.
pub trait GuardExt<I> {
    /// Adds a stage that asks `guard` about some content, as soon as [`over`](GuardBuilder::over) says about which.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::{BuildError, Pipeline};
    /// use stageflow_plus::guard::{GuardExt as _, Guarded, Length, OnBlock};
    ///
    /// # async fn ask_model(_: StageContext, prompt: Arc<Guarded<String>>) -> StageResult<usize> { Ok(prompt.len()) }
    /// let mut p = Pipeline::builder("answer");
    /// let prompt = p.input();
    /// let safe = p.guard("input guard", Length::at_most(4_000)).on_block(OnBlock::Deny).over(prompt);
    /// let answer = p.stage("ask model", stage_fn(ask_model)).inputs(safe);
    /// let pipeline: Pipeline<String, usize> = p.build(answer)?;
    /// # Ok::<_, BuildError>(())
    /// ```
    #[track_caller]
    fn guard<T: Content>(&mut self, name: impl Into<String>, guard: impl Guard<T>) -> GuardBuilder<'_, I, T>;
}

impl<I> GuardExt<I> for Builder<I> {
    fn guard<T: Content>(&mut self, name: impl Into<String>, guard: impl Guard<T>) -> GuardBuilder<'_, I, T> {
        GuardBuilder { builder: self, name: name.into(), stage: GuardStage::new(guard) }
    }
}

/// What a guard can be said over: a port, or branches that are joined. Content that never comes is seen by the guard as missing.
pub trait GuardSource<T: Content> {
    /// How it is wired.
    type Wire: Wire<Option<Arc<T>>>;

    #[doc(hidden)]
    fn wire(self) -> Self::Wire;
}

impl<T: Content> GuardSource<T> for Port<T> {
    type Wire = OptionalPort<T>;

    fn wire(self) -> OptionalPort<T> {
        self.optional()
    }
}

impl<T: Content> GuardSource<T> for OrPort<T> {
    type Wire = OptionalOrPort<T>;

    fn wire(self) -> OptionalOrPort<T> {
        self.optional()
    }
}

/// A guard that has a name and waits for its content: made by [`GuardExt::guard`].
#[must_use = "a guard joins the pipeline when it is said over what"]
pub struct GuardBuilder<'b, I, T> {
    builder: &'b mut Builder<I>,
    name: String,
    stage: GuardStage<T>,
}

impl<'b, I, T: Content> GuardBuilder<'b, I, T> {
    fn with(mut self, with: impl FnOnce(GuardStage<T>) -> GuardStage<T>) -> Self {
        self.stage = with(self.stage);
        self
    }

    /// See [`GuardStage::on_block`].
    pub fn on_block(self, what: OnBlock<T>) -> Self {
        self.with(|stage| stage.on_block(what))
    }

    /// See [`GuardStage::skip_missing`].
    pub fn skip_missing(self) -> Self {
        self.with(GuardStage::skip_missing)
    }

    /// See [`GuardStage::check_empty`].
    pub fn check_empty(self) -> Self {
        self.with(GuardStage::check_empty)
    }

    /// Says what is guarded, adds the stage to the pipeline, and gives the port of what passes.
    #[track_caller]
    pub fn over(self, content: impl GuardSource<T>) -> Port<Guarded<T>> {
        self.over_with(content, |stage| stage)
    }

    /// The same, with settings of the stage: timeouts, retries, conditions, interceptors.
    #[track_caller]
    pub fn over_with(
        self,
        content: impl GuardSource<T>,
        settings: impl FnOnce(StageBuilder<'b, I, GuardStage<T>>) -> StageBuilder<'b, I, GuardStage<T>>,
    ) -> Port<Guarded<T>> {
        settings(self.builder.stage(self.name, self.stage)).inputs(content.wire())
    }
}

impl<I, T> fmt::Debug for GuardBuilder<'_, I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardBuilder")
            .field("name", &self.name)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
