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
//! | [`budget`] | [`Budget`]: what a run and its child runs may use together |
//! | [`quota`] | [`Quota`]: what a tenant may use |
//! | [`exit`] | [`StageExit`], [`ErrorClass`], [`ClassifyExt`] |
//! | [`outcome`] | how stages and runs end |
//! | [`intercept`] | [`Interceptor`], [`Layer`]; [`Call`] and [`Next`]: what it wraps; [`RunAdmission`]: on what it decides |
//! | [`facts`] | [`PolicyFacts`]: what an interceptor says of itself |
//! | [`event`] | [`Event`], [`EventClass`], [`EventSink`], [`SinkAccount`], [`Recorder`] |
//! | [`durable`] | [`Journal`](durable::Journal): what a run leaves behind, and how values get there |
//! | [`audit`] | [`AuditLog`](audit::AuditLog), [`TenantData`](audit::TenantData): what an auditor reads, and the end of a tenant's data |
//! | [`idempotency`] | [`IdempotencyStore`](idempotency::IdempotencyStore): what a store of answers has to do |
//! | [`wait`] | [`WaitReason`]: why a stage is not finished yet |
//! | [`code`] | the stable error codes |

mod admit;
pub mod audit;
#[doc(hidden)]
mod backoff;
pub mod budget;
pub mod call;
#[doc(hidden)]
pub mod caught;
pub mod code;
mod collector;
pub mod context;
pub mod durable;
pub mod event;
pub mod exit;
mod extensions;
pub mod facts;
#[doc(hidden)]
pub mod gcra;
mod health;
pub mod id;
pub mod idempotency;
pub mod input;
pub mod intercept;
pub mod outcome;
pub mod policy;
pub mod quota;
mod recorder;
mod run_local;
pub mod scope;
mod sensitive;
#[doc(hidden)]
pub mod slot;
pub mod snapshot;
pub mod stage;
#[doc(hidden)]
pub mod text;
pub mod time;
mod timeouts;
mod tolerance;
#[doc(hidden)]
pub mod trace;
pub mod value;
pub mod wait;

pub use crate::{
    admit::RunAdmission,
    backoff::{Backoff, Growth, Jitter},
    budget::{Budget, BudgetExhausted, BudgetReport, Reservation, RunBudget},
    call::{Call, Next, Run},
    code::Code,
    collector::{FailureCollector, FailureRecord, FailureSummary},
    context::StageContext,
    event::{
        CustomEvent, Delivery, DropReason, EVENTS, Event, EventClass, EventKind, EventSink, EventSpec,
        FieldValue, Losses, RunInfo, SinkAccount,
    },
    exit::{BoxError, ClassifyExt, ErrorClass, StageExit, StageResult},
    extensions::Extensions,
    facts::{
        AuthenticateFacts, BreakerFacts, BulkheadFacts, FallbackFacts, IdempotencyFacts, PolicyFacts,
        PolicyId, RateDimension, RateLimitFacts, RetryFacts, TenantGuardFacts, TimeoutFacts,
    },
    health::BreakerOutcome,
    id::{CorrelationId, InteractionId, RequestId, RunId, SessionId, TenantId, UserId},
    input::{InputError, Owned, StageInput, StageInputs},
    intercept::{Interceptor, Layer},
    outcome::{CancelCause, Failure, RunOutcome, SkipCause, StageOutcome},
    policy::{FailurePolicy, Keep, Priority},
    quota::{Quota, QuotaExceeded, QuotaKind, TenantQuotas},
    recorder::Recorder,
    sensitive::{REDACTED, Sensitive},
    snapshot::{ContextSnapshot, Identity, SnapshotBuilder},
    stage::{FnStage, Stage, StageKind, stage_fn},
    time::{Clock, DurationExt, Randomness},
    timeouts::{NotBegun, TimeLimit, Timeouts},
    tolerance::{FailureRules, StopReason, Stopped},
    trace::{TraceContext, TraceContextError},
    value::Value,
    wait::{WaitKind, WaitReason, WaitSum},
};

#[cfg(test)]
mod tests;
