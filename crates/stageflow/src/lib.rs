//! `Ticket -> async Result<Reply>`: pipelines of typed async stages, checked by the compiler.
//!
//! A *stage* is an async function from the outputs of earlier stages to a new value. A *pipeline* is a graph of stages
//! whose edges the compiler has checked. A *run* executes it once: each stage starts the moment its inputs are there,
//! and ends in exactly one of five ways, which the run's report tells.
//!
//! ```
//! use std::sync::Arc;
//! use stageflow::prelude::*;
//!
//! async fn words(_ctx: StageContext, text: Arc<String>) -> StageResult<usize> {
//!     Ok(text.split_whitespace().count())
//! }
//!
//! async fn shout(_ctx: StageContext, text: Arc<String>) -> StageResult<String> {
//!     Ok(text.to_uppercase())
//! }
//!
//! async fn join(_ctx: StageContext, (words, text): (Arc<usize>, Arc<String>)) -> StageResult<String> {
//!     Ok(format!("{text} ({words} words)"))
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let mut p = Pipeline::builder("shout");
//! let text = p.input();
//! let count = p.stage("count", stage_fn(words)).inputs(text);
//! let upper = p.stage("upper", stage_fn(shout)).inputs(text);
//! let joined = p.stage("join", stage_fn(join)).inputs((count, upper));
//! let pipeline = p.build(joined)?;
//!
//! let run = pipeline.run("hello stageflow".to_owned()).await?;
//! assert_eq!(run.output(), "HELLO STAGEFLOW (2 words)");
//! println!("{}", run.report());
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Where things are
//!
//! | to … | see |
//! |---|---|
//! | write stages | [`Stage`], [`stage_fn`], [`blocking`], [`StageContext`], [`StageExit`] |
//! | wire them | [`Pipeline`], [`Builder`], [`Port`], [`names`] |
//! | run them | [`PipelineExt`], [`Engine`], [`RunBuilder`] |
//! | say what failures and overload mean | [`FailurePolicy`], [`FailureRules`], [`BackpressureMonitor`] |
//! | watch and stop a run | [`RunHandle`], [`Explanation`], [`RunReport`] |
//! | change how stages are called | [`Interceptor`], [`Next`], [`Layer`] |
//! | be told what happens | [`EventSink`], [`Event`], [`Recorder`] |
//! | begin with an engine that is furnished | `EngineExt`, behind the feature `presets` |
//! | check how policies stand together | [`Engine::lint`], [`Lint`], [`Engine::describe`] |
//! | have runs outlive their process | [`durable`], [`Engine::resume`]; [`EngineBuilder::journal`]; `store`, behind the features `sqlite` and `postgres` |
//! | build pipelines of files | `spec`, behind the feature of that name |
//! | look an error up | [`code`], [`BuildError`], [`RunError`] |
//!
//! The guide in `docs/guide/` goes from the first pipeline to failure policies.

#[cfg(feature = "fallback")]
mod fallback;
pub mod prelude;
#[cfg(feature = "presets")]
mod presets;

/// Pipelines from data: [`PipelineSpec`](spec::PipelineSpec), and the [`Registry`](spec::Registry) of what it may use.
#[cfg(feature = "spec")]
pub mod spec {
    #[doc(inline)]
    pub use stageflow_dag::spec::{
        HumanDuration, HumanDurationError, PipelineSpec, RegisteredKind, Registry, SpecError,
    };
    #[doc(inline)]
    pub use stageflow_plus::spec::{
        BreakerSpec, BulkheadSpec, ClassSpec, GrowthSpec, JitterSpec, LimitSpec, RateLimitSpec, RetrySpec,
        SlowCallsSpec, StandardPolicies, WhenFullSpec,
    };
}

/// Runs that outlive their process: [`Journal`](durable::Journal), [`Codec`](durable::Codec), [`Pause`](durable::Pause).
pub mod durable {
    #[doc(inline)]
    pub use stageflow_core::durable::{
        Ack, Answered, AnyCodec, AttemptEnd, Codec, CodecError, Encoded, Entry, EntryKind, Journal,
        JournalError, JournalErrorKind, JournalFuture, JournaledFailure, JournaledRun, Pause, PauseRecord,
        PauseState, RunDiff, RunHeader, RunKey, RunLease, RunState, RunSummary, StageDiff, StageEnd,
    };
    #[doc(inline)]
    pub use stageflow_exec::{Durability, OnLoss};
}

/// What an auditor reads, and the end of a tenant's data.
pub mod audit {
    #[doc(inline)]
    pub use stageflow_core::audit::{
        AuditLog, AuditRecord, Audited, ErasedTable, ErasureReceipt, TenantData, TenantUsage,
    };
}

#[cfg(feature = "fallback")]
#[doc(inline)]
pub use crate::fallback::FallbackExt;
#[cfg(feature = "presets")]
#[doc(inline)]
pub use crate::presets::{EngineExt, Production};

#[doc(inline)]
pub use stageflow_core::{
    AuthenticateFacts, Backoff, BoxError, BreakerFacts, Budget, BudgetExhausted, BudgetReport, BulkheadFacts,
    Call, CancelCause, ClassifyExt, Clock, Code, ContextSnapshot, CorrelationId, CustomEvent, Delivery,
    DropReason, DurationExt, EVENTS, ErrorClass, Event, EventClass, EventKind, EventSink, EventSpec,
    Extensions, Failure, FailureCollector, FailurePolicy, FailureRecord, FailureRules, FailureSummary,
    FallbackFacts, FieldValue, FnStage, Growth, IdempotencyFacts, Identity, InputError, InteractionId,
    Interceptor, Jitter, Keep, Layer, Losses, Next, NotBegun, Owned, PolicyFacts, PolicyId, Priority, Quota,
    QuotaExceeded, QuotaKind, REDACTED, Randomness, RateDimension, RateLimitFacts, Recorder, RequestId,
    Reservation, RetryFacts, RunAdmission, RunBudget, RunId, RunInfo, RunOutcome, Sensitive, SessionId,
    SinkAccount, SkipCause, SnapshotBuilder, Stage, StageContext, StageExit, StageInput, StageInputs,
    StageKind, StageOutcome, StageResult, StopReason, Stopped, TenantGuardFacts, TenantId, TenantQuotas,
    TimeLimit, TimeoutFacts, Timeouts, TraceContext, TraceContextError, UserId, Value, WaitKind, WaitReason,
    WaitSum, code, context::CleanUpResult, intercept::Placement, scope::Hold, snapshot::Parent,
    stage::UnknownKind, stage_fn, time::SeededRandom,
};
#[doc(inline)]
pub use stageflow_dag::{
    AnyPort, BuildError, Builder, ConfiguredStage, Finding, InputMark, InputView, IntoConfiguredStage,
    IntoStage, Lint, LintReport, Names, OptionalOrPort, OptionalPort, OrPort, ParallelBuilder, Pipeline,
    Port, Problem, Severity, StageBuilder, StageView, Wire, configured, names, numbered,
};
#[doc(inline)]
pub use stageflow_exec::{
    AbandonedRun, AdmissionPermit, BackpressureBuildError, BackpressureBuilder, BackpressureMonitor,
    BackpressureStats, Blocking, CleanUpFailure, Completed, Engine, EngineBuildError, EngineBuilder,
    EngineDefaults, EngineDescription, EventStream, Explanation, InterceptorDescription, InterceptorOrder,
    LimitsDescription, Overloaded, PipelineExt, RunBuilder, RunError, RunFuture, RunHandle, RunReport,
    ShedRule, ShutdownReport, StageReport, StageWait, TenantUsage, blocking,
};

#[cfg(feature = "events")]
#[doc(inline)]
pub use stageflow_events as events;
#[cfg(feature = "interceptors")]
#[doc(inline)]
pub use stageflow_interceptors as interceptors;
#[cfg(feature = "plus")]
#[doc(inline)]
pub use stageflow_plus as plus;
#[cfg(feature = "store")]
#[doc(inline)]
pub use stageflow_store as store;
#[cfg(feature = "testing")]
#[doc(inline)]
pub use stageflow_testing as testing;

/// Pages that `tests/support.rs` leaves to this crate.
#[cfg(all(doctest, unix, feature = "postgres"))]
#[doc = include_str!("../../../docs/guide/37-tenants-and-rls.md")]
mod tenants_page {}
#[cfg(all(doctest, unix, feature = "postgres"))]
#[doc = include_str!("../../../docs/errors/STORE_UNSAFE.md")]
mod unsafe_page {}
#[cfg(all(doctest, feature = "otlp-grpc"))]
#[doc = include_str!("../../../docs/guide/18-opentelemetry.md")]
mod opentelemetry_page {}
