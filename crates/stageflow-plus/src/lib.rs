//! Ready-made stages, each behind a feature of its own: for what many pipelines need and few write well.
//!
//! Each has two parts: a decision that is a pure function or a small state machine of the time, a random number and its state, and
//! a stage that waits and records. The first is usable without a pipeline.

#[cfg(feature = "fanout")]
pub mod fan_out;
#[cfg(feature = "router")]
pub mod router;
#[cfg(feature = "spec")]
pub mod spec;
