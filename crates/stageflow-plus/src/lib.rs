//! Ready-made stages, each behind a feature of its own: for what many pipelines need and few write well.
//!
//! Each has two parts: a decision that is a pure function or a small state machine of the time, a random number and its state, and
//! a stage that waits and records. The first is usable without a pipeline.

#[cfg(feature = "batch")]
pub mod batch;
#[cfg(feature = "enrich")]
pub mod enrich;
#[cfg(feature = "factory")]
pub mod factory;
#[cfg(feature = "fanout")]
pub mod fan_out;
#[cfg(feature = "guard")]
pub mod guard;
#[cfg(feature = "retry-stage")]
pub mod retry_stage;
#[cfg(feature = "router")]
pub mod router;
#[cfg(feature = "saga")]
pub mod saga;
#[cfg(feature = "spec")]
pub mod spec;
