//! What became of the events of a sink.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many events a sink was given and what became of them (rule S-29).
///
/// `emitted = delivered + dropped + in_flight` holds at every instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SinkAccount {
    /// Events meant for the sink.
    pub emitted: u64,
    /// Events the sink has taken.
    pub delivered: u64,
    /// Events dropped because there was no room.
    pub dropped_full: u64,
    /// Events dropped to make room for newer ones.
    pub dropped_evicted: u64,
    /// Events left out so that a sample is kept.
    pub dropped_sampled: u64,
    /// Events that have waited for room as long as they may.
    pub dropped_expired: u64,
    /// Events the sink panicked on.
    pub dropped_panic: u64,
    /// Events the sink could not pass on, such as for want of disk space.
    pub dropped_failed: u64,
    /// Events emitted after the sink was shut down.
    pub dropped_closed: u64,
    /// Events left when the time of a shutdown was up.
    pub dropped_abandoned: u64,
    /// Events that could not be written to the disk they were to wait on.
    pub dropped_unwritten: u64,
    /// Events that could not be read back from that disk.
    pub dropped_unread: u64,
    /// Events on their way: queued, on a disk, or in the hands of the sink.
    pub in_flight: u64,
    /// Those of them that are on a disk, or on the way to it.
    pub spilled: u64,
}

impl SinkAccount {
    /// All dropped events.
    pub fn dropped(&self) -> u64 {
        DropReason::ALL.iter().map(|reason| self.dropped_by(*reason)).sum()
    }

    /// The events dropped for one reason.
    pub fn dropped_by(&self, reason: DropReason) -> u64 {
        let mut copy = *self;
        *copy.slot(reason)
    }

    /// The share of dropped events; zero if there was none.
    #[expect(clippy::cast_precision_loss, reason = "a share does not need 52 bits")]
    pub fn drop_rate(&self) -> f64 {
        if self.emitted == 0 { 0.0 } else { self.dropped() as f64 / self.emitted as f64 }
    }

    /// Whether the law holds.
    pub fn is_balanced(&self) -> bool {
        self.emitted == self.delivered + self.dropped() + self.in_flight
    }

    #[doc(hidden)]
    pub fn drop_for(&mut self, reason: DropReason, count: u64) {
        *self.slot(reason) += count;
    }

    fn slot(&mut self, reason: DropReason) -> &mut u64 {
        match reason {
            DropReason::Full => &mut self.dropped_full,
            DropReason::Evicted => &mut self.dropped_evicted,
            DropReason::Sampled => &mut self.dropped_sampled,
            DropReason::Expired => &mut self.dropped_expired,
            DropReason::Panic => &mut self.dropped_panic,
            DropReason::Failed => &mut self.dropped_failed,
            DropReason::Closed => &mut self.dropped_closed,
            DropReason::Abandoned => &mut self.dropped_abandoned,
            DropReason::Unwritten => &mut self.dropped_unwritten,
            DropReason::Unread => &mut self.dropped_unread,
        }
    }
}

/// `1000 emitted, 900 delivered, 100 dropped (full 60, evicted 40), 0 in flight`
impl fmt::Display for SinkAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} emitted, {} delivered, {} dropped", self.emitted, self.delivered, self.dropped())?;
        let reasons = DropReason::ALL.map(|reason| (reason.as_str(), self.dropped_by(reason)));
        write_counts(f, &reasons)?;
        write!(f, ", {} in flight", self.in_flight)
    }
}

/// Writes those that are not zero in brackets.
pub(super) fn write_counts(f: &mut fmt::Formatter<'_>, counts: &[(&str, u64)]) -> fmt::Result {
    let mut before = " (";
    for (name, count) in counts.iter().filter(|(_, count)| *count > 0) {
        write!(f, "{before}{name} {count}")?;
        before = ", ";
    }
    f.write_str(if before == ", " { ")" } else { "" })
}

/// Why an event was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DropReason {
    /// There was no room for it.
    Full,
    /// It made room for a newer one.
    Evicted,
    /// A sample was kept, and it is not in it.
    Sampled,
    /// It has waited for room as long as it may.
    Expired,
    /// The sink panicked on it.
    Panic,
    /// The sink could not pass it on.
    Failed,
    /// The sink was shut down before.
    Closed,
    /// It was left when the time of a shutdown was up.
    Abandoned,
    /// It could not be written to the disk it was to wait on.
    Unwritten,
    /// It could not be read back from that disk.
    Unread,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::Full,
        Self::Evicted,
        Self::Sampled,
        Self::Expired,
        Self::Panic,
        Self::Failed,
        Self::Closed,
        Self::Abandoned,
        Self::Unwritten,
        Self::Unread,
    ];

    /// As one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Evicted => "evicted",
            Self::Sampled => "sampled",
            Self::Expired => "expired",
            Self::Panic => "panic",
            Self::Failed => "failed",
            Self::Closed => "closed",
            Self::Abandoned => "abandoned",
            Self::Unwritten => "unwritten",
            Self::Unread => "unread",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
