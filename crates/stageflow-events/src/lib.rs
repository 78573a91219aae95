//! Sight: sinks that count what they lose, and what can be made of events elsewhere.
//!
//! Everything here is an [`EventSink`](stageflow_core::EventSink) or wraps one: it is told what happened, and changes no run.
//!
//! | to … | see |
//! |---|---|
//! | put a bounded queue with an account before a sink | [`SinkExt::bounded`], [`Bounded`], [`Policy`] |
//! | write events to a file and read them back | [`JsonLines`], [`JsonReader`] |
//! | show what goes on to somebody | [`channel`], [`EventReceiver`] |
//! | tell several sinks, or tell one only some events | [`FanOut`], [`SinkExt::filter`] |
//! | have one record for each stage and each run | [`WideEvents`], [`WideRecord`] |
//! | count and measure, for Prometheus and Grafana | [`Metrics`], [`METRICS`], [`grafana_dashboard`] |
//! | have events and the lines of stages in a log, with their ids | `LogEvents`, `AttemptSpans` (feature `tracing`) |
//! | write a sink in one line | [`sink_fn`] |
//! | export traces and metrics by OpenTelemetry | `otel`, with the feature `otlp-grpc` or `otlp-http` |
//!
//! No sink here needs a runtime: what needs a thread has one of its own.

mod bounded;
mod channel;
#[cfg(test)]
mod docs;
mod fan_out;
mod filter;
mod function;
mod json;
mod metrics;
#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
pub mod otel;
mod runs;
#[cfg(test)]
mod support;
#[cfg(feature = "tracing")]
mod tracing;
mod wide;
mod words;

#[cfg(feature = "tracing")]
pub use crate::tracing::{AttemptSpans, LogEvents};
pub use crate::{
    bounded::{
        BackpressureAwareEventSink, Bounded, Meter, Policy, Pressure, Receipt, SinkExt, Spill, Spilled,
        Verdict,
    },
    channel::{ChannelSink, EventReceiver, channel},
    fan_out::FanOut,
    filter::Filter,
    function::{FnSink, sink_fn},
    json::{Damage, Fsync, JsonLines, JsonReader, LoggedEvent},
    metrics::{
        METRICS, MetricData, MetricKind, MetricSource, MetricSpec, MetricValue, Metrics, MetricsSnapshot,
        SeriesData, grafana_dashboard,
    },
    wide::{
        WideAccount, WideDecisions, WideEvents, WideIds, WideRecord, WideRun, WideStage, WideStages, WideWait,
    },
};
