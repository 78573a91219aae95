//! The decisions of a backpressure monitor: events in, decisions out, without time, locks or wakers.

use std::collections::{BTreeMap, VecDeque};

/// Which rule of a monitor refused somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ShedRule {
    /// All may-be-active are active, and the queue is full.
    QueueFull,
    /// The load has reached the high watermark, and not yet fallen to the low one.
    HighWatermark,
    /// The 95th percentile of the latencies is above the threshold.
    Latency,
    /// There was no turn within the queue timeout.
    QueueTimeout,
    /// All places are taken, and the caller does not wait.
    NoWait,
}

impl ShedRule {
    pub(crate) const ALL: [Self; 5] =
        [Self::QueueFull, Self::HighWatermark, Self::Latency, Self::QueueTimeout, Self::NoWait];
}

/// What a monitor is furnished with.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_active: usize,
    pub(crate) queue_limit: usize,
    /// Of `max_active`; the queue counts as well, so it may be above 1.
    pub(crate) high: f64,
    pub(crate) low: f64,
    /// In nanoseconds.
    pub(crate) latency: Option<u64>,
    /// Whether who comes while it is overloaded is refused.
    pub(crate) sheds: bool,
}

/// What becomes of one who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Admitted,
    Queued {
        /// Under which number.
        number: u64,
        /// Behind how many others.
        ahead: usize,
    },
}

/// What has happened so far: `offered = admitted + shed + cancelled + queued` at every instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) offered: u64,
    pub(crate) admitted: u64,
    /// In the order of [`ShedRule::ALL`].
    pub(crate) shed: [u64; 5],
    pub(crate) cancelled: u64,
    pub(crate) peak_active: usize,
    pub(crate) peak_queued: usize,
}

/// Who is in, who waits, and whether that is too much. `W` is how those who wait are told.
#[derive(Debug)]
pub(crate) struct State<W> {
    pub(crate) limits: Limits,
    pub(crate) active: usize,
    queue: BTreeMap<u64, W>,
    next: u64,
    is_crowded: bool,
    latencies: Latencies,
    pub(crate) counts: Counts,
}

impl<W> State<W> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            active: 0,
            queue: BTreeMap::new(),
            next: 0,
            is_crowded: false,
            latencies: Latencies::default(),
            counts: Counts::default(),
        }
    }

    /// Somebody comes, with a way to be told if they would wait.
    pub(crate) fn offer(&mut self, waiter: Option<W>) -> Result<Offer, ShedRule> {
        self.counts.offered += 1;
        let decided = self.decide(waiter);
        if let Err(rule) = decided {
            self.counts.shed[rule as usize] += 1;
        }
        self.judge();
        decided
    }

    fn decide(&mut self, waiter: Option<W>) -> Result<Offer, ShedRule> {
        if self.limits.sheds {
            if self.is_crowded {
                return Err(ShedRule::HighWatermark);
            }
            if self.is_slow() {
                return Err(ShedRule::Latency);
            }
        }
        // Whoever leaves hands on to the first who waits, so nobody waits while there is room.
        if self.active < self.limits.max_active {
            self.active += 1;
            self.counts.admitted += 1;
            self.counts.peak_active = self.counts.peak_active.max(self.active);
            return Ok(Offer::Admitted);
        }
        let waiter = waiter.ok_or(ShedRule::NoWait)?;
        if self.queue.len() >= self.limits.queue_limit {
            return Err(ShedRule::QueueFull);
        }
        let number = self.next;
        self.next += 1;
        let ahead = self.queue.len();
        self.queue.insert(number, waiter);
        self.counts.peak_queued = self.counts.peak_queued.max(self.queue.len());
        Ok(Offer::Queued { number, ahead })
    }

    /// One who was in leaves, after so many nanoseconds if that counts: the one who is in in their place.
    pub(crate) fn release(&mut self, latency: Option<u64>) -> Option<W> {
        if let (Some(latency), true) = (latency, self.limits.latency.is_some()) {
            self.latencies.push(latency);
        }
        let next = self.queue.pop_first();
        match next {
            Some(_) => self.counts.admitted += 1,
            None => self.active -= 1,
        }
        self.judge();
        next.map(|(_, waiter)| waiter)
    }

    /// One who waits gives up; `None` if they are in already.
    pub(crate) fn leave(&mut self, number: u64) -> Option<W> {
        let waiter = self.queue.remove(&number)?;
        self.counts.cancelled += 1;
        self.judge();
        Some(waiter)
    }

    /// One who waits has waited too long; `None` if they are in already.
    pub(crate) fn expire(&mut self, number: u64) -> Option<W> {
        let waiter = self.queue.remove(&number)?;
        self.counts.shed[ShedRule::QueueTimeout as usize] += 1;
        self.judge();
        Some(waiter)
    }

    /// How one who waits is told; `None` if they are in.
    pub(crate) fn waiter(&mut self, number: u64) -> Option<&mut W> {
        self.queue.get_mut(&number)
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// How many wait longer than this one: in time linear in their number.
    pub(crate) fn ahead(&self, number: u64) -> usize {
        self.queue.range(..number).count()
    }

    /// Those who are in and those who wait, over those who may be in.
    pub(crate) fn utilisation(&self) -> f64 {
        ratio(self.active + self.queue.len(), self.limits.max_active)
    }

    pub(crate) fn is_overloaded(&self) -> bool {
        self.is_crowded || self.is_slow()
    }

    pub(crate) fn p95(&self) -> Option<u64> {
        self.latencies.p95()
    }

    fn judge(&mut self) {
        let load = self.utilisation();
        self.is_crowded = if self.is_crowded { load > self.limits.low } else { load >= self.limits.high };
    }

    /// Latencies that are too long shed nobody while there is little to do: else nobody would come who could show shorter ones.
    fn is_slow(&self) -> bool {
        let above = |threshold| self.latencies.p95().is_some_and(|p95| p95 > threshold);
        self.limits.latency.is_some_and(above) && self.utilisation() > self.limits.low
    }
}

/// How many latencies are remembered.
const REMEMBERED: usize = 1_000;

/// Of fewer there is no 95th percentile.
const MIN_LATENCIES: usize = 20;

/// The last latencies, by age and by size.
#[derive(Debug, Default)]
struct Latencies {
    recent: VecDeque<u64>,
    sorted: Vec<u64>,
}

impl Latencies {
    fn push(&mut self, latency: u64) {
        if self.recent.len() == REMEMBERED
            && let Some(oldest) = self.recent.pop_front()
            && let Ok(at) = self.sorted.binary_search(&oldest)
        {
            self.sorted.remove(at);
        }
        self.recent.push_back(latency);
        let at = self.sorted.partition_point(|known| *known < latency);
        self.sorted.insert(at, latency);
    }

    /// The smallest that at least 95 % do not exceed.
    fn p95(&self) -> Option<u64> {
        let count = self.sorted.len();
        if count < MIN_LATENCIES { None } else { self.sorted.get((count * 95).div_ceil(100) - 1).copied() }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of runs stay far below 2^52")]
fn ratio(part: usize, of: usize) -> f64 {
    part as f64 / of.max(1) as f64
}
