//! Sight: sinks that count what they lose, and what can be made of events elsewhere.
//!
//! Everything here is an [`EventSink`](stageflow_core::EventSink) or wraps one: it is told what happened, and changes no run.

#[cfg(feature = "otel")]
pub mod otel;
