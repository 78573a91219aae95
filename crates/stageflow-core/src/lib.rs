//! `Input -> async Result<Output, StageExit>`: the vocabulary of Stageflow.
//!
//! This crate holds what every other Stageflow crate agrees on, and nothing that runs: no runtime, no
//! graph, no input or output. Library authors who write stages, interceptors or sinks depend on it;
//! applications use the facade crate `stageflow`, which re-exports it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`stage`] | [`Stage`], [`stage_fn`], [`StageKind`] |
//! | [`input`] | [`StageInput`], [`Owned`], [`StageInputs`] |
//! | [`context`] | [`StageContext`]: what a stage may ask of its run |
//! | [`snapshot`] | [`ContextSnapshot`]: who runs this, for whom, until when |
//! | [`exit`] | [`StageExit`], [`ErrorClass`], [`ClassifyExt`] |
//! | [`outcome`] | how stages and runs end |
//! | [`intercept`] | [`Interceptor`], [`Layer`]; [`Call`] and [`Next`]: what it wraps |
//! | [`event`] | [`Event`], [`EventClass`], [`EventSink`], [`SinkAccount`], [`Recorder`] |
//! | [`wait`] | [`WaitReason`]: why a stage is not finished yet |
//! | [`code`] | the stable error codes |

#[doc(hidden)]
mod backoff;
pub mod call;
pub mod code;
pub mod context;
pub mod event;
pub mod exit;
mod extensions;
pub mod id;
pub mod input;
pub mod intercept;
pub mod outcome;
pub mod policy;
mod recorder;
pub mod scope;
#[doc(hidden)]
pub mod slot;
pub mod snapshot;
pub mod stage;
#[doc(hidden)]
pub mod text;
pub mod time;
mod trace;
pub mod value;
pub mod wait;

pub use crate::{
    backoff::{Backoff, Growth, Jitter},
    call::{Call, Next, Run},
    code::Code,
    context::StageContext,
    event::{
        CustomEvent, Delivery, DropReason, Event, EventClass, EventKind, EventSink, FieldValue, Losses,
        RunInfo, SinkAccount,
    },
    exit::{BoxError, ClassifyExt, ErrorClass, StageExit, StageResult},
    extensions::Extensions,
    id::{CorrelationId, InteractionId, RequestId, RunId, SessionId, TenantId, UserId},
    input::{InputError, Owned, StageInput, StageInputs},
    intercept::{Interceptor, Layer},
    outcome::{CancelCause, Failure, RunOutcome, SkipCause, StageOutcome},
    policy::{FailurePolicy, Keep, Priority},
    recorder::Recorder,
    snapshot::{ContextSnapshot, Identity, SnapshotBuilder},
    stage::{FnStage, Stage, StageKind, stage_fn},
    time::{Clock, DurationExt, Randomness},
    trace::{TraceContext, TraceContextError},
    value::Value,
    wait::WaitReason,
};

#[cfg(test)]
mod tests;
