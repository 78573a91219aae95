//! [`RetryStage`]: a stage that brings its retry policy along.
//!
//! It is another way to say [`retry`](stageflow_dag::StageBuilder::retry), for where a stage is made and not where it is added. The
//! policy becomes part of the stage's chain of interceptors, so that attempts, delays, events, reports, budgets and lints are the same.
//!
//! ```
//! use std::sync::Arc;
//! use stageflow_core::{ClassifyExt as _, DurationExt as _, StageContext, StageResult, stage_fn};
//! use stageflow_dag::Pipeline;
//! use stageflow_exec::PipelineExt as _;
//! use stageflow_interceptors::Retry;
//! use stageflow_plus::retry_stage::RetryStage;
//!
//! async fn flaky(ctx: StageContext, n: Arc<u32>) -> StageResult<u32> {
//!     if ctx.attempt() < 3 {
//!         return Err("connection reset").transient();
//!     }
//!     Ok(*n + 1)
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
//! let patient = RetryStage::new(stage_fn(flaky), Retry::exponential(200.millis()).max_attempts(4));
//!
//! let mut p = Pipeline::builder("flaky");
//! let n = p.input();
//! let sum = p.stage("flaky", patient).inputs(n);
//! let flaky = p.build(sum)?;
//!
//! let run = flaky.run(1).await?;
//! assert_eq!(*run.output(), 2);
//! assert_eq!(run.report().stage("flaky").map(|stage| stage.attempts), Some(3));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

use std::fmt;

use stageflow_dag::{ConfiguredStage, IntoConfiguredStage, configured};
use stageflow_interceptors::Retry;

/// A stage with its retry policy, as one value: added like a stage, and tried again as the policy says.
///
/// Around a whole pipeline each attempt is a child run. Around another one, or with a policy on the builder, both try again, the
/// builder's outside: the lint `nested-retries` tells how many attempts that becomes.
///
/// It is not a [`Stage`](stageflow_core::Stage): the retries are the engine's, so nothing but a pipeline can make them.
#[derive(Clone)]
#[must_use = "a stage does nothing until it is added to a pipeline"]
pub struct RetryStage<S>(ConfiguredStage<S>);

impl<S> RetryStage<S> {
    /// The stage, tried again as `policy` says.
    pub fn new(stage: S, policy: Retry) -> Self {
        Self(configured(stage).retry(policy))
    }

    /// The stage, tried again as [`Retry::default`] says.
    pub fn with_defaults(stage: S) -> Self {
        Self::new(stage, Retry::default())
    }

    /// A factory of such stages that share one policy, for [`Builder::parallel`](stageflow_dag::Builder::parallel). What looks at the
    /// policies, such as the lint, sees one of many stages, and not many of one.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{DurationExt, Stage, StageContext, StageResult};
    /// # use stageflow_dag::Pipeline;
    /// # use stageflow_interceptors::Retry;
    /// use stageflow_plus::retry_stage::RetryStage;
    ///
    /// struct Shard(usize);
    /// # impl Stage for Shard {
    /// #     type Input = Arc<String>;
    /// #     type Output = usize;
    /// #     async fn run(&self, _: &StageContext, text: Arc<String>) -> StageResult<usize> { Ok(self.0 + text.len()) }
    /// # }
    /// # async fn sum(_: StageContext, all: Vec<Arc<usize>>) -> StageResult<usize> { Ok(all.iter().map(|n| **n).sum()) }
    ///
    /// let mut p = Pipeline::builder("sum");
    /// let text = p.input();
    /// let shards = p.parallel("shard", 0..8, RetryStage::each(Retry::exponential(50.millis()), Shard)).inputs(text);
    /// # let sum = p.stage("sum", stageflow_core::stage_fn(sum)).inputs(shards);
    /// # let pipeline: Pipeline<String, usize> = p.build(sum)?;
    /// # Ok::<_, stageflow_dag::BuildError>(())
    /// ```
    pub fn each(policy: Retry, mut factory: impl FnMut(usize) -> S) -> impl FnMut(usize) -> Self {
        let template = configured(()).retry(policy);
        move |index| Self(template.of(factory(index)))
    }
}

impl<S: IntoConfiguredStage> IntoConfiguredStage for RetryStage<S> {
    type Stage = S::Stage;

    fn into_configured(self) -> ConfiguredStage<S::Stage> {
        self.0.into_configured()
    }
}

impl<S: fmt::Debug> fmt::Debug for RetryStage<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RetryStage").field(&self.0).finish()
    }
}
