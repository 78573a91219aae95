//! Tests of pipelines from data: a registry with a stage of each form here, one module per subject.

mod build;
mod duration;
mod format;
mod hostile;
mod random;
mod schema;
mod settings;
mod validate;
mod wire;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use stageflow_core::{
    Call, Code, Interceptor, Next, Owned, Stage, StageContext, StageInputs, StageKind, StageResult,
    Value as Output, stage_fn,
};

use super::{PipelineSpec, Registry, SpecError};
use crate::{BuildError, Pipeline, tests::any};

/// Multiplies.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Scale {
    factor: u32,
    #[serde(default)]
    offset: u32,
}

impl Stage for Scale {
    type Input = Arc<u32>;
    type Output = u32;
    const KIND: StageKind = StageKind::Work;

    async fn run(&self, _: &StageContext, n: Arc<u32>) -> StageResult<u32> {
        Ok(*n * self.factor + self.offset)
    }
}

/// Does nothing, and says its name.
struct Named(String);

impl Interceptor for Named {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Output> {
        next.run().await
    }

    fn name(&self) -> String {
        self.0.clone()
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Limit {
    limit: u32,
}

async fn text(_: StageContext, n: Arc<u32>) -> StageResult<String> {
    Ok(n.to_string())
}

/// A kind of stage for each form of input, all of `u32`, and others.
fn registry() -> Registry {
    let mut registry = Registry::new();
    registry
        .stage("zero", |(): ()| Ok::<_, SpecError>(any::<()>()))
        .stage("one", |(): ()| Ok::<_, SpecError>(any::<Arc<u32>>()))
        .stage("own", |(): ()| Ok::<_, SpecError>(any::<Owned<u32>>()))
        .stage("maybe", |(): ()| Ok::<_, SpecError>(any::<Option<Arc<u32>>>()))
        .stage("list", |(): ()| Ok::<_, SpecError>(any::<Vec<Arc<u32>>>()))
        .stage("maybes", |(): ()| Ok::<_, SpecError>(any::<Vec<Option<Arc<u32>>>>()))
        .stage("named", |(): ()| Ok::<_, SpecError>(any::<StageInputs>()))
        .stage("pair", |(): ()| Ok::<_, SpecError>(any::<(Arc<u32>, Arc<u32>)>()))
        .stage("deep", |(): ()| Ok::<_, SpecError>(any::<((Arc<u32>, Vec<Arc<u32>>), Option<Arc<u32>>)>()))
        .stage("text", |(): ()| Ok::<_, SpecError>(stage_fn(text)))
        .stage("scale", |config: Scale| {
            if config.factor == 0 {
                return Err(SpecError::new("nothing is left").at("/factor").help("use 1 or more"));
            }
            Ok(config)
        })
        .policy("called", |name: String| Ok::<_, SpecError>(Named(name)))
        .predicate("even", |(): &(), n: &u32| n.is_multiple_of(2))
        .predicate("above", |config: &Limit, n: &u32| *n > config.limit);
    registry
}

/// A pipeline of these stages, the last of which gives the output.
fn spec_of(stages: &Value) -> PipelineSpec {
    let last = stages.as_object().and_then(|stages| stages.keys().next_back()).cloned().unwrap_or_default();
    serde_json::from_value(json!({ "stageflow": 1, "name": "p", "stages": stages, "output": last })).unwrap()
}

fn build(stages: &Value) -> Result<Pipeline<u32, u32>, BuildError> {
    registry().build(&spec_of(stages))
}

fn tree(stages: &Value) -> String {
    build(stages).unwrap().to_tree()
}

/// The code and the place of each problem.
fn problems(stages: &Value) -> Vec<(Code, String)> {
    places(&build(stages).map(|pipeline| pipeline.to_tree()).unwrap_err())
}

fn places(error: &BuildError) -> Vec<(Code, String)> {
    let place = |problem: &crate::Problem| problem.pointer().unwrap_or("nowhere").to_owned();
    error.problems().iter().map(|problem| (problem.code(), place(problem))).collect()
}
