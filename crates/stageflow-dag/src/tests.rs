//! Tests of the crate: fixtures here, one module per subject.

mod compose;
mod configured;
mod least;
mod plan;
mod problems;
mod random;
mod render;
mod scale;
mod svg;
mod wiring;

use std::sync::Arc;

use stageflow_core::{Code, Stage, StageContext, StageInput, StageInputs, StageResult, stage_fn};

use crate::{BuildError, Builder, Pipeline, Problem};

/// From a number to a number.
pub(crate) async fn next(_: StageContext, n: Arc<u32>) -> StageResult<u32> {
    Ok(*n + 1)
}

/// From nothing to a number.
async fn zero(_: StageContext, _: ()) -> StageResult<u32> {
    Ok(0)
}

/// From names to a number.
async fn named(_: StageContext, _: StageInputs) -> StageResult<u32> {
    Ok(0)
}

/// Takes anything, gives a number.
pub(crate) struct Any<In>(std::marker::PhantomData<fn(In)>);

pub(crate) fn any<In>() -> Any<In> {
    Any(std::marker::PhantomData)
}

impl<In: StageInput> Stage for Any<In> {
    type Input = In;
    type Output = u32;

    async fn run(&self, _: &StageContext, _: In) -> StageResult<u32> {
        Ok(0)
    }
}

/// A pipeline of one stage that takes its number from the input.
fn single(pipeline: &str, stage: &str) -> Pipeline<u32, u32> {
    let mut p = Pipeline::builder(pipeline);
    let input = p.input();
    let port = p.stage(stage, stage_fn(next)).inputs(input);
    p.build(port).unwrap()
}

fn codes(problems: &[Problem]) -> Vec<Code> {
    problems.iter().map(Problem::code).collect()
}

/// Builds what `write` wrote, with the last of its ports as the output, and expects it to fail.
fn errors(write: impl FnOnce(&mut Builder<u32>) -> crate::Port<u32>) -> BuildError {
    let mut p = Pipeline::builder("p");
    let output = write(&mut p);
    p.build(output).map(|pipeline| pipeline.to_tree()).unwrap_err()
}

fn builds(write: impl FnOnce(&mut Builder<u32>) -> crate::Port<u32>) -> Pipeline<u32, u32> {
    let mut p = Pipeline::builder("p");
    let output = write(&mut p);
    p.build(output).unwrap()
}
