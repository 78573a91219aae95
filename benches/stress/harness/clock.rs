//! The real clock: a load test measures real time, and this is the one place that asks for it.

use std::time::{Duration, Instant};

/// A point in real time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(Instant);

impl Moment {
    #[expect(
        clippy::disallowed_methods,
        reason = "a load test measures real time, never that of a simulated run"
    )]
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// The time since an earlier moment; zero if that is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    pub(crate) fn plus(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

/// Holds the thread for a while, as a slow sink does on a thread of its own.
pub(crate) fn block_thread(time: Duration) {
    let started = Moment::now();
    while let Some(left) = time.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Milliseconds, for tables and plots.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The time of day, which a clock of a scenario then gets wrong on purpose.
#[expect(clippy::disallowed_methods, reason = "a clock that is replaced has to begin somewhere")]
pub(crate) fn time_of_day() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
