//! What a call of a stage gave.

use stageflow_core::{CustomEvent, StageResult};

/// What a call of a stage gave: made by [`call`](crate::call) and [`TestContext::call`](crate::TestContext::call).
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "it holds the result of the stage"]
pub struct Called<O> {
    /// What the stage returned.
    pub result: StageResult<O>,
    /// The events it emitted, those of its clean-ups included.
    pub events: Vec<CustomEvent>,
    /// What went wrong in its clean-ups, in the order of running.
    pub clean_up_failures: Vec<String>,
}
