//! Why a monitor refused somebody.

use std::{error::Error, fmt, time::Duration};

use serde::{Serialize, Serializer};
use stageflow_core::{ErrorClass, StageExit, code, time::Human};

use super::state::ShedRule;

/// A [`BackpressureMonitor`](super::BackpressureMonitor) let somebody not in. A run that is refused has the code `OVERLOADED`.
#[derive(Clone, Debug, PartialEq)]
pub struct Overloaded {
    pub(super) rule: ShedRule,
    pub(super) active: usize,
    pub(super) queued: usize,
    pub(super) max_active: usize,
    pub(super) queue_limit: usize,
    /// The queue timeout, if that was the rule.
    pub(super) waited: Option<Duration>,
}

impl Overloaded {
    /// The rule that refused it.
    pub fn rule(&self) -> ShedRule {
        self.rule
    }

    /// How many were active at that moment.
    pub fn active(&self) -> usize {
        self.active
    }

    /// How many waited at that moment.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// How a stage leaves for this reason: as a transient failure.
    pub fn into_exit(self) -> StageExit {
        StageExit::failure(code::OVERLOADED, ErrorClass::Transient, Box::new(self))
    }
}

impl fmt::Display for Overloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, active, queued, max_active, queue_limit, waited } = self;
        write!(f, "overloaded: {active} of {max_active} active, {queued} of {queue_limit} waiting: {rule}")?;
        waited.map_or(Ok(()), |waited| write!(f, " of {}", Human(waited)))
    }
}

impl Error for Overloaded {}

impl ShedRule {
    /// The rule as one word, as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::HighWatermark => "high_watermark",
            Self::Latency => "latency",
            Self::QueueTimeout => "queue_timeout",
            Self::NoWait => "no_wait",
        }
    }
}

impl fmt::Display for ShedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::QueueFull => "the queue is full",
            Self::HighWatermark => "the load has been at the high watermark and not yet at the low one",
            Self::Latency => "the 95th percentile of the latencies is above the threshold",
            Self::QueueTimeout => "no turn within the queue timeout",
            Self::NoWait => "all places are taken",
        })
    }
}

impl Serialize for ShedRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
