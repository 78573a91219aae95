//! How much room a class of events has, and what happens when it is taken.

use std::time::Duration;

use stageflow_core::event::backlog::{Room, Rule};

/// What happens to the events of a class when their room is taken, and how much room that is.
///
/// ```
/// use stageflow_core::{DurationExt, EventClass, Recorder};
/// use stageflow_events::{Policy, SinkExt};
///
/// let sink = Recorder::new()
///     .bounded(1_000)
///     .class(EventClass::Progress, Policy::sample(100).capacity(10_000))
///     .class(EventClass::Decision, Policy::wait(1.secs()));
/// # drop(sink);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    rule: Rule,
    capacity: Option<usize>,
}

impl Policy {
    /// The event that finds no room is dropped.
    pub const fn drop_newest() -> Self {
        Self::new(Rule::DropNewest)
    }

    /// The oldest event of the class is dropped, and the new one is queued.
    pub const fn drop_oldest() -> Self {
        Self::new(Rule::DropOldest)
    }

    /// While the room is at least half full one event of `every` is queued. When it is full, none.
    pub const fn sample(every: u32) -> Self {
        Self::new(Rule::Sample(every))
    }

    /// The event waits for room, at most for `time`, and is dropped then.
    ///
    /// What comes from an engine waits in memory, as many events as the capacity beside it: no run waits (rule S-29).
    /// [`Bounded::emit_blocking`](crate::Bounded::emit_blocking) has its caller wait.
    pub const fn wait(time: Duration) -> Self {
        Self::new(Rule::Wait(time))
    }

    /// How many events of the class are queued; at least one. Without it, the room that the class has by default.
    pub const fn capacity(mut self, events: usize) -> Self {
        self.capacity = Some(events);
        self
    }

    const fn new(rule: Rule) -> Self {
        Self { rule, capacity: None }
    }

    pub(super) fn room(self, default: usize) -> Room {
        Room { capacity: self.capacity.unwrap_or(default).max(1), rule: self.rule }
    }
}
