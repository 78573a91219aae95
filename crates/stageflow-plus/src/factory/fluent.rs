//! [`Fluent`]: a pipeline in one expression.

use std::{any::Any, fmt, sync::Arc};

use stageflow_core::Stage;
use stageflow_dag::{BuildError, Builder, IntoConfiguredStage, Pipeline, Port, Wire, numbered};

use super::ext::{FactoryExt as _, In, Out};

/// A pipeline of an `I`, written from the front to the back; `W` is what feeds the next stage: a port, a list of ports, a pair.
///
/// Nothing is wired that is not written: each call reads what the one before gives, and what does not fit does not compile. What has a
/// shape that cannot be said like this goes on with the builder and the ports: [`into_parts`](Self::into_parts).
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{DurationExt as _, Stage, StageContext, StageResult, stage_fn};
/// use stageflow_dag::{BuildError, Pipeline, configured};
/// use stageflow_plus::factory::Fluent;
///
/// async fn clean(_: StageContext, text: Arc<String>) -> StageResult<String> { Ok(text.trim().to_lowercase()) }
/// async fn sum(_: StageContext, counts: Vec<Arc<usize>>) -> StageResult<usize> { Ok(counts.iter().map(|n| **n).sum()) }
///
/// /// Counts the words whose number is this, modulo 8.
/// struct Shard(usize);
///
/// impl Stage for Shard {
///     type Input = Arc<String>;
///     type Output = usize;
///
///     async fn run(&self, _: &StageContext, text: Arc<String>) -> StageResult<usize> {
///         Ok(text.split_whitespace().skip(self.0).step_by(8).count())
///     }
/// }
///
/// let words: Pipeline<String, usize> = Fluent::pipeline("words")
///     .then("clean", stage_fn(clean))
///     .parallel("shard", 0..8, |index| configured(Shard(index)).timeout(2.secs()))
///     .reduce("sum", stage_fn(sum))
///     .build()?;
/// assert_eq!(words.len(), 10);
/// # Ok::<_, BuildError>(())
/// ```
#[must_use = "a pipeline is there when it is built"]
pub struct Fluent<I, W> {
    builder: Builder<I>,
    wire: W,
}

impl<I> Fluent<I, Port<I>> {
    /// Starts a pipeline, whose input feeds the first stage.
    #[track_caller]
    pub fn pipeline(name: impl Into<Arc<str>>) -> Self {
        let builder = Pipeline::builder(name);
        let wire = builder.input();
        Self { builder, wire }
    }
}

impl<I, W> Fluent<I, W> {
    /// Goes on with a builder, and what feeds the next stage.
    pub fn from_parts(builder: Builder<I>, wire: W) -> Self {
        Self { builder, wire }
    }

    /// The builder, and what there is to feed a stage.
    pub fn into_parts(self) -> (Builder<I>, W) {
        (self.builder, self.wire)
    }

    /// Says something about the pipeline as a whole: its failure policy, limits, interceptors.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{FailurePolicy, StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::{BuildError, Pipeline};
    /// # use stageflow_plus::factory::Fluent;
    /// # async fn clean(_: StageContext, text: Arc<String>) -> StageResult<String> { Ok(text.to_lowercase()) }
    /// let clean: Pipeline<String, String> = Fluent::pipeline("clean")
    ///     .settings(|p| p.on_failure(FailurePolicy::Continue).max_in_flight(4))
    ///     .then("clean", stage_fn(clean))
    ///     .build()?;
    /// # Ok::<_, BuildError>(())
    /// ```
    pub fn settings(mut self, settings: impl FnOnce(&mut Builder<I>) -> &mut Builder<I>) -> Self {
        settings(&mut self.builder);
        self
    }

    /// Adds a stage on what there is: on the output of the one before, on a list of outputs, or on a pair.
    #[track_caller]
    pub fn then<S>(mut self, name: impl Into<String>, stage: S) -> Fluent<I, Port<Out<S>>>
    where
        S: IntoConfiguredStage,
        W: Wire<In<S>>,
    {
        let wire = self.builder.stage(name, stage).inputs(self.wire);
        Fluent { builder: self.builder, wire }
    }

    /// Adds one stage for each index, all on what there is: [`Builder::parallel`].
    #[track_caller]
    pub fn parallel<S, F>(
        mut self,
        prefix: impl Into<String>,
        indices: impl IntoIterator<Item = usize>,
        factory: F,
    ) -> Fluent<I, Vec<Port<Out<S>>>>
    where
        S: IntoConfiguredStage,
        F: FnMut(usize) -> S,
        W: Wire<In<S>> + Clone,
    {
        let wire = self.builder.parallel(prefix, indices, factory).inputs(self.wire);
        Fluent { builder: self.builder, wire }
    }

    /// Goes on in two ways from here, and gives both ends as a pair: a diamond when a stage takes it.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::{BuildError, Pipeline};
    /// # use stageflow_plus::factory::Fluent;
    /// # async fn clean(_: StageContext, text: Arc<String>) -> StageResult<String> { Ok(text.to_lowercase()) }
    /// # async fn count(_: StageContext, text: Arc<String>) -> StageResult<usize> { Ok(text.len()) }
    /// # async fn join(_: StageContext, (n, text): (Arc<usize>, Arc<String>)) -> StageResult<String> { Ok(format!("{text} ({n})")) }
    /// let diamond: Pipeline<String, String> = Fluent::pipeline("diamond")
    ///     .then("clean", stage_fn(clean))
    ///     .both(|left| left.then("count", stage_fn(count)), |right| right.then("again", stage_fn(clean)))
    ///     .then("join", stage_fn(join))
    ///     .build()?;
    /// # Ok::<_, BuildError>(())
    /// ```
    pub fn both<A, B>(
        self,
        left: impl FnOnce(Self) -> Fluent<I, A>,
        right: impl FnOnce(Self) -> Fluent<I, B>,
    ) -> Fluent<I, (A, B)>
    where
        W: Clone,
    {
        let wire = self.wire.clone();
        let left = left(self);
        let right = right(Self { builder: left.builder, wire });
        Fluent { builder: right.builder, wire: (left.wire, right.wire) }
    }
}

impl<I, O> Fluent<I, Port<O>> {
    /// Adds one stage for each index, each behind the one before: see [`FactoryExt::chain`](super::FactoryExt::chain).
    #[track_caller]
    pub fn chain<S, F>(
        mut self,
        prefix: impl Into<String>,
        indices: impl IntoIterator<Item = usize>,
        factory: F,
    ) -> Self
    where
        S: IntoConfiguredStage<Stage: Stage<Output = O>>,
        F: FnMut(usize) -> S,
        Port<O>: Wire<In<S>>,
    {
        let wire = self.builder.chain(prefix, indices, factory).inputs(self.wire);
        Self { builder: self.builder, wire }
    }
}

impl<I, T> Fluent<I, Vec<Port<T>>> {
    /// Adds one stage behind each of those there are, numbered from 0.
    #[track_caller]
    pub fn each<S, F>(mut self, prefix: impl Into<String>, mut factory: F) -> Fluent<I, Vec<Port<Out<S>>>>
    where
        S: IntoConfiguredStage,
        F: FnMut(usize) -> S,
        Port<T>: Wire<In<S>>,
    {
        let prefix = prefix.into();
        let largest = self.wire.len().saturating_sub(1);
        let mut wire = Vec::with_capacity(self.wire.len());
        for (index, port) in self.wire.into_iter().enumerate() {
            let name = numbered(&prefix, index, largest);
            wire.push(self.builder.stage(name, factory(index)).inputs(port));
        }
        Fluent { builder: self.builder, wire }
    }

    /// Adds a stage on the list of all outputs, in order: [`then`](Self::then), said of a list.
    #[track_caller]
    pub fn reduce<S>(self, name: impl Into<String>, stage: S) -> Fluent<I, Port<Out<S>>>
    where
        S: IntoConfiguredStage,
        Vec<Port<T>>: Wire<In<S>>,
    {
        self.then(name, stage)
    }
}

impl<I: Any + Send + Sync, O: Any + Send + Sync> Fluent<I, Port<O>> {
    /// Checks everything and freezes it: [`Builder::build`].
    ///
    /// # Errors
    ///
    /// All problems at once (rule S-1).
    #[track_caller]
    pub fn build(self) -> Result<Pipeline<I, O>, BuildError> {
        self.builder.build(self.wire)
    }
}

impl<I, W: fmt::Debug> fmt::Debug for Fluent<I, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fluent").field("wire", &self.wire).finish_non_exhaustive()
    }
}
