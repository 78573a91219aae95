//! Events that waited for room for too long.

use std::time::Instant;

use super::{Backlog, DropReason, Entry, EventClass, Lost, Room, Rule};

impl Backlog {
    /// Drops what has waited for room for too long.
    pub(super) fn expire(&mut self, class: EventClass, now: Instant, lost: &mut Lost) {
        let Some(Room { capacity, rule: Rule::Wait(_) }) = self.rooms.of(class).copied() else { return };
        let lane = class as usize;
        let over = |entry: &&Entry| entry.until.is_some_and(|until| until <= now);
        let count = self.lanes[lane].iter().skip(capacity).take_while(over).count();
        if count > 0 {
            let gone: Vec<_> = self.lanes[lane].drain(capacity..capacity + count).collect();
            self.queued -= count;
            for entry in gone {
                self.leave(entry, DropReason::Expired, lost);
            }
        }
    }

    pub(super) fn expire_all(&mut self, lost: &mut Lost) {
        let full = |class: &EventClass| {
            self.rooms.of(*class).is_some_and(|room| {
                matches!(room.rule, Rule::Wait(_)) && self.lanes[*class as usize].len() > room.capacity
            })
        };
        let full: Vec<_> = EventClass::ALL.into_iter().filter(full).collect();
        if !full.is_empty() {
            let now = now();
            full.into_iter().for_each(|class| self.expire(class, now, lost));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "events wait in memory by the machine's time")]
pub(super) fn now() -> Instant {
    Instant::now()
}
