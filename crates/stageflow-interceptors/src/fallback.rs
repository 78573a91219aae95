//! [`Fallback`]: what answers in place of a call that failed.

mod failed;
mod intercept;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    fmt,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
};

use stageflow_core::{BoxError, ErrorClass, Stage, StageContext, StageExit, StageInput, StageResult, Value};

use crate::CallInputs;

type Answering = Pin<Box<dyn Future<Output = StageResult<Value>> + Send>>;
type Answer = dyn Fn(StageContext, Arc<StageExit>, CallInputs) -> Answering + Send + Sync;

/// Answers in place of a call that failed: an interceptor around [`Layer::Retry`](stageflow_core::Layer::Retry), so that it is asked
/// once the retries are used up.
///
/// It is asked for failures that are transient, timeouts, unclassified or permanent, or of the classes given to [`on`](Self::on).
/// Denied and invalid ones it never answers, nor a skip or a cancellation, nor a panic of the stage, which ends the call.
/// A request for a retry that arrives here is one that no policy has granted, and counts as transient: without a retry policy
/// inside, that is the first one.
///
/// What it gives must be of the output type of the stage; anything else fails the stage with `REPLACED_TYPE`.
///
/// # Events
///
/// `fallback.used`, or `fallback.failed` if it gave no answer either: each with `step` (from 1), `class` and `reason` of the failure
/// that it was asked about.
///
/// # Limits
///
/// When the time of the stage or the run is up, all of the call ends, and no fallback is asked: give the attempts less time than
/// the stage. A fallback is no attempt: its time is that of the stage. Idempotency around it does not keep
/// its answer, unless it is told to.
///
/// # Cancel safety
///
/// Dropping the call drops the fallback.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{ClassifyExt as _, StageContext, StageExit, StageResult, stage_fn};
/// use stageflow_dag::Pipeline;
/// use stageflow_exec::PipelineExt as _;
/// use stageflow_interceptors::{CallInputs, Fallback};
///
/// async fn model(_ctx: StageContext, _prompt: Arc<String>) -> StageResult<String> {
///     Err("overloaded").transient()
/// }
///
/// async fn small_model(_ctx: StageContext, _failure: Arc<StageExit>, inputs: CallInputs) -> StageResult<String> {
///     let prompt = inputs.input::<String>(0).ok_or("no prompt")?;
///     Ok(format!("in short: {prompt}"))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut p = Pipeline::builder("support");
/// let prompt = p.input();
/// let fallback = Fallback::to(small_model).or_value("please call us".to_owned());
/// let reply = p.stage("reply", stage_fn(model)).intercept(fallback).inputs(prompt);
/// let support = p.build(reply)?;
///
/// assert_eq!(*support.run("hello".to_owned()).await?.output(), "in short: hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a fallback does nothing until a stage, pipeline or engine has it"]
pub struct Fallback {
    /// In the order in which they are asked.
    answers: Vec<Arc<Answer>>,
    classes: Vec<ErrorClass>,
}

impl Fallback {
    /// Answers by another stage, which is given the same inputs and is no attempt of its own.
    ///
    /// It has to take what the stage takes that it stands in for; if not, it fails. `.fallback(stage)` of the facade's
    /// `FallbackExt` has the compiler check that.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use stageflow_core::{StageContext, StageResult, stage_fn};
    /// use stageflow_interceptors::Fallback;
    ///
    /// async fn small_model(_ctx: StageContext, prompt: Arc<String>) -> StageResult<String> {
    ///     Ok(format!("in short: {prompt}"))
    /// }
    /// let fallback = Fallback::stage(stage_fn(small_model)).or_value("please call us".to_owned());
    /// ```
    pub fn stage<S: Stage>(stage: S) -> Self {
        Self::none().or_stage(stage)
    }

    /// Asks this stage when those before have failed as well.
    pub fn or_stage<S: Stage>(mut self, stage: S) -> Self {
        let stage = Arc::new(stage);
        self.answers.push(Arc::new(move |ctx, _, inputs| {
            let stage = Arc::clone(&stage);
            Box::pin(async move {
                let input = S::Input::take(&mut inputs.into_source()).map_err(|error| {
                    StageExit::failure(error.code(), ErrorClass::Invalid, BoxError::from(error))
                })?;
                stage.start(ctx, input).await
            })
        }));
        self
    }

    /// Answers by a function of the context, the failure and the inputs.
    pub fn to<F, Fut, T>(function: F) -> Self
    where
        F: Fn(StageContext, Arc<StageExit>, CallInputs) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<T>> + Send + 'static,
        T: Any + Send + Sync,
    {
        Self::none().or(function)
    }

    fn none() -> Self {
        use ErrorClass::{Permanent, Timeout, Transient, Unclassified};
        Self { answers: Vec::new(), classes: vec![Transient, Timeout, Unclassified, Permanent] }
    }

    /// Answers by a constant.
    pub fn value<T: Any + Send + Sync>(value: T) -> Self {
        Self::none().or_value(value)
    }

    /// Asks this function when those before have failed as well, with a failure of these classes. The failure it is given
    /// names all that went wrong before.
    pub fn or<F, Fut, T>(mut self, function: F) -> Self
    where
        F: Fn(StageContext, Arc<StageExit>, CallInputs) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<T>> + Send + 'static,
        T: Any + Send + Sync,
    {
        self.answers.push(Arc::new(move |ctx, failure, inputs| {
            let answer = function(ctx, failure, inputs);
            Box::pin(async move { answer.await.map(Value::new) })
        }));
        self
    }

    /// Answers by a constant when those before have failed as well.
    pub fn or_value<T: Any + Send + Sync>(mut self, value: T) -> Self {
        let value = Value::new(value);
        self.answers.push(Arc::new(move |_, _, _| Box::pin(ready(Ok(value.clone())))));
        self
    }

    /// The classes of failures that it answers, in place of transient, timeout, unclassified and permanent. Denied and invalid
    /// ones it never does. [`Panic`](ErrorClass::Panic) is that of an earlier fallback or of a child run.
    pub fn on(mut self, classes: impl IntoIterator<Item = ErrorClass>) -> Self {
        self.classes = classes.into_iter().collect();
        self
    }

    /// Whether it is asked about an exit.
    fn answers(&self, exit: &StageExit) -> bool {
        let class = if exit.is_retry() { Some(ErrorClass::Transient) } else { exit.error_class() };
        class.is_some_and(|class| {
            !matches!(class, ErrorClass::Denied | ErrorClass::Invalid) && self.classes.contains(&class)
        })
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("steps", &self.answers.len())
            .field("classes", &self.classes)
            .finish()
    }
}
