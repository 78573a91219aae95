//! `p.stage("reply", Reply).inputs((ticket, profile))`: pipelines as values.
//!
//! A [`Pipeline`] is a checked, immutable graph of stages. It is written with a [`Builder`], whose [`Port`]s are
//! typed handles of values that will exist: what does not fit together does not compile, and what the compiler
//! cannot see (names used twice, limits of zero, circles made by name) is reported by [`Builder::build`], all at
//! once. Nothing here runs, waits or needs a runtime: the executor reads the [`plan`].
//!
//! ```
//! use std::sync::Arc;
//! use stageflow_core::{StageContext, StageResult, stage_fn};
//! use stageflow_dag::{BuildError, Pipeline};
//!
//! async fn count(_ctx: StageContext, text: Arc<String>) -> StageResult<usize> {
//!     Ok(text.split_whitespace().count())
//! }
//!
//! async fn judge(_ctx: StageContext, (text, words): (Arc<String>, Arc<usize>)) -> StageResult<String> {
//!     Ok(format!("`{text}` has {words} words"))
//! }
//!
//! fn verdict() -> Result<Pipeline<String, String>, BuildError> {
//!     let mut p = Pipeline::builder("verdict");
//!     let text = p.input();
//!     let words = p.stage("count", stage_fn(count)).inputs(text);
//!     let verdict = p.stage("judge", stage_fn(judge)).inputs((text, words));
//!     p.build(verdict)
//! }
//!
//! let pipeline = verdict()?;
//! assert_eq!(pipeline.stages().map(|stage| stage.name()).collect::<Vec<_>>(), ["count", "judge"]);
//! # Ok::<_, BuildError>(())
//! ```

mod assemble;
mod builder;
#[doc(hidden)]
pub mod chains;
mod check;
mod compose;
mod configured;
mod cycle;
mod draft;
mod least;
#[doc(hidden)]
pub mod lint;
mod names;
mod pipeline;
#[doc(hidden)]
pub mod plan;
mod port;
mod problem;
mod render;
#[cfg(feature = "spec")]
pub mod spec;
mod stage_builder;
mod sub_pipeline;
mod suggest;
mod svg;
mod view;
mod wire;

pub use crate::{
    builder::Builder,
    configured::{ConfiguredStage, IntoConfiguredStage, configured},
    lint::{Finding, Lint, LintReport, Severity},
    names::{Names, names, numbered},
    pipeline::Pipeline,
    port::{AnyPort, OptionalOrPort, OptionalPort, OrPort, Port},
    problem::{BuildError, Problem},
    stage_builder::{ParallelBuilder, StageBuilder},
    sub_pipeline::{IntoStage, SubPipeline},
    view::{InputMark, InputView, StageView},
    wire::Wire,
};

#[cfg(test)]
mod tests;
