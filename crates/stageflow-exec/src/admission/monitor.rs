//! [`BackpressureMonitor`]: so many runs at a time, a bounded queue before them, and refusal when it is too much.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use serde::Serialize;
use stageflow_core::time::Human;

use super::{
    builder::BackpressureBuilder,
    error::Overloaded,
    permit::{AdmissionPermit, Entry, Place},
    state::{Offer, ShedRule},
    turnstile::Turnstile,
};

/// Lets so many runs be active at a time, has so many wait, and refuses the others.
///
/// Given to [`EngineBuilder::backpressure`](crate::EngineBuilder::backpressure) it decides on every run that is started by the
/// engine, and not on child runs. It is as well a plain object for work that is no run. Clones are the same monitor, also in
/// several engines.
///
/// # Guarantees
///
/// - No more than `max_active` are active at any moment, and no more than `queue_limit` wait.
/// - Those who wait are let in in the order in which they came; who gives up frees the place.
/// - A permit is given back on every path, unwinding included, and cannot be given back twice.
/// - `offered = admitted + shed + cancelled + queued` holds in [`stats`](Self::stats) at every instant.
///
/// Overload is a state with hysteresis: it begins at the high watermark and ends at the low one.
///
/// ```
/// use stageflow_core::DurationExt;
/// use stageflow_exec::{BackpressureMonitor, ShedRule};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let monitor = BackpressureMonitor::builder().max_active(2).queue_limit(100).queue_timeout(2.secs()).build()?;
/// let first = monitor.acquire().await?;
/// let second = monitor.acquire().await?;
/// assert_eq!(monitor.stats().utilisation, 1.0);
/// assert_eq!(monitor.try_acquire().unwrap_err().rule(), ShedRule::NoWait);
/// drop(first);
/// assert!(monitor.try_acquire().is_ok());
/// # drop(second);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct BackpressureMonitor(pub(super) Arc<Shared>);

/// What clones, permits and places share.
pub(crate) struct Shared {
    pub(super) turnstile: Turnstile,
    pub(super) max_active: usize,
    pub(super) queue_limit: usize,
    pub(super) queue_timeout: Option<Duration>,
}

impl fmt::Display for BackpressureMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = &*self.0;
        write!(f, "{} active, {} waiting", shared.max_active, shared.queue_limit)?;
        if let Some(most) = shared.queue_timeout {
            write!(f, " for at most {}", Human(most))?;
        }
        let limits = shared.turnstile.look(|state| state.limits.clone());
        if limits.sheds {
            write!(f, ", refused from {} to {} of the active", limits.high, limits.low)?;
            if let Some(latency) = limits.latency {
                write!(f, " or where the slowest 5 % take over {}", Human(Duration::from_nanos(latency)))?;
            }
        }
        Ok(())
    }
}

impl Shared {
    /// How many wait longer than the one with this number.
    pub(crate) fn ahead(&self, number: u64) -> usize {
        self.turnstile.look(|state| state.ahead(number))
    }

    pub(crate) fn queue_timeout(&self) -> Option<Duration> {
        self.queue_timeout
    }

    /// The refusal by a rule, as things stand.
    pub(crate) fn refusal(&self, rule: ShedRule) -> Overloaded {
        let (active, queued) = self.turnstile.look(|state| (state.active, state.queued()));
        let waited = self.queue_timeout.filter(|_| rule == ShedRule::QueueTimeout);
        Overloaded {
            rule,
            active,
            queued,
            max_active: self.max_active,
            queue_limit: self.queue_limit,
            waited,
        }
    }
}

impl BackpressureMonitor {
    /// A monitor to be furnished.
    pub fn builder() -> BackpressureBuilder {
        BackpressureBuilder::new()
    }

    /// Takes a permit, if that takes no waiting.
    ///
    /// # Errors
    ///
    /// [`Overloaded`] if it would, or if the monitor refuses.
    pub fn try_acquire(&self) -> Result<AdmissionPermit, Overloaded> {
        match self.enter(false)? {
            Entry::Permit(permit) => Ok(permit),
            // Nobody waits who did not ask to.
            Entry::Place(_) => Err(self.0.refusal(ShedRule::NoWait)),
        }
    }

    /// Waits for a permit, at most for the queue timeout. With one it needs a runtime with a timer.
    ///
    /// # Errors
    ///
    /// [`Overloaded`] if the monitor refuses, at once or after the timeout.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future frees the place in the queue.
    pub async fn acquire(&self) -> Result<AdmissionPermit, Overloaded> {
        let place = match self.enter(true)? {
            Entry::Permit(permit) => return Ok(permit),
            Entry::Place(place) => place,
        };
        let Some(timeout) = self.0.queue_timeout else { return Ok(place.await) };
        let mut place = pin!(place);
        match tokio::time::timeout(timeout, place.as_mut()).await {
            Ok(permit) => Ok(permit),
            Err(_) if place.expire() => Err(self.0.refusal(ShedRule::QueueTimeout)),
            // Its turn came at the last moment.
            Err(_) => Ok(place.await),
        }
    }

    /// Offers somebody.
    pub(crate) fn enter(&self, may_wait: bool) -> Result<Entry, Overloaded> {
        match self.0.turnstile.offer(may_wait) {
            Ok(Offer::Admitted) => Ok(Entry::Permit(AdmissionPermit::new(Arc::clone(&self.0)))),
            Ok(Offer::Queued { number, ahead }) => {
                Ok(Entry::Place(Place::new(Arc::clone(&self.0), number, ahead)))
            }
            Err(rule) => Err(self.0.refusal(rule)),
        }
    }

    pub(crate) fn ahead(&self, number: u64) -> usize {
        self.0.ahead(number)
    }

    pub(crate) fn needs_timer(&self) -> bool {
        self.0.queue_timeout.is_some()
    }

    /// What it has done and how it stands, as of one moment.
    pub fn stats(&self) -> BackpressureStats {
        self.0.turnstile.look(|state| {
            let counts = state.counts;
            let shed = |rule: ShedRule| counts.shed[rule as usize];
            BackpressureStats {
                active: state.active,
                queued: state.queued(),
                max_active: self.0.max_active,
                queue_limit: self.0.queue_limit,
                offered: counts.offered,
                admitted: counts.admitted,
                shed: ShedRule::ALL.into_iter().map(shed).sum(),
                shed_queue_full: shed(ShedRule::QueueFull),
                shed_high_watermark: shed(ShedRule::HighWatermark),
                shed_latency: shed(ShedRule::Latency),
                shed_queue_timeout: shed(ShedRule::QueueTimeout),
                shed_no_wait: shed(ShedRule::NoWait),
                cancelled: counts.cancelled,
                peak_active: counts.peak_active,
                peak_queued: counts.peak_queued,
                utilisation: state.utilisation(),
                is_overloaded: state.is_overloaded(),
                p95: state.p95().map(Duration::from_nanos),
            }
        })
    }

    /// Whether it is overloaded.
    pub fn is_overloaded(&self) -> bool {
        self.0.turnstile.look(super::state::State::is_overloaded)
    }
}

impl fmt::Debug for BackpressureMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BackpressureMonitor").field(&self.stats()).finish()
    }
}

/// What a [`BackpressureMonitor`] has done, and how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BackpressureStats {
    /// Those that are let in and have not ended.
    pub active: usize,
    /// Those that wait.
    pub queued: usize,
    /// How many may be active.
    pub max_active: usize,
    /// How many may wait.
    pub queue_limit: usize,
    /// All that ever came.
    pub offered: u64,
    /// All that were let in.
    pub admitted: u64,
    /// All that were refused.
    pub shed: u64,
    /// Refused because the queue was full.
    pub shed_queue_full: u64,
    /// Refused between the high watermark and the low one.
    pub shed_high_watermark: u64,
    /// Refused because of the latencies.
    pub shed_latency: u64,
    /// Refused after the queue timeout.
    pub shed_queue_timeout: u64,
    /// Refused because they did not wait.
    pub shed_no_wait: u64,
    /// Those that gave up waiting: cancelled, dropped, or out of time.
    pub cancelled: u64,
    /// The most that were ever active at a time.
    pub peak_active: usize,
    /// The most that ever waited at a time.
    pub peak_queued: usize,
    /// Those that are active and those that wait, over those that may be active.
    pub utilisation: f64,
    /// Whether it is overloaded.
    pub is_overloaded: bool,
    /// The 95th percentile of the last 1,000 latencies, where there is a threshold for it and there are 20.
    pub p95: Option<Duration>,
}
