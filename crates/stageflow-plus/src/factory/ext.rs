//! `p.chain(…)`, `p.diamond(…)`, `p.fan_in(…)`, `p.map_reduce(…)`: shapes that become part of a pipeline.

use std::{fmt, iter::repeat_n};

use stageflow_core::Stage;
use stageflow_dag::{Builder, IntoConfiguredStage, Port, Wire, numbered};

/// The input of a stage that is added as an `S`.
pub(super) type In<S> = <<S as IntoConfiguredStage>::Stage as Stage>::Input;
/// Its output.
pub(super) type Out<S> = <<S as IntoConfiguredStage>::Stage as Stage>::Output;

/// Adds shapes to pipelines.
pub trait FactoryExt<I> {
    /// Adds one stage for each index, each behind the one before: `step-000`, `step-001`, …
    ///
    /// The names are those of [`Builder::parallel`]. No index, no stage: the port is the one that went in.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::{BuildError, Pipeline};
    /// use stageflow_plus::factory::FactoryExt;
    ///
    /// async fn double(_: StageContext, n: Arc<u64>) -> StageResult<u64> { Ok(*n * 2) }
    ///
    /// let mut p = Pipeline::builder("doubling");
    /// let n = p.input();
    /// let doubled = p.chain("double", 0..500, |_| stage_fn(double)).inputs(n);
    /// let doubling = p.build(doubled)?;
    /// assert_eq!(doubling.len(), 500);
    /// # Ok::<_, BuildError>(())
    /// ```
    fn chain<S, F>(
        &mut self,
        prefix: impl Into<String>,
        indices: impl IntoIterator<Item = usize>,
        factory: F,
    ) -> ChainBuilder<'_, I, F>
    where
        S: IntoConfiguredStage,
        F: FnMut(usize) -> S;

    /// Adds four stages, each given as `(name, stage)`: `top`, then `left` and `right` on its output, then `bottom` on the outputs of
    /// both, as a pair.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::{BuildError, Pipeline};
    /// use stageflow_plus::factory::FactoryExt;
    ///
    /// async fn trim(_: StageContext, text: Arc<String>) -> StageResult<String> { Ok(text.trim().to_owned()) }
    /// async fn count(_: StageContext, text: Arc<String>) -> StageResult<usize> { Ok(text.len()) }
    /// async fn shout(_: StageContext, text: Arc<String>) -> StageResult<String> { Ok(text.to_uppercase()) }
    /// async fn join(_: StageContext, (n, text): (Arc<usize>, Arc<String>)) -> StageResult<String> { Ok(format!("{text} ({n})")) }
    ///
    /// let mut p = Pipeline::builder("shout");
    /// let text = p.input();
    /// let parts = (("trim", stage_fn(trim)), ("count", stage_fn(count)), ("shout", stage_fn(shout)), ("join", stage_fn(join)));
    /// let (trim, count, shout, join) = parts;
    /// let joined = p.diamond(trim, count, shout, join).inputs(text);
    /// let shout = p.build(joined)?;
    /// assert_eq!(shout.to_tree(), "\
    /// shout: String → String (4 stages)
    /// ├─ trim   transform  ← input
    /// ├─ count  transform  ← trim
    /// ├─ shout  transform  ← trim
    /// ╰─ join   transform  ← count, shout  → output
    /// ");
    /// # Ok::<_, BuildError>(())
    /// ```
    fn diamond<N: Into<String>, A, B, C, D>(
        &mut self,
        top: (N, A),
        left: (N, B),
        right: (N, C),
        bottom: (N, D),
    ) -> DiamondBuilder<'_, I, A, B, C, D>;

    /// Adds branches, each given as `(name, stage)`, all with the same inputs, and `join` on the list of their outputs, in order.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{Stage, StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::{BuildError, Pipeline};
    /// use stageflow_plus::factory::FactoryExt;
    ///
    /// struct Prices(&'static str);
    /// # impl Stage for Prices {
    /// #     type Input = Arc<String>;
    /// #     type Output = u32;
    /// #     async fn run(&self, _: &StageContext, _: Arc<String>) -> StageResult<u32> { Ok(1) }
    /// # }
    /// async fn lowest(_: StageContext, prices: Vec<Arc<u32>>) -> StageResult<u32> {
    ///     Ok(prices.iter().map(|price| **price).min().unwrap_or(0))
    /// }
    ///
    /// let mut p = Pipeline::builder("prices");
    /// let article = p.input();
    /// let shops = ["north", "south"].map(|shop| (shop, Prices(shop)));
    /// let price = p.fan_in(shops, ("lowest", stage_fn(lowest))).inputs(article);
    /// let prices: Pipeline<String, u32> = p.build(price)?;
    /// assert_eq!(prices.stages().map(|stage| stage.name()).collect::<Vec<_>>(), ["north", "south", "lowest"]);
    /// # Ok::<_, BuildError>(())
    /// ```
    fn fan_in<N: Into<String>, M: Into<String>, S, J>(
        &mut self,
        branches: impl IntoIterator<Item = (N, S)>,
        join: (M, J),
    ) -> FanInBuilder<'_, I, S, J>;

    /// Adds one stage for each index, `name-000`, `name-001`, …, all with the same inputs, and `name-reduce` on the list of their
    /// outputs, in order.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{Stage, StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::{BuildError, Pipeline};
    /// use stageflow_plus::factory::FactoryExt;
    ///
    /// struct Count(usize);
    /// # impl Stage for Count {
    /// #     type Input = Arc<String>;
    /// #     type Output = usize;
    /// #     async fn run(&self, _: &StageContext, _: Arc<String>) -> StageResult<usize> { Ok(1) }
    /// # }
    /// async fn sum(_: StageContext, counts: Vec<Arc<usize>>) -> StageResult<usize> { Ok(counts.iter().map(|n| **n).sum()) }
    ///
    /// let mut p = Pipeline::builder("words");
    /// let text = p.input();
    /// let words = p.map_reduce("count", 0..8, Count, stage_fn(sum)).inputs(text);
    /// let words: Pipeline<String, usize> = p.build(words)?;
    /// assert_eq!(words.stages().last().map(|stage| stage.name()), Some("count-reduce"));
    /// # Ok::<_, BuildError>(())
    /// ```
    fn map_reduce<S, F, R>(
        &mut self,
        name: impl Into<String>,
        indices: impl IntoIterator<Item = usize>,
        map: F,
        reduce: R,
    ) -> MapReduceBuilder<'_, I, F, R>
    where
        S: IntoConfiguredStage,
        F: FnMut(usize) -> S;
}

impl<I> FactoryExt<I> for Builder<I> {
    fn chain<S, F>(
        &mut self,
        prefix: impl Into<String>,
        indices: impl IntoIterator<Item = usize>,
        factory: F,
    ) -> ChainBuilder<'_, I, F>
    where
        S: IntoConfiguredStage,
        F: FnMut(usize) -> S,
    {
        ChainBuilder { builder: self, prefix: prefix.into(), indices: indices.into_iter().collect(), factory }
    }

    fn diamond<N: Into<String>, A, B, C, D>(
        &mut self,
        top: (N, A),
        left: (N, B),
        right: (N, C),
        bottom: (N, D),
    ) -> DiamondBuilder<'_, I, A, B, C, D> {
        let names = [top.0, left.0, right.0, bottom.0].map(Into::into);
        DiamondBuilder { builder: self, names, stages: (top.1, left.1, right.1, bottom.1) }
    }

    fn fan_in<N: Into<String>, M: Into<String>, S, J>(
        &mut self,
        branches: impl IntoIterator<Item = (N, S)>,
        (name, join): (M, J),
    ) -> FanInBuilder<'_, I, S, J> {
        let branches = branches.into_iter().map(|(name, stage)| (name.into(), stage)).collect();
        FanInBuilder { builder: self, branches, name: name.into(), join }
    }

    fn map_reduce<S, F, R>(
        &mut self,
        name: impl Into<String>,
        indices: impl IntoIterator<Item = usize>,
        map: F,
        reduce: R,
    ) -> MapReduceBuilder<'_, I, F, R>
    where
        S: IntoConfiguredStage,
        F: FnMut(usize) -> S,
    {
        let indices = indices.into_iter().collect();
        MapReduceBuilder { builder: self, name: name.into(), indices, map, reduce }
    }
}

/// Stages one behind the other that wait for their input: made by [`FactoryExt::chain`].
#[must_use = "the stages join the pipeline when their input is given"]
pub struct ChainBuilder<'b, I, F> {
    builder: &'b mut Builder<I>,
    prefix: String,
    indices: Vec<usize>,
    factory: F,
}

impl<I, S: IntoConfiguredStage, F: FnMut(usize) -> S> ChainBuilder<'_, I, F> {
    /// Says what feeds the first, adds the stages to the pipeline, and gives the port of the last.
    #[track_caller]
    pub fn inputs(mut self, port: Port<Out<S>>) -> Port<Out<S>>
    where
        Port<Out<S>>: Wire<In<S>>,
    {
        let largest = self.indices.iter().max().copied().unwrap_or(0);
        let mut port = port;
        for index in self.indices {
            let name = numbered(&self.prefix, index, largest);
            port = self.builder.stage(name, (self.factory)(index)).inputs(port);
        }
        port
    }
}

/// A diamond that waits for its inputs: made by [`FactoryExt::diamond`].
#[must_use = "the stages join the pipeline when the inputs of the first are given"]
pub struct DiamondBuilder<'b, I, A, B, C, D> {
    builder: &'b mut Builder<I>,
    names: [String; 4],
    stages: (A, B, C, D),
}

impl<I, A, B, C, D> DiamondBuilder<'_, I, A, B, C, D>
where
    A: IntoConfiguredStage,
    B: IntoConfiguredStage,
    C: IntoConfiguredStage,
    D: IntoConfiguredStage,
    Port<Out<A>>: Wire<In<B>> + Wire<In<C>>,
    (Port<Out<B>>, Port<Out<C>>): Wire<In<D>>,
{
    /// Says what feeds the first, adds the stages to the pipeline, and gives the port of the last.
    #[track_caller]
    pub fn inputs<W: Wire<In<A>>>(self, wire: W) -> Port<Out<D>> {
        let (p, [top, left, right, bottom]) = (self.builder, self.names);
        let top = p.stage(top, self.stages.0).inputs(wire);
        let left = p.stage(left, self.stages.1).inputs(top);
        let right = p.stage(right, self.stages.2).inputs(top);
        p.stage(bottom, self.stages.3).inputs((left, right))
    }
}

/// Branches that wait for their inputs: made by [`FactoryExt::fan_in`].
#[must_use = "the stages join the pipeline when the inputs of the branches are given"]
pub struct FanInBuilder<'b, I, S, J> {
    builder: &'b mut Builder<I>,
    branches: Vec<(String, S)>,
    name: String,
    join: J,
}

impl<I, S, J> FanInBuilder<'_, I, S, J>
where
    S: IntoConfiguredStage,
    J: IntoConfiguredStage,
    Vec<Port<Out<S>>>: Wire<In<J>>,
{
    /// Says what feeds each branch, adds the stages to the pipeline, and gives the port of the one that joins them.
    #[track_caller]
    pub fn inputs<W: Wire<In<S>> + Clone>(self, wire: W) -> Port<Out<J>> {
        let count = self.branches.len();
        let mut ports = Vec::with_capacity(count);
        for ((name, stage), wire) in self.branches.into_iter().zip(repeat_n(wire, count)) {
            ports.push(self.builder.stage(name, stage).inputs(wire));
        }
        self.builder.stage(self.name, self.join).inputs(ports)
    }
}

/// A map-reduce that waits for its inputs: made by [`FactoryExt::map_reduce`].
#[must_use = "the stages join the pipeline when the inputs of the first are given"]
pub struct MapReduceBuilder<'b, I, F, R> {
    builder: &'b mut Builder<I>,
    name: String,
    indices: Vec<usize>,
    map: F,
    reduce: R,
}

impl<I, S, F, R> MapReduceBuilder<'_, I, F, R>
where
    S: IntoConfiguredStage,
    F: FnMut(usize) -> S,
    R: IntoConfiguredStage,
    Vec<Port<Out<S>>>: Wire<In<R>>,
{
    /// Says what feeds each of the stages, adds them to the pipeline, and gives the port of the one that reduces.
    #[track_caller]
    pub fn inputs<W: Wire<In<S>> + Clone>(self, wire: W) -> Port<Out<R>> {
        let reduce = format!("{}-reduce", self.name);
        let mapped = self.builder.parallel(self.name, self.indices, self.map).inputs(wire);
        self.builder.stage(reduce, self.reduce).inputs(mapped)
    }
}

macro_rules! debug {
    ($($builder:ident<$($part:ident),*> $field:ident;)+) => {$(
        impl<I, $($part),*> fmt::Debug for $builder<'_, I, $($part),*> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($builder)).field(stringify!($field), &self.$field).finish_non_exhaustive()
            }
        }
    )+};
}

debug! {
    ChainBuilder<F> prefix;
    DiamondBuilder<A, B, C, D> names;
    FanInBuilder<S, J> name;
    MapReduceBuilder<F, R> name;
}
