//! [`Builder`]: writes a pipeline.

use std::{any::Any, marker::PhantomData, panic::Location, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use stageflow_core::{
    Budget, FailureRules, Interceptor, Keep, StageKind,
    durable::{AnyCodec, Codec},
    intercept::AnyInterceptor,
    value::TypeTag,
};

use crate::{
    configured::IntoConfiguredStage,
    draft::{Draft, Setting},
    lint::{Allowed, Lint},
    pipeline::Pipeline,
    plan::INPUT,
    port::Port,
    problem::BuildError,
    stage_builder::{ParallelBuilder, StageBuilder},
};

/// Writes a pipeline that takes an `I`: made by [`Pipeline::builder`].
///
/// Nothing panics and nothing is checked before [`build`](Self::build), which reports every problem at once.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder<I> {
    pub(crate) draft: Draft,
    input: PhantomData<fn(I)>,
}

impl<I> Builder<I> {
    pub(crate) fn new(name: Arc<str>, place: &'static Location<'static>) -> Self {
        Self { draft: Draft::new(name, place.into()), input: PhantomData }
    }

    /// The port of the pipeline's input.
    pub fn input(&self) -> Port<I> {
        Port::new(self.draft.id, INPUT)
    }

    /// Adds a stage, as soon as [`inputs`](StageBuilder::inputs) says what feeds it.
    ///
    /// Names are any non-empty text without control characters, and each stage has a name of its own.
    #[track_caller]
    pub fn stage<S: IntoConfiguredStage>(
        &mut self,
        name: impl Into<String>,
        stage: S,
    ) -> StageBuilder<'_, I, S> {
        StageBuilder::new(self, name.into(), stage, Location::caller().into())
    }

    /// Adds one stage for each index, all with the same inputs: `prefix-000`, `prefix-001`, …
    ///
    /// The number is padded to the width of the largest index, and to three digits at least.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{Stage, StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::Pipeline;
    /// struct Shard(usize);
    ///
    /// impl Stage for Shard {
    ///     type Input = Arc<String>;
    ///     type Output = usize;
    ///
    ///     async fn run(&self, _ctx: &StageContext, text: Arc<String>) -> StageResult<usize> {
    ///         Ok(self.0 + text.len())
    ///     }
    /// }
    ///
    /// # async fn sum(_: StageContext, parts: Vec<Arc<usize>>) -> StageResult<usize> { Ok(parts.iter().map(|n| **n).sum()) }
    /// let mut p = Pipeline::builder("fan");
    /// let text = p.input();
    /// let shards = p.parallel("shard", 0..500, Shard).inputs(text);
    /// let sum = p.stage("sum", stage_fn(sum)).inputs(shards);
    /// let pipeline = p.build(sum)?;
    /// assert_eq!(pipeline.stages().nth(499).map(|stage| stage.name()), Some("shard-499"));
    /// # Ok::<_, stageflow_dag::BuildError>(())
    /// ```
    #[track_caller]
    pub fn parallel<S, F>(
        &mut self,
        prefix: impl Into<String>,
        indices: impl IntoIterator<Item = usize>,
        factory: F,
    ) -> ParallelBuilder<'_, I, S, F>
    where
        S: IntoConfiguredStage,
        F: FnMut(usize) -> S,
    {
        let indices = indices.into_iter().collect();
        ParallelBuilder::new(self, prefix.into(), indices, factory, Location::caller().into())
    }

    /// What a failure means for the rest of a run (rule S-7): a [`FailurePolicy`](stageflow_core::FailurePolicy), or
    /// [`FailureRules`]. Without a call the engine's rules say it, and without those, it ends the run.
    #[track_caller]
    pub fn on_failure(&mut self, rules: impl Into<FailureRules>) -> &mut Self {
        self.draft.policies.on_failure = Some(rules.into());
        self.set(Setting::OnFailure, Location::caller())
    }

    /// Which outputs stay readable after a run; without a call, all of them.
    pub fn keep(&mut self, keep: Keep) -> &mut Self {
        self.draft.policies.keep = keep;
        self
    }

    /// How many stages of a run may be in flight at a time; without a call, any number.
    #[track_caller]
    pub fn max_in_flight(&mut self, limit: u32) -> &mut Self {
        self.draft.policies.max_in_flight = Some(limit);
        self.set(Setting::MaxInFlight, Location::caller())
    }

    /// How many stages of `kind` may be in flight at a time in one run; without a call, any number.
    #[track_caller]
    pub fn limit_kind(&mut self, kind: StageKind, limit: u32) -> &mut Self {
        self.draft.policies.kind_limits.retain(|(known, _)| *known != kind);
        self.draft.policies.kind_limits.push((kind, limit));
        self.set(Setting::KindLimit(kind), Location::caller())
    }

    /// The time all clean-ups of a run have together; without a call, ten seconds.
    pub fn cleanup_budget(&mut self, budget: Duration) -> &mut Self {
        self.draft.policies.cleanup_budget = budget;
        self
    }

    /// The deadline of runs that bring none of their own, counted from their start.
    #[track_caller]
    pub fn deadline(&mut self, deadline: Duration) -> &mut Self {
        self.draft.policies.deadline = Some(deadline);
        self.set(Setting::Deadline, Location::caller())
    }

    /// What a run may use together with its child runs; what it does not say is the engine's, and what the run says goes
    /// before it. In the place of a stage it limits each of its runs within the budget of the run around it.
    pub fn budget(&mut self, budget: Budget) -> &mut Self {
        self.draft.policies.budget = Some(budget);
        self
    }

    /// The time for all attempts of each stage that sets none itself; `None` for no limit, whatever the engine says.
    ///
    /// These three defaults count for stages that are pipelines as well, and not for the stages of these.
    #[track_caller]
    pub fn stage_timeout(&mut self, timeout: impl Into<Option<Duration>>) -> &mut Self {
        self.draft.policies.timeouts.stage = timeout.into().into();
        self.set(Setting::Timeout("stage_timeout"), Location::caller())
    }

    /// The time for one attempt of each stage that sets none itself; `None` for no limit, whatever the engine says.
    #[track_caller]
    pub fn attempt_timeout(&mut self, timeout: impl Into<Option<Duration>>) -> &mut Self {
        self.draft.policies.timeouts.attempt = timeout.into().into();
        self.set(Setting::Timeout("attempt_timeout"), Location::caller())
    }

    /// How long an attempt may go on without a sign of progress, for each stage that does not say so itself; `None` for no limit,
    /// whatever the engine says. See [`StageBuilder::idle_timeout`].
    #[track_caller]
    pub fn idle_timeout(&mut self, timeout: impl Into<Option<Duration>>) -> &mut Self {
        self.draft.policies.timeouts.idle = timeout.into().into();
        self.set(Setting::Timeout("idle_timeout"), Location::caller())
    }

    /// Tries every stage of this pipeline again: [`intercept`](Self::intercept), said of a retry policy.
    #[track_caller]
    pub fn retry(&mut self, policy: impl Interceptor) -> &mut Self {
        self.intercept(policy)
    }

    /// Wraps the calls of every stage of this pipeline.
    #[track_caller]
    pub fn intercept(&mut self, interceptor: impl Interceptor) -> &mut Self {
        self.draft.policies.interceptors.push(AnyInterceptor::new(interceptor));
        self.draft.intercepted_at.push(Location::caller().into());
        self
    }

    /// Keeps a finding about stages of this pipeline, or about stages in them, out of what [`Pipeline::lint`] and `Engine::lint`
    /// find, and says why it is all right. Their reports list it with the reason.
    pub fn allow_lint(&mut self, lint: Lint, reason: impl Into<Arc<str>>) -> &mut Self {
        self.draft.policies.allowed.push(Allowed::new(lint, reason));
        self
    }

    fn set(&mut self, setting: Setting, place: &'static Location<'static>) -> &mut Self {
        self.draft.set(setting, place.into());
        self
    }
}

impl<I: Any + Send + Sync + Serialize + DeserializeOwned> Builder<I> {
    /// The port of the pipeline's input, which the journal of a run keeps as JSON: a run with durable stages begins with it when it is
    /// resumed.
    pub fn durable_input(&mut self) -> Port<I> {
        self.durable_input_with(Codec::json())
    }

    /// Like [`durable_input`](Self::durable_input), with a version of the type and upcasters for the older ones.
    pub fn durable_input_with(&mut self, codec: Codec<I>) -> Port<I> {
        self.draft.input_codec = Some(AnyCodec::new(codec));
        self.input()
    }
}

impl<I: Any + Send + Sync> Builder<I> {
    /// Checks everything and freezes it: `output` becomes the pipeline's output.
    ///
    /// Takes time linear in stages and edges, and no stack.
    ///
    /// # Errors
    ///
    /// All problems at once (rule S-1); what is only suspicious is in [`Pipeline::warnings`].
    #[track_caller]
    pub fn build<O: Any + Send + Sync>(self, output: Port<O>) -> Result<Pipeline<I, O>, BuildError> {
        let place = Location::caller();
        self.draft.build(TypeTag::of::<I>(), output.erase(), place.into()).map(Pipeline::from_plan)
    }
}
