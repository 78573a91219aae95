//! What one asks a limiter for.

use std::{sync::Arc, time::Duration};

use stageflow_core::{
    Priority,
    time::{epoch, nanos},
};
use tokio::time::Instant;

use super::state::Ask;

/// What one asks a [`FanOutLimiter`](super::FanOutLimiter) for: one permit, unless more is said.
///
/// ```
/// use stageflow_core::DurationExt;
/// use stageflow_plus::fan_out::FanOutRequest;
///
/// let large = FanOutRequest::new().weight(4).key("acme").key("batch").priority(-1).due_in(2.secs());
/// # let _ = large;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it is given to `acquire`"]
pub struct FanOutRequest {
    ask: Ask,
    has_priority: bool,
}

impl FanOutRequest {
    /// One permit, of priority 0, under no key, with no deadline. In a map, with the priority and the deadline of the run.
    pub fn new() -> Self {
        Self { ask: Ask { weight: 1, ..Ask::default() }, has_priority: false }
    }

    /// How many permits it takes; 1 unless set, and at least that.
    pub fn weight(mut self, permits: u32) -> Self {
        self.ask.weight = permits.max(1) as usize;
        self
    }

    /// A key under which it counts: a tenant, a class, a shard. Given several times, each counts.
    pub fn key(mut self, key: impl Into<Arc<str>>) -> Self {
        let key = key.into();
        if let Err(at) = self.ask.keys.binary_search(&key) {
            self.ask.keys.insert(at, key);
        }
        self
    }

    /// How much it matters, for [`QueueOrder::Priority`](super::QueueOrder::Priority): the highest goes first. Those of runs are -20 for
    /// background, -10 for low, 0 for normal, 10 for high and 20 for critical ones.
    pub fn priority(mut self, priority: i32) -> Self {
        self.ask.priority = priority;
        self.has_priority = true;
        self
    }

    /// When it has to be done, counted from now, for [`QueueOrder::EarliestDeadline`](super::QueueOrder::EarliestDeadline). It only
    /// ranks; what limits the wait is the queue timeout.
    pub fn due_in(mut self, time: Duration) -> Self {
        self.ask.due = Some(due(time));
        self
    }

    /// The priority of a run, if it has none of its own.
    pub(in crate::fan_out) fn or_priority(mut self, priority: Priority) -> Self {
        if !self.has_priority {
            self.ask.priority = match priority {
                Priority::Background => -20,
                Priority::Low => -10,
                Priority::Normal => 0,
                Priority::High => 10,
                Priority::Critical => 20,
            };
        }
        self
    }

    /// The deadline of a run, if it has none of its own.
    pub(in crate::fan_out) fn or_due_in(self, time: Option<Duration>) -> Self {
        match time.filter(|_| self.ask.due.is_none()) {
            Some(time) => self.due_in(time),
            None => self,
        }
    }

    /// Before all others of its rank: it has waited before.
    pub(in crate::fan_out) fn again(mut self) -> Self {
        self.ask.again = true;
        self
    }

    /// Part of an item that has a permit of the same limiter.
    pub(in crate::fan_out) fn nested(mut self, is_nested: bool) -> Self {
        self.ask.nested = is_nested;
        self
    }

    pub(super) fn into_ask(mut self) -> Ask {
        self.ask.weight = self.ask.weight.max(1);
        self.ask
    }
}

/// A moment in nanoseconds since the epoch.
fn due(time: Duration) -> u64 {
    nanos(Instant::now().saturating_duration_since(epoch().into())).saturating_add(nanos(time))
}
