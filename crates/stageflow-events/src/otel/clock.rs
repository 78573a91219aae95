//! The time of the exporter: real time, whatever clock the engine has.
//!
//! A collector lives outside of paused and simulated time. Events bring their own times.

use std::time::{Instant, SystemTime};

#[expect(clippy::disallowed_methods, reason = "the exporter and the collector share real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the exporter and the collector share real time")]
pub(crate) fn unix_nanos() -> u64 {
    stageflow_core::time::nanos(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
