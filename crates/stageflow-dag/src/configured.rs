//! A stage together with what is said about it: `configured(Shard(7)).timeout(2.secs())`.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
pub(crate) use stageflow_core::intercept::AnyInterceptor;
use stageflow_core::{
    Interceptor, Stage, StageKind,
    durable::{AnyCodec, Codec},
};

use crate::{lint::Lint, plan::StageSettings, sub_pipeline::IntoStage};

/// What can be added to a pipeline with settings of its own: whatever [`IntoStage`] is, and a [`ConfiguredStage`].
///
/// What calls a stage itself takes an [`IntoStage`], because it would pass over what is said about this one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stage",
    label = "not a stage",
    note = "implement `Stage`, wrap an async function with `stage_fn`, or add a whole `Pipeline`"
)]
pub trait IntoConfiguredStage {
    /// The stage that is added.
    type Stage: Stage;

    /// Makes the stage, with what is said about it.
    fn into_configured(self) -> ConfiguredStage<Self::Stage>;
}

#[diagnostic::do_not_recommend]
impl<S: IntoStage> IntoConfiguredStage for S {
    type Stage = S::Stage;

    fn into_configured(self) -> ConfiguredStage<S::Stage> {
        configured(self.into_stage())
    }
}

impl<S: IntoConfiguredStage> IntoConfiguredStage for ConfiguredStage<S> {
    type Stage = S::Stage;

    fn into_configured(self) -> ConfiguredStage<S::Stage> {
        let inner = self.stage.into_configured();
        ConfiguredStage { stage: inner.stage, said: self.said.over(inner.said) }
    }
}

/// What is said about a stage, wherever: all but its name and its edges.
#[derive(Clone, Default)]
pub(crate) struct Said {
    pub(crate) kind: Option<StageKind>,
    pub(crate) settings: Option<Box<StageSettings>>,
}

impl Said {
    pub(crate) fn settings(&mut self) -> &mut StageSettings {
        self.settings.get_or_insert_default()
    }

    /// This goes before `inner`, and its interceptors stand around those.
    pub(crate) fn over(self, inner: Self) -> Self {
        let settings = match (self.settings, inner.settings) {
            (Some(mut own), Some(inner)) => {
                own.go_over(*inner);
                Some(own)
            }
            (own, inner) => own.or(inner),
        };
        Self { kind: self.kind.or(inner.kind), settings }
    }
}

impl StageSettings {
    fn go_over(&mut self, inner: Self) {
        self.timeouts = self.timeouts.or(inner.timeouts);
        self.min_time = self.min_time.max(inner.min_time);
        self.grace = self.grace.or(inner.grace);
        self.cost = self.cost.or(inner.cost);
        self.codec = self.codec.take().or(inner.codec);
        self.durable |= inner.durable;
        self.interceptors.extend(inner.interceptors);
        self.allowed.extend(inner.allowed);
    }
}

/// What is said about a stage, by the field `said`.
macro_rules! setters {
    () => {
        /// Says what kind of work it is, instead of [`Stage::KIND`].
        pub fn kind(mut self, kind: StageKind) -> Self {
            self.said.kind = Some(kind);
            self
        }

        /// The time for all attempts together; `None` for no limit, whatever pipeline and engine say.
        pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
            self.said.settings().timeouts.stage = timeout.into().into();
            self
        }

        /// The time for one attempt; `None` for no limit, whatever pipeline and engine say.
        pub fn attempt_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
            self.said.settings().timeouts.attempt = timeout.into().into();
            self
        }

        /// How long an attempt may go on without a sign of
        /// [`progress`](stageflow_core::StageContext::progress): then it fails with `IDLE_TIMEOUT`. `None` for no limit,
        /// whatever pipeline and engine say. The first sign is its start, so waiting for a permit or for the next attempt
        /// does not count, also not that of the stages of a child run.
        pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
            self.said.settings().timeouts.idle = timeout.into().into();
            self
        }

        /// The least time that an attempt of any use takes. With less left under the deadline of the run or the timeout of
        /// the stage no attempt is begun and nothing is waited for: the stage fails at once with `DEADLINE_EXCEEDED`.
        /// [`Pipeline::min_time`](crate::Pipeline::min_time) adds it up, and a run with a deadline below that is refused.
        pub fn min_time(mut self, time: Duration) -> Self {
            self.said.settings().min_time = time;
            self
        }

        /// The time to end by itself after a cancellation, before its future is dropped; without a call, none.
        pub fn grace(mut self, grace: Duration) -> Self {
            self.said.settings().grace = Some(grace);
            self
        }

        /// What one attempt is estimated to cost, in the units of the budget. Each attempt reserves so much before it starts,
        /// and one that cannot be afforded is not made: the stage fails with `BUDGET_EXHAUSTED`. It counts as spent unless the
        /// attempt says what it has really cost, by `ctx.budget().settle(…)`.
        pub fn cost(mut self, estimate: u64) -> Self {
            self.said.settings().cost = Some(estimate);
            self
        }

        /// Tries this stage again: [`intercept`](Self::intercept), said of a retry policy.
        pub fn retry(self, policy: impl Interceptor) -> Self {
            self.intercept(policy)
        }

        /// Keeps a finding about this stage, or about stages in it, out of what [`Pipeline::lint`](crate::Pipeline::lint) and
        /// `Engine::lint` find, and says why it is all right. Their reports list it with the reason.
        pub fn allow_lint(mut self, lint: Lint, reason: impl Into<Arc<str>>) -> Self {
            self.said.settings().allowed.push($crate::lint::Allowed::new(lint, reason));
            self
        }

        /// Wraps the calls of this stage, inside of what engine and pipeline put into the same layer.
        pub fn intercept(mut self, interceptor: impl Interceptor) -> Self {
            self.said.settings().interceptors.push($crate::configured::AnyInterceptor::new(interceptor));
            self
        }
    };
}

pub(crate) use setters;

/// What is said about a stage whose output leaves the process, by the field `said`.
macro_rules! codec_setters {
    ($($stage:tt)*) => {
        /// Keeps what the stage gives in the journal of the run, as JSON: a run that is resumed has it from there, and the stage is
        /// not called again. Nobody reads the output before it is durable.
        ///
        /// What the stage has done when its process dies before that is done again: at least once. Where that must not be, give it
        /// an idempotency key.
        pub fn durable(self) -> Self
        where
            $($stage)*: IntoConfiguredStage,
            <<$($stage)* as IntoConfiguredStage>::Stage as Stage>::Output: Serialize + DeserializeOwned,
        {
            self.durable_with(Codec::json())
        }

        /// Like [`durable`](Self::durable), with a version of the type and upcasters for the older ones.
        pub fn durable_with(
            mut self,
            codec: Codec<<<$($stage)* as IntoConfiguredStage>::Stage as Stage>::Output>,
        ) -> Self
        where
            $($stage)*: IntoConfiguredStage,
            <<$($stage)* as IntoConfiguredStage>::Stage as Stage>::Output: Serialize + DeserializeOwned,
        {
            self.said.settings().durable = true;
            self.stored_with(codec)
        }

        /// Lets what the stage gives leave the process, as JSON: for policies whose store is elsewhere, such as idempotency. It does
        /// not make the stage durable.
        pub fn stored(self) -> Self
        where
            $($stage)*: IntoConfiguredStage,
            <<$($stage)* as IntoConfiguredStage>::Stage as Stage>::Output: Serialize + DeserializeOwned,
        {
            self.stored_with(Codec::json())
        }

        /// Like [`stored`](Self::stored), with a version of the type and upcasters for the older ones.
        pub fn stored_with(
            mut self,
            codec: Codec<<<$($stage)* as IntoConfiguredStage>::Stage as Stage>::Output>,
        ) -> Self
        where
            $($stage)*: IntoConfiguredStage,
            <<$($stage)* as IntoConfiguredStage>::Stage as Stage>::Output: Serialize + DeserializeOwned,
        {
            self.said.settings().codec = Some(AnyCodec::new(codec));
            self
        }
    };
}

pub(crate) use codec_setters;

/// A stage and what is said about it: made by [`configured`], added like a stage.
///
/// What the builder says goes before it: another timeout, grace, cost or kind replaces this one, of two least times the larger counts,
/// and the builder's interceptors stand around these in the same layer.
#[derive(Clone)]
#[must_use = "a stage does nothing until it is added to a pipeline"]
pub struct ConfiguredStage<S> {
    stage: S,
    said: Said,
}

/// Begins to say something about a stage where it is made, not where it is added: in a factory, or in a function that gives stages.
///
/// ```
/// # use std::sync::Arc;
/// # use stageflow_core::{DurationExt, Stage, StageContext, StageResult};
/// # use stageflow_dag::Pipeline;
/// use stageflow_dag::configured;
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
/// let large = |index: usize| if index == 0 { 9.secs() } else { 2.secs() };
/// let shards = p.parallel("shard", 0..8, |index| configured(Shard(index)).timeout(large(index))).inputs(text);
/// let sum = p.stage("sum", stageflow_core::stage_fn(sum)).inputs(shards);
/// let pipeline: Pipeline<String, usize> = p.build(sum)?;
/// let timeout = |index| pipeline.stages().nth(index).and_then(|stage| stage.timeouts().stage.get());
/// assert_eq!((timeout(0), timeout(7)), (Some(9.secs()), Some(2.secs())));
/// # Ok::<_, stageflow_dag::BuildError>(())
/// ```
pub fn configured<S>(stage: S) -> ConfiguredStage<S> {
    ConfiguredStage { stage, said: Said::default() }
}

impl<S> ConfiguredStage<S> {
    setters!();
    codec_setters!(S);

    /// The same about another stage: interceptors are shared, and what looks at them sees one, not two.
    pub fn of<T>(&self, stage: T) -> ConfiguredStage<T> {
        ConfiguredStage { stage, said: self.said.clone() }
    }

    pub(crate) fn into_parts(self) -> (S, Said) {
        (self.stage, self.said)
    }
}

impl<S: fmt::Debug> fmt::Debug for ConfiguredStage<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredStage")
            .field("stage", &self.stage)
            .field("kind", &self.said.kind)
            .field("settings", &self.said.settings)
            .finish()
    }
}
