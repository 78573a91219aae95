//! Testing pipelines: what a test of a pipeline needs, and nothing that a production build should have.

mod context;
mod probe;
mod script;

#[doc(inline)]
pub use crate::{
    context::{Called, TestContext, call},
    probe::{Probe, ProbeStage},
    script::{Calls, Script, ScriptedFailure, Waits, exits, fails, hangs, ok, panics, script, skips, waits},
};
