//! `use stageflow::prelude::*;` brings in what a pipeline needs to be written and run.

#[cfg(feature = "fallback")]
pub use crate::FallbackExt as _;
pub use crate::{
    BuildError, Engine, FailurePolicy, FailureRules, Owned, Pipeline, Port, Priority, RunError, Stage,
    StageContext, StageExit, StageInputs, StageKind, StageResult, blocking, stage_fn,
};
pub use crate::{ClassifyExt as _, DurationExt as _, PipelineExt as _};
