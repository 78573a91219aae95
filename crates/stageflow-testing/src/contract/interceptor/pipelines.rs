//! The small pipelines in which an interceptor is checked.

use std::{any::Any, sync::Arc};

use stageflow_core::{Code, Owned, Stage, StageContext, StageResult, stage_fn};
use stageflow_dag::{BuildError, IntoStage, Pipeline, Wire};
use tokio::task::yield_now;

use crate::{fails, panics, skips};

/// The code of the failures inside.
pub(super) const INNER: Code = Code::new("INNER");

/// How a stage leaves without an output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    Failing,
    Panicking,
    Skipped,
}

pub(super) struct Pipelines {
    /// Its stage takes an `Arc`, waits twice, and gives one more.
    pub(super) works: Pipeline<u32, u32>,
    /// Its stage takes an `Owned`.
    pub(super) owned: Pipeline<Vec<u32>, usize>,
    /// Their stages leave without an output.
    pub(super) leaving: Vec<(Leaves, Pipeline<u32, u32>)>,
}

impl Pipelines {
    pub(super) fn new() -> Result<Self, BuildError> {
        let leaving = [
            (Leaves::Failing, fails(1).permanent().code(INNER)),
            (Leaves::Failing, fails(1).transient().code(INNER)),
            (Leaves::Skipped, skips("checking the contract")),
            (Leaves::Panicking, panics()),
        ];
        let leaving = leaving.into_iter().map(|(how, script)| Ok((how, one(script.takes::<Arc<u32>>())?)));
        Ok(Self {
            works: one(stage_fn(add_one))?,
            owned: one(stage_fn(count))?,
            leaving: leaving.collect::<Result<_, _>>()?,
        })
    }
}

async fn add_one(_ctx: StageContext, n: Arc<u32>) -> StageResult<u32> {
    yield_now().await;
    yield_now().await;
    Ok(*n + 1)
}

async fn count(_ctx: StageContext, Owned(list): Owned<Vec<u32>>) -> StageResult<usize> {
    yield_now().await;
    Ok(list.len())
}

/// A pipeline of one stage.
fn one<I, O, S>(stage: S) -> Result<Pipeline<I, O>, BuildError>
where
    I: Any + Send + Sync,
    O: Any + Send + Sync,
    S: Stage<Output = O> + IntoStage<Stage = S>,
    stageflow_dag::Port<I>: Wire<S::Input>,
{
    let mut p = Pipeline::builder("contract");
    let input = p.input();
    let output = p.stage("stage", stage).inputs(input);
    p.build(output)
}
