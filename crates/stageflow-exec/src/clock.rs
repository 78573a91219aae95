//! The runtime's clock: real in production, virtual where tokio's time is paused.

use stageflow_core::Clock;
use tokio::time::Instant;

/// Reads tokio's clock, so that durations follow virtual time in tests.
#[derive(Debug)]
pub(crate) struct TokioClock {
    base: Instant,
}

impl TokioClock {
    pub(crate) fn new() -> Self {
        Self { base: Instant::now() }
    }
}

impl Clock for TokioClock {
    fn monotonic_nanos(&self) -> u64 {
        let since = Instant::now().saturating_duration_since(self.base);
        since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())
    }
}
