//! How much a route has to do, and how long that takes it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stageflow_core::time::nanos;
use tokio::time::Instant;

use crate::router::clock;

/// What a failed call counts as, at least.
const FAILED: Duration = Duration::from_secs(5);

/// A latency that rises at once and falls slowly: a moving average whose weights fade with time.
///
/// A call that took longer than the estimate becomes the estimate; a shorter one pulls it down the more, the longer ago the last one
/// was. Without calls it falls as well, so that a route that was slow is tried again. (Peak EWMA, as in Finagle and Linkerd.)
///
/// ```
/// use std::time::Duration;
/// use stageflow_plus::router::PeakEwma;
///
/// let mut latency = PeakEwma::new(Duration::from_secs(10));
/// latency.observe(0, Duration::from_millis(20));
/// latency.observe(1, Duration::from_millis(900));
/// assert_eq!(latency.estimate(1), Some(Duration::from_millis(900)));
/// assert!(latency.estimate(10_000_000_001).is_some_and(|left| left < Duration::from_millis(332)));
/// ```
#[derive(Clone, Debug)]
pub struct PeakEwma {
    decay: f64,
    value: Option<f64>,
    at: u64,
}

impl PeakEwma {
    /// Knows nothing yet. After `decay` without calls a third of the estimate is left (a share of 1/e).
    pub fn new(decay: Duration) -> Self {
        Self { decay: (nanos(decay) as f64).max(1.0), value: None, at: 0 }
    }

    /// A call took so long, and ended at this time in nanoseconds of a clock that never goes back.
    pub fn observe(&mut self, now: u64, took: Duration) {
        let took = nanos(took) as f64;
        let left = self.left(now);
        let value = match self.value {
            Some(value) if took < value => value * left + took * (1.0 - left),
            _ => took,
        };
        self.value = Some(value);
        self.at = self.at.max(now);
    }

    /// How long a call would take; `None` before the first.
    pub fn estimate(&self, now: u64) -> Option<Duration> {
        self.value.map(|value| Duration::from_nanos((value * self.left(now)) as u64))
    }

    fn left(&self, now: u64) -> f64 {
        (-(now.saturating_sub(self.at) as f64) / self.decay).exp()
    }
}

/// What is known of one route.
#[derive(Debug)]
pub(super) struct Load {
    in_flight: AtomicU32,
    latency: Mutex<PeakEwma>,
}

impl Load {
    pub(super) fn new(decay: Duration) -> Self {
        Self { in_flight: AtomicU32::new(0), latency: Mutex::new(PeakEwma::new(decay)) }
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn estimate(&self, now: u64) -> Option<Duration> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner).estimate(now)
    }
}

/// Whether the first of two routes has less to do, for its weight. A route of which no latency is known is taken to be as fast as the
/// other.
pub(super) fn less(now: u64, (a, weight_a): (&Load, u64), (b, weight_b): (&Load, u64)) -> bool {
    let known = |load: &Load| load.estimate(now).map(|latency| nanos(latency).max(1));
    let (latency_a, latency_b) = match (known(a), known(b)) {
        (Some(a), Some(b)) => (a, b),
        (Some(one), None) | (None, Some(one)) => (one, one),
        (None, None) => (1, 1),
    };
    let cost = |latency: u64, load: &Load, weight: u64| {
        latency as f64 * (f64::from(load.in_flight()) + 1.0) / weight as f64
    };
    cost(latency_a, a, weight_a) <= cost(latency_b, b, weight_b)
}

/// A call on its way to a route, which counts as long as this lives.
#[must_use = "dropping it says that the call is over"]
pub struct LoadTicket {
    loads: Arc<[Load]>,
    index: usize,
}

impl LoadTicket {
    pub(super) fn new(loads: &Arc<[Load]>, index: usize) -> Self {
        loads[index].in_flight.fetch_add(1, Ordering::Relaxed);
        Self { loads: Arc::clone(loads), index }
    }

    /// The route, by its place in the table.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The call is over, and took so long. One that has failed counts as no shorter than five seconds, so that a route that fails fast
    /// does not draw all calls to itself. Dropping the ticket instead says nothing.
    pub fn finish(self, took: Duration, failed: bool) {
        self.finish_at(clock::since_epoch(Instant::now()), took, failed);
    }

    pub(super) fn finish_at(self, now: u64, took: Duration, failed: bool) {
        let took = if failed { took.max(FAILED) } else { took };
        self.loads[self.index].latency.lock().unwrap_or_else(PoisonError::into_inner).observe(now, took);
    }
}

impl Drop for LoadTicket {
    fn drop(&mut self) {
        self.loads[self.index].in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for LoadTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadTicket").field("index", &self.index).finish_non_exhaustive()
    }
}
