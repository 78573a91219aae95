//! The exporter against collectors: some that live in the test and misbehave, and a real one that others wrote.
//!
//! These tests wait for threads and sockets, so they run on real time; each wait has an end.
#![expect(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod canary;
#[cfg(all(feature = "otlp-gzip", feature = "otlp-tls"))]
mod certificates;
#[path = "../../../stageflow/examples/observed/collector.rs"]
mod collector;
mod env;
mod failures;
mod flush;
#[cfg(all(feature = "otlp-gzip", feature = "otlp-tls"))]
mod front;
mod gotchas;
#[cfg(all(feature = "otlp-gzip", feature = "otlp-tls"))]
mod gzip;
mod kit;
mod metrics;
mod receiver;
mod rotel;
mod shape;
#[cfg(all(feature = "otlp-gzip", feature = "otlp-tls"))]
mod tls;
mod tree;
