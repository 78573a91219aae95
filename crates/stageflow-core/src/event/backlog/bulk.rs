//! Many events at once, where none of them needs a look of its own.

use super::{Backlog, Entry, Event, Given, LANES};

impl Backlog {
    /// Queues events at once, if all have one room, it is sure to hold them, and nothing is to be told before them. Gives them back
    /// otherwise: to be pushed one by one.
    pub fn push_all<E: Given, I: ExactSizeIterator<Item = E>>(&mut self, events: I) -> Option<I> {
        let count = events.len();
        let in_flight = usize::try_from(self.account.in_flight).unwrap_or(usize::MAX);
        let fits = self.rooms.sure_room().is_some_and(|room| in_flight.saturating_add(count) <= room);
        if !fits || self.closed || !self.pending.is_empty() {
            return Some(events);
        }
        let lane = &mut self.lanes[0];
        lane.reserve(count);
        for given in events {
            self.tickets += 1;
            let event = given.keep();
            let class = event.kind().class();
            lane.push_back(Entry { ticket: self.tickets, event, class, before: None, until: None });
        }
        self.account.emitted += count as u64;
        self.account.in_flight += count as u64;
        self.queued += count;
        self.highest = self.highest.max(self.queued);
        self.is_high |= self.queued * 5 >= self.capacity.saturating_mul(4);
        None
    }

    /// Takes the next events of a lane as long as no gap stands before them; how many.
    pub(super) fn take_whole(
        &mut self,
        lane: usize,
        most: usize,
        is_next: impl Fn(&Entry) -> bool,
        classes: &mut [u64; LANES],
        batch: &mut Vec<Event>,
    ) -> usize {
        if !self.pending.is_empty() {
            return 0;
        }
        let lane = &mut self.lanes[lane];
        let next = lane.iter().take(most).take_while(|entry| is_next(entry));
        let taken = next.map(|entry| classes[entry.class as usize] += 1).count();
        batch.extend(lane.drain(..taken).map(|entry| entry.event));
        self.queued -= taken;
        self.is_high &= self.queued * 5 > self.capacity;
        taken
    }
}
