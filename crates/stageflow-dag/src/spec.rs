//! Pipelines from data: `registry.build(&spec)`.
//!
//! A [`PipelineSpec`] says in JSON, or in any format that serde knows, which stages there are, what feeds them, and with which
//! policies. A [`Registry`] knows what the names in it mean. What is built is a [`Pipeline`](crate::Pipeline) like any other: the same
//! checks, the same plan, the same lints. What the compiler checks of a pipeline in code is checked when it is built: the type of each
//! edge, and in which form a stage takes its inputs. All problems are reported at once, each with its place in the data.
//!
//! ```
//! use std::sync::Arc;
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//! use stageflow_core::{Stage, StageContext, StageResult};
//! use stageflow_dag::{Pipeline, spec::{PipelineSpec, Registry, SpecError}};
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Greet {
//!     greeting: String,
//! }
//!
//! impl Stage for Greet {
//!     type Input = Arc<String>;
//!     type Output = String;
//!
//!     async fn run(&self, _ctx: &StageContext, name: Arc<String>) -> StageResult<String> {
//!         Ok(format!("{}, {name}!", self.greeting))
//!     }
//! }
//!
//! let mut registry = Registry::new();
//! registry.stage("greet", |config: Greet| Ok::<_, SpecError>(config));
//!
//! let spec = PipelineSpec::from_json(r#"{
//!     "stageflow": 1,
//!     "name": "hello",
//!     "stages": {
//!         "greet": { "use": "greet", "with": { "greeting": "Hello" }, "inputs": "input", "policies": { "timeout": "2s" } }
//!     },
//!     "output": "greet"
//! }"#)?;
//! let pipeline: Pipeline<String, String> = registry.build(&spec)?;
//! assert_eq!(pipeline.stages().map(|stage| stage.name()).collect::<Vec<_>>(), ["greet"]);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # The format
//!
//! | field | means |
//! |---|---|
//! | `stageflow` | the version of the format: `1` |
//! | `name` | the pipeline's name |
//! | `$schema` | where its schema is, for editors; optional, and not looked at |
//! | `description` | for people; optional |
//! | `policies` | settings and policies of the pipeline, by name; optional |
//! | `stages` | the stages by name, in any order; `input` is no name of a stage |
//! | `output` | the stage whose output is the pipeline's |
//!
//! | field of a stage | means |
//! |---|---|
//! | `use` | the kind of stage, as registered |
//! | `with` | its configuration |
//! | `inputs` | what feeds it: see below |
//! | `after` | a stage, or an array of them, that has to complete first |
//! | `when` | a condition, or an array of them: `{"of": "stage", "is": "condition", "with": …}`, or `not` in place of `is` |
//! | `kind` | what kind of work it is: `transform`, `enrich`, `route`, `guard`, `work` or `agent` |
//! | `policies` | settings and policies of the stage, by name |
//! | `description` | for people |
//!
//! | a stage that takes | is fed by |
//! |---|---|
//! | `Arc<T>` | `"name"`, where `"input"` is the pipeline's input, or `{"or": ["a", "b"]}` |
//! | `Owned<T>` | `"name"` |
//! | `Option<Arc<T>>` | `{"optional": "name"}` or `{"optional": {"or": ["a", "b"]}}` |
//! | `Vec<Arc<T>>` | `["a", "b"]` |
//! | `Vec<Option<Arc<T>>>` | `[{"optional": "a"}, {"optional": "b"}]` |
//! | `StageInputs` | `["a", {"optional": "b"}]` |
//! | a tuple | an array of these |
//! | `()` | nothing |
//!
//! Settings of a stage are `timeout`, `attempt_timeout`, `idle_timeout`, `min_time`, `grace`, `cost` and `allow_lint`; those of a
//! pipeline are `stage_timeout`, `attempt_timeout`, `idle_timeout`, `deadline`, `cleanup_budget`, `max_in_flight`, `limit_kind`,
//! `on_failure`, `keep`, `budget` and `allow_lint`. They mean what the methods of the same names mean. Every other name under `policies`
//! is that of a registered policy; of policies in one layer the first in the data is the outermost.

mod build;
mod duration;
mod entries;
mod error;
mod format;
mod hint;
mod input;
mod order;
mod pointer;
mod read;
mod registry;
mod schema;
mod settings;
mod shape;
#[cfg(test)]
mod tests;
mod wire;

pub use self::{
    duration::{HumanDuration, HumanDurationError},
    error::SpecError,
    format::PipelineSpec,
    registry::{RegisteredKind, Registry},
};
