//! Testing pipelines: what a test of a pipeline needs, and nothing that a production build should have.
//!
//! | to … | see |
//! |---|---|
//! | run a pipeline in virtual time, with everything drawn from a seed | [`Sim`], [`Seeds`], [`Trace`] |
//! | run once more what a journal has of a run | [`Replay`], [`TraceHash::of_journal`] |
//! | let things go wrong | [`Faults`], [`Latency`], [`FaultInjector`] |
//! | cancel a run at each of its polls | [`Sim::cancel_at_every_poll`], [`Ledger`] |
//! | have a stage fail, wait, panic or hang as told | [`ok`], [`fails`], [`waits`], [`panics`], [`hangs`]: [`Script`] |
//! | see what a stage was given | [`Probe`] |
//! | call a stage without a pipeline | [`call`], [`TestContext`] |
//! | stand in for a language model | [`ScriptedModel`] |
//! | know that no tenant sees another | [`Canaries`] |
//! | know that a stage, interceptor or sink of your own obeys | [`contract`] |
//! | assert how a run ended | [`assert_completed!`], [`assert_failed!`], [`assert_outcome!`] |
//! | assert what happened in it | [`assert_trace!`], [`assert_trace_file!`] |
//!
//! ```
//! use std::sync::Arc;
//! use stageflow_core::{FailurePolicy, Recorder, RunOutcome};
//! use stageflow_dag::Pipeline;
//! use stageflow_exec::Engine;
//! use stageflow_testing::{assert_outcome, assert_trace, fails, ok};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let mut p = Pipeline::builder("answer");
//! p.on_failure(FailurePolicy::Continue);
//! let question = p.input();
//! let memory = p.stage("memory", fails::<Arc<String>, u32>(1)).inputs(question);
//! let answer = p.stage("answer", ok(42).takes::<(Arc<String>, Option<Arc<u32>>)>()).inputs((question, memory.optional()));
//! let pipeline: Pipeline<String, u32> = p.build(answer)?;
//!
//! let recorder = Recorder::new();
//! let engine = Engine::builder().sink(recorder.clone()).build()?;
//! let run = engine.run(&pipeline, "why?".to_owned()).await;
//! assert_outcome!(run, RunOutcome::CompletedWithFailures);
//! assert_trace!(
//!     recorder,
//!     "
//!     pipeline.started
//!     stage.started memory
//!     stage.failed memory
//!     stage.started answer
//!     stage.completed answer
//!     pipeline.completed
//!     "
//! );
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

#[doc(hidden)]
pub mod assert;
mod canary;
mod context;
pub mod contract;
mod faults;
mod latency;
mod ledger;
mod model;
mod probe;
mod replay;
mod script;
mod sim;
mod trace;

#[doc(inline)]
pub use crate::{
    assert::TraceLines,
    canary::{Canaries, CanaryCause, CanaryLeak, CanarySweep, CanaryTenant, LeakKind, Place, SweepReport},
    context::{Called, TestContext, call},
    contract::{ContractError, Violation},
    faults::{Fault, FaultInjector, Faults, INJECTED, OUT_OF_MEMORY},
    latency::Latency,
    ledger::{Lease, Ledger},
    model::{ModelError, Reply, ScriptedModel, Usage},
    probe::{Probe, ProbeStage},
    replay::{Mismatch, Replay, ReplayError, Replayed},
    script::{Calls, Script, ScriptedFailure, Waits, exits, fails, hangs, ok, panics, script, skips, waits},
    sim::{CancelAtEveryPoll, CancelProblem, CancelReport, Seeds, Sim, SimFailure, SimReport},
    trace::{Trace, TraceHash},
};
