//! The clock of a simulation: virtual time, and a time of day that starts on a fixed date and may be wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use stageflow_core::{Clock, time::nanos};
use tokio::time::Instant;

/// 1 January 2026, in seconds since 1970.
const FIRST_DAY: Duration = Duration::from_secs(1_767_225_600);

#[derive(Clone, Debug)]
pub(super) struct SimClock {
    start: Instant,
    skew: Arc<AtomicI64>,
}

impl SimClock {
    pub(super) fn new(skew: Arc<AtomicI64>) -> Self {
        Self { start: Instant::now(), skew }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Clock for SimClock {
    fn monotonic_nanos(&self) -> u64 {
        nanos(self.elapsed())
    }

    fn wall(&self) -> SystemTime {
        let skew = self.skew.load(Ordering::Relaxed);
        let by = Duration::from_nanos(skew.unsigned_abs());
        let right = FIRST_DAY + self.elapsed();
        SystemTime::UNIX_EPOCH + if skew < 0 { right.saturating_sub(by) } else { right + by }
    }
}
