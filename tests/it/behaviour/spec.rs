//! Pipelines from data, in runs: that they do what those written in code do.

mod policies;
mod runs;

use std::sync::Arc;

use stageflow::{
    prelude::*,
    spec::{PipelineSpec, Registry, SpecError},
};

fn read(text: &str) -> PipelineSpec {
    PipelineSpec::from_json(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Stages that calculate, so that each output says which stages were asked.
fn calculating() -> Registry {
    let mut registry = Registry::new();
    registry
        .stage("three", |(): ()| Ok::<_, SpecError>(stage_fn(|_, (): ()| async { Ok(3_u32) })))
        .stage("add", |more: u32| {
            Ok::<_, SpecError>(stage_fn(move |_, n: Arc<u32>| async move { Ok(n.wrapping_add(more)) }))
        })
        .stage("own", |(): ()| {
            Ok::<_, SpecError>(stage_fn(|_, Owned(n): Owned<u32>| async move { Ok(n.wrapping_mul(5)) }))
        })
        .stage("sum", |(): ()| {
            Ok::<_, SpecError>(stage_fn(|_, all: Vec<Arc<u32>>| async move {
                Ok(all.iter().fold(7_u32, |sum, n| sum.wrapping_mul(31).wrapping_add(**n)))
            }))
        })
        .stage("pair", |(): ()| {
            Ok::<_, SpecError>(stage_fn(|_, (a, b): (Arc<u32>, Option<Arc<u32>>)| async move {
                Ok(a.wrapping_mul(17).wrapping_add(b.map_or(11, |b| *b)))
            }))
        })
        .stage("named", |(): ()| {
            Ok::<_, SpecError>(stage_fn(|_, inputs: StageInputs| async move {
                let mut sum = 0_u32;
                for name in inputs.names().map(str::to_owned).collect::<Vec<_>>() {
                    let n = inputs.get_optional::<u32>(&name)?;
                    sum = sum.wrapping_mul(13).wrapping_add(n.map_or(1, |n| *n));
                }
                Ok(sum)
            }))
        })
        .predicate("even", |(): &(), n: &u32| n.is_multiple_of(2))
        .predicate("above", |limit: &u32, n: &u32| n > limit);
    registry
}
