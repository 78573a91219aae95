//! Testing pipelines: what a test of a pipeline needs, and nothing that a production build should have.

#[doc(hidden)]
pub mod assert;
mod context;
pub mod contract;
mod model;
mod probe;
mod script;

#[doc(inline)]
pub use crate::{
    assert::TraceLines,
    context::{Called, TestContext, call},
    contract::{ContractError, Violation},
    model::{ModelError, Reply, ScriptedModel, Usage},
    probe::{Probe, ProbeStage},
    script::{Calls, Script, ScriptedFailure, Waits, exits, fails, hangs, ok, panics, script, skips, waits},
};
