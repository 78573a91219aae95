//! What a monitor is furnished with.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use stageflow_core::{code, time::nanos};

use super::{
    monitor::{BackpressureMonitor, Shared},
    state::Limits,
    turnstile::Turnstile,
};

/// A [`BackpressureMonitor`] to be furnished: made by [`BackpressureMonitor::builder`].
#[derive(Clone, Debug)]
#[must_use = "a monitor is made by `build`"]
pub struct BackpressureBuilder {
    max_active: u32,
    queue_limit: u32,
    high: f64,
    low: f64,
    queue_timeout: Option<Duration>,
    latency: Option<Duration>,
    sheds: bool,
}

impl BackpressureBuilder {
    pub(super) fn new() -> Self {
        Self {
            max_active: 10,
            queue_limit: 100,
            high: 0.8,
            low: 0.3,
            queue_timeout: None,
            latency: None,
            sheds: false,
        }
    }

    /// How many runs may be active at a time; 10 unless set.
    pub fn max_active(mut self, runs: u32) -> Self {
        self.max_active = runs;
        self
    }

    /// How many runs may wait; 100 unless set. With 0 none does.
    pub fn queue_limit(mut self, runs: u32) -> Self {
        self.queue_limit = runs;
        self
    }

    /// How long a run may wait; as long as it has time unless set, and never longer.
    pub fn queue_timeout(mut self, timeout: Duration) -> Self {
        self.queue_timeout = Some(timeout);
        self
    }

    /// The utilisation from which on it is overloaded; 0.8 unless set. Those that wait are part of it, so it may be above 1.
    pub fn high_watermark(mut self, utilisation: f64) -> Self {
        self.high = utilisation;
        self
    }

    /// The utilisation to which it has to fall to be overloaded no more; 0.3 unless set.
    pub fn low_watermark(mut self, utilisation: f64) -> Self {
        self.low = utilisation;
        self
    }

    /// It is overloaded as well while the 95th percentile of the last 1,000 latencies is above this, of 20 at least, and the
    /// utilisation is above the low watermark. Without a call latencies do not matter.
    pub fn latency_threshold(mut self, p95: Duration) -> Self {
        self.latency = Some(p95);
        self
    }

    /// Whether runs are refused while it is overloaded; unless set they are not, and only a full queue refuses.
    ///
    /// With a high watermark of at most 1 nobody waits then: it is reached before the queue is.
    pub fn shed_when_overloaded(mut self, sheds: bool) -> Self {
        self.sheds = sheds;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// [`BackpressureBuildError`] if no run could ever be let in, or the watermarks make no sense.
    pub fn build(self) -> Result<BackpressureMonitor, BackpressureBuildError> {
        let mut problems = Vec::new();
        if self.max_active == 0 {
            problems.push("`max_active` is 0, and no run could be let in".to_owned());
        }
        let (low, high) = (self.low, self.high);
        if !(low >= 0.0 && high > low && high.is_finite()) {
            problems.push(format!("the watermarks have to be 0 ≤ low < high, and are {low} and {high}"));
        }
        let most =
            (f64::from(self.max_active) + f64::from(self.queue_limit)) / f64::from(self.max_active.max(1));
        if self.sheds && high > most {
            problems.push(format!("with this queue the utilisation is at most {most}, and never {high}"));
        }
        if self.queue_timeout == Some(Duration::ZERO) {
            problems.push("with a `queue_timeout` of zero nobody waits: set `queue_limit(0)`".to_owned());
        }
        if !problems.is_empty() {
            return Err(BackpressureBuildError { problems });
        }
        let limits = Limits {
            max_active: self.max_active as usize,
            queue_limit: self.queue_limit as usize,
            high,
            low,
            latency: self.latency.map(nanos),
            sheds: self.sheds,
        };
        let turnstile = Turnstile::new(limits);
        let (max_active, queue_limit) = (self.max_active as usize, self.queue_limit as usize);
        let shared = Shared { turnstile, max_active, queue_limit, queue_timeout: self.queue_timeout };
        Ok(BackpressureMonitor(Arc::new(shared)))
    }
}

/// A monitor cannot be built: all problems at once. The code is `INVALID_POLICY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackpressureBuildError {
    problems: Vec<String>,
}

impl BackpressureBuildError {
    /// The problems.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for BackpressureBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot build the backpressure monitor [{}]: {}",
            code::INVALID_POLICY,
            self.problems.join("; ")
        )
    }
}

impl Error for BackpressureBuildError {}
