//! Whole pipelines of one shape, in one call.

use std::{any::Any, sync::Arc};

use stageflow_core::Stage;
use stageflow_dag::{BuildError, IntoConfiguredStage, Pipeline, Port, Wire};

use super::ext::{FactoryExt as _, In, Out};

/// A whole pipeline that is a chain: one stage for each index, each behind the one before.
///
/// ```
/// # use std::sync::Arc;
/// # use stageflow_core::{StageContext, StageResult, stage_fn};
/// # use stageflow_dag::BuildError;
/// use stageflow_plus::factory::linear;
///
/// async fn double(_: StageContext, n: Arc<u64>) -> StageResult<u64> { Ok(*n * 2) }
///
/// let doubling = linear("doubling", "double", 0..3, |_| stage_fn(double))?;
/// assert_eq!(doubling.to_tree(), "\
/// doubling: u64 → u64 (3 stages)
/// ├─ double-000  transform  ← input
/// ├─ double-001  transform  ← double-000
/// ╰─ double-002  transform  ← double-001  → output
/// ");
/// # Ok::<_, BuildError>(())
/// ```
///
/// # Errors
///
/// What [`Builder::build`](stageflow_dag::Builder::build) finds; `EMPTY` without an index.
#[track_caller]
pub fn linear<T, S, F>(
    name: impl Into<Arc<str>>,
    prefix: impl Into<String>,
    indices: impl IntoIterator<Item = usize>,
    factory: F,
) -> Result<Pipeline<T, T>, BuildError>
where
    T: Any + Send + Sync,
    S: IntoConfiguredStage<Stage: Stage<Output = T>>,
    F: FnMut(usize) -> S,
    Port<T>: Wire<In<S>>,
{
    let mut p = Pipeline::builder(name);
    let input = p.input();
    let output = p.chain(prefix, indices, factory).inputs(input);
    p.build(output)
}

/// A whole pipeline that is a diamond: see [`FactoryExt::diamond`](super::FactoryExt::diamond).
///
/// # Errors
///
/// What [`Builder::build`](stageflow_dag::Builder::build) finds.
#[track_caller]
pub fn diamond<I, N: Into<String>, A, B, C, D>(
    name: impl Into<Arc<str>>,
    top: (N, A),
    left: (N, B),
    right: (N, C),
    bottom: (N, D),
) -> Result<Pipeline<I, Out<D>>, BuildError>
where
    I: Any + Send + Sync,
    A: IntoConfiguredStage,
    B: IntoConfiguredStage,
    C: IntoConfiguredStage,
    D: IntoConfiguredStage,
    Port<I>: Wire<In<A>>,
    Port<Out<A>>: Wire<In<B>> + Wire<In<C>>,
    (Port<Out<B>>, Port<Out<C>>): Wire<In<D>>,
{
    let mut p = Pipeline::builder(name);
    let input = p.input();
    let output = p.diamond(top, left, right, bottom).inputs(input);
    p.build(output)
}

/// A whole pipeline of branches and what joins them: see [`FactoryExt::fan_in`](super::FactoryExt::fan_in).
///
/// # Errors
///
/// What [`Builder::build`](stageflow_dag::Builder::build) finds.
#[track_caller]
pub fn fan_in<I, N: Into<String>, M: Into<String>, S, J>(
    name: impl Into<Arc<str>>,
    branches: impl IntoIterator<Item = (N, S)>,
    join: (M, J),
) -> Result<Pipeline<I, Out<J>>, BuildError>
where
    I: Any + Send + Sync,
    S: IntoConfiguredStage,
    J: IntoConfiguredStage,
    Port<I>: Wire<In<S>>,
    Vec<Port<Out<S>>>: Wire<In<J>>,
{
    let mut p = Pipeline::builder(name);
    let input = p.input();
    let output = p.fan_in(branches, join).inputs(input);
    p.build(output)
}

/// A whole pipeline of numbered stages and what reduces their outputs: see [`FactoryExt::map_reduce`](super::FactoryExt::map_reduce).
/// The stages are named after the pipeline.
///
/// # Errors
///
/// What [`Builder::build`](stageflow_dag::Builder::build) finds.
#[track_caller]
pub fn map_reduce<I, S, F, R>(
    name: impl Into<Arc<str>>,
    indices: impl IntoIterator<Item = usize>,
    map: F,
    reduce: R,
) -> Result<Pipeline<I, Out<R>>, BuildError>
where
    I: Any + Send + Sync,
    S: IntoConfiguredStage,
    F: FnMut(usize) -> S,
    R: IntoConfiguredStage,
    Port<I>: Wire<In<S>>,
    Vec<Port<Out<S>>>: Wire<In<R>>,
{
    let name = name.into();
    let mut p = Pipeline::builder(Arc::clone(&name));
    let input = p.input();
    let output = p.map_reduce(&*name, indices, map, reduce).inputs(input);
    p.build(output)
}
