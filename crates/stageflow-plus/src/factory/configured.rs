//! Numbered stages, made as a configuration says.

use std::{any::Any, error::Error, fmt, sync::Arc, time::Duration};

use stageflow_core::{Code, code, text::OneLine};
use stageflow_dag::{
    BuildError, Builder, ConfiguredStage, IntoConfiguredStage, ParallelBuilder, Pipeline, Port, Wire,
    configured, numbered,
};

use super::{
    config::{OneOf, ParallelConfig},
    ext::{In, Out},
};

/// Makes numbered stages as a [`ParallelConfig`] says, which it has checked.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::sync::Arc;
/// # use stageflow_core::{Stage, StageContext, StageResult, stage_fn};
/// use stageflow_dag::Pipeline;
/// use stageflow_plus::factory::{ParallelConfig, ParallelPipelineFactory};
///
/// #[derive(Clone, Debug, Default, serde::Deserialize)]
/// struct Region { host: String }
///
/// struct Fetch { index: usize, host: String }
/// # impl Stage for Fetch {
/// #     type Input = Arc<String>;
/// #     type Output = usize;
/// #     async fn run(&self, _: &StageContext, _: Arc<String>) -> StageResult<usize> { Ok(self.host.len() + self.index) }
/// # }
/// # async fn sum(_: StageContext, all: Vec<Arc<usize>>) -> StageResult<usize> { Ok(all.iter().map(|n| **n).sum()) }
///
/// let config: ParallelConfig<Region> =
///     serde_json::from_str(r#"{ "prefix": "fetch", "count": 8, "config": { "host": "eu" }, "only": { "7": { "config": { "host": "us" } } } }"#)?;
/// let fetchers = ParallelPipelineFactory::new(config)?;
/// let fetch: Pipeline<String, usize> = fetchers.pipeline(
///     "fetch everywhere",
///     |index, region| Fetch { index, host: region.host.clone() },
///     ("sum", stage_fn(sum)),
/// )?;
/// assert_eq!(fetch.len(), 9);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ParallelPipelineFactory<C = ()> {
    config: ParallelConfig<C>,
}

impl<C> ParallelPipelineFactory<C> {
    /// The largest count: so that a slip of the pen does not take the memory.
    pub const MOST: usize = 1_000_000;

    /// Checks a configuration.
    ///
    /// # Errors
    ///
    /// [`FactoryError`] with every problem: no stage, more than [`MOST`](Self::MOST), a prefix that gives no names, a limit or a time
    /// of zero, or something different about a stage that is not there.
    pub fn new(config: ParallelConfig<C>) -> Result<Self, FactoryError> {
        let problems = problems(&config);
        if problems.is_empty() {
            Ok(Self { config })
        } else {
            Err(FactoryError { prefix: config.prefix, problems })
        }
    }

    /// What it was made of.
    pub fn config(&self) -> &ParallelConfig<C> {
        &self.config
    }

    /// The names of the stages, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = String> {
        let largest = self.config.count - 1;
        (0..self.config.count).map(move |index| numbered(&self.config.prefix, index, largest))
    }

    /// What `make` gives for a stage, with what is said about it.
    fn stage<S>(&self, index: usize, make: &mut impl FnMut(usize, &C) -> S) -> ConfiguredStage<S> {
        let all = &self.config;
        let one = all.only.get(&index);
        let config = one.and_then(|one| one.config.as_ref()).unwrap_or(&all.config);
        let mut stage = configured(make(index, config));
        if let Some(kind) = all.kind {
            stage = stage.kind(kind);
        }
        if let Some(timeout) = one.and_then(|one| one.timeout).or(all.timeout) {
            stage = stage.timeout(timeout);
        }
        if let Some(timeout) = one.and_then(|one| one.attempt_timeout).or(all.attempt_timeout) {
            stage = stage.attempt_timeout(timeout);
        }
        stage
    }

    /// Adds the stages to a pipeline, side by side, as soon as their inputs are given: [`Builder::parallel`].
    ///
    /// What the configuration says goes before what the stages bring along, and what is said here goes before it. A
    /// `max_in_flight` becomes that of the pipeline.
    #[track_caller]
    pub fn stages<'a, I, S, F>(
        &'a self,
        p: &'a mut Builder<I>,
        mut make: F,
    ) -> ParallelBuilder<
        'a,
        I,
        ConfiguredStage<S>,
        impl FnMut(usize) -> ConfiguredStage<S> + use<'a, I, S, F, C>,
    >
    where
        S: IntoConfiguredStage,
        F: FnMut(usize, &C) -> S,
    {
        if let Some(limit) = self.config.max_in_flight {
            p.max_in_flight(limit);
        }
        p.parallel(self.config.prefix.clone(), 0..self.config.count, move |index| {
            self.stage(index, &mut make)
        })
    }

    /// A whole pipeline: the stages side by side on its input, and one, given as `(name, stage)`, on the list of their outputs.
    ///
    /// # Errors
    ///
    /// What [`Builder::build`] finds.
    #[track_caller]
    pub fn pipeline<I, S, F, R>(
        &self,
        name: impl Into<Arc<str>>,
        make: F,
        (reduce, stage): (impl Into<String>, R),
    ) -> Result<Pipeline<I, Out<R>>, BuildError>
    where
        I: Any + Send + Sync,
        S: IntoConfiguredStage,
        F: FnMut(usize, &C) -> S,
        R: IntoConfiguredStage,
        Port<I>: Wire<In<S>>,
        Vec<Port<Out<S>>>: Wire<In<R>>,
    {
        let mut p = Pipeline::builder(name);
        let input = p.input();
        let ports = self.stages(&mut p, make).inputs(input);
        let output = p.stage(reduce, stage).inputs(ports);
        p.build(output)
    }
}

fn problems<C>(config: &ParallelConfig<C>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut no = |is_wrong: bool, what: String| problems.extend(is_wrong.then_some(what));
    let most = ParallelPipelineFactory::<C>::MOST;
    no(config.prefix.trim().is_empty(), "`prefix` is blank".to_owned());
    no(config.prefix.chars().any(char::is_control), "`prefix` holds a control character".to_owned());
    no(config.count == 0, "`count` is 0, and there would be no stage".to_owned());
    no(config.count > most, format!("`count` is {}, and {most} is the most", config.count));
    no(config.max_in_flight == Some(0), "`max_in_flight` is 0, and no stage could run".to_owned());
    let times = [("timeout_ms", config.timeout), ("attempt_timeout_ms", config.attempt_timeout)];
    let of_one = |(index, one): (&usize, &OneOf<C>)| {
        let index = *index;
        [("timeout_ms", one.timeout), ("attempt_timeout_ms", one.attempt_timeout)]
            .map(|(name, time)| (format!("only.{index}.{name}"), time))
    };
    let times = times.into_iter().map(|(name, time)| (name.to_owned(), time));
    for (name, time) in times.chain(config.only.iter().flat_map(of_one)) {
        no(time == Some(Duration::ZERO), format!("`{name}` is 0, and no stage could complete"));
    }
    if let Some(index) = config.only.keys().rfind(|index| **index >= config.count) {
        let what = format!(
            "`only` says something about stage {index}, and they are numbered from 0 to below {}",
            config.count
        );
        no(config.count > 0, what);
    }
    problems
}

/// A configuration of stages is wrong. Lists every problem, not only the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactoryError {
    prefix: String,
    problems: Vec<String>,
}

impl FactoryError {
    /// Every problem; never empty.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(String::as_str)
    }

    /// The code: `INVALID_POLICY`.
    pub fn code(&self) -> Code {
        code::INVALID_POLICY
    }
}

impl fmt::Display for FactoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stages `{}` cannot be made: {}", OneLine(&self.prefix), self.problems.join("; "))
    }
}

impl Error for FactoryError {}
