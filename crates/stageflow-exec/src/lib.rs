//! `engine.run(&pipeline, input).await`: plans in motion, on tokio.
//!
//! The driver of a run is the caller's own task. It takes ready stages and polls each where it became ready; a stage that
//! stays pending becomes a task of the run, which any of its workers goes on with when it is woken; helpers come when
//! more stages are ready than one worker can start. See `docs/architecture.md` for the life of a run.

mod admission;
mod again;
mod aside;
mod attempt;
mod begin;
mod blocking;
mod cell;
mod chains;
mod child;
mod cleanup;
mod clock;
mod completed;
mod decide;
mod describe;
mod driver;
mod durable;
mod ending;
mod engine;
mod engine_builder;
mod entries;
mod error;
mod explain;
mod failures;
mod first_runs;
mod gate;
mod handle;
mod helper;
mod judge;
mod limits;
mod live;
mod meter;
mod node;
mod outputs;
mod patrol;
mod pending;
mod progress;
mod protocol;
mod queue;
mod quota;
mod ready;
mod report;
mod row;
mod run;
mod scope;
mod settle;
mod shutdown;
mod sinks;
mod sync;
mod timer;
mod waits;
mod worker;

pub use crate::{
    admission::{
        AdmissionPermit, BackpressureBuildError, BackpressureBuilder, BackpressureMonitor, BackpressureStats,
        Overloaded, ShedRule,
    },
    blocking::{Blocking, blocking},
    completed::Completed,
    describe::{EngineDefaults, EngineDescription, InterceptorDescription, LimitsDescription},
    durable::{Cue, Director, Durability, Given, OnLoss},
    engine::{Engine, InterceptorOrder},
    engine_builder::{EngineBuildError, EngineBuilder},
    error::RunError,
    explain::{Explanation, StageWait},
    handle::{PipelineExt, RunBuilder, RunFuture, RunHandle},
    quota::TenantUsage,
    report::{RunReport, StageReport},
    run::CleanUpFailure,
    shutdown::{AbandonedRun, ShutdownReport},
    sinks::EventStream,
};
