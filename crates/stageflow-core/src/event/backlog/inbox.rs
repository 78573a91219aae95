//! Many events at once, where none of them needs a look of its own: they wait as they came.

use std::collections::VecDeque;

use super::{Backlog, Entry, Event, LANES, Lost, Room, Rooms, Rule};

/// How many events that came one after the other are kept together.
const TOGETHER: usize = 256;

/// Events that found room and have nothing told before them. They stand behind everything in the lanes.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    chunks: VecDeque<Chunk>,
    /// How many there are of each class.
    counts: [usize; LANES],
    len: usize,
}

/// Events of one run, in neighbouring places.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The place of the first one.
    pub(super) ticket: u64,
    pub(super) events: Vec<Event>,
    pub(super) counts: [usize; LANES],
}

impl Chunk {
    /// Whether the next events can be kept with it.
    fn goes_on_with(&self, events: &[Event]) -> bool {
        let runs = self.events.first().zip(events.first());
        self.events.len() + events.len() <= TOGETHER
            && runs.is_some_and(|(ours, next)| ours.is_of(next.run()))
    }
}

impl Inbox {
    pub(super) fn of(&self, class: usize) -> usize {
        self.counts[class]
    }

    /// The place of the first event.
    pub(super) fn first(&self) -> Option<u64> {
        self.chunks.front().map(|chunk| chunk.ticket)
    }

    /// The place is the one behind the last event of all: one that is refused leaves something to be told.
    fn push(&mut self, ticket: u64, mut events: Vec<Event>, counts: [usize; LANES]) {
        self.len += events.len();
        add(&mut self.counts, &counts);
        if let Some(last) = self.chunks.back_mut().filter(|last| last.goes_on_with(&events)) {
            last.events.append(&mut events);
            add(&mut last.counts, &counts);
            return;
        }
        if events.capacity() > events.len() * 2 {
            events.shrink_to_fit();
        }
        self.chunks.push_back(Chunk { ticket, events, counts });
    }

    fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.len -= chunk.events.len();
        self.counts.iter_mut().zip(chunk.counts).for_each(|(all, gone)| *all -= gone);
        Some(chunk)
    }
}

fn add(counts: &mut [usize; LANES], more: &[usize; LANES]) {
    counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
}

impl Backlog {
    /// Queues events, each of its own class: all of one run, or gaps of several that another queue has told at its end. As with
    /// [`push`](Self::push) one by one.
    pub fn push_all(&mut self, events: Vec<Event>, lost: &mut Lost) {
        let mut counts = [0; LANES];
        events.iter().for_each(|event| counts[event.kind().class() as usize] += 1);
        let may_be_of_several = events.first().is_some_and(Event::is_gap);
        if may_be_of_several
            || self.closed
            || !self.pending.is_empty()
            || self.is_away()
            || !self.have_room(&counts)
        {
            for event in events {
                let class = event.kind().class();
                self.push(event, class, lost);
            }
            return;
        }
        let (first, count) = (self.tickets + 1, events.len());
        self.tickets += count as u64;
        self.account.emitted += count as u64;
        self.account.in_flight += count as u64;
        self.come(count);
        if count > 0 {
            self.inbox.push(first, events, counts);
        }
    }

    /// Whether all of these would be let in, whatever they are.
    fn have_room(&self, counts: &[usize; LANES]) -> bool {
        let fits = |(class, count): (usize, &usize), room: &Room| {
            let room = if let Rule::Sample(_) = room.rule { room.capacity / 2 } else { room.capacity };
            *count == 0 || self.lanes[class].len() + self.inbox.of(class) + count <= room
        };
        match &self.rooms {
            Rooms::Own(rooms) => {
                counts.iter().enumerate().zip(rooms).all(|(of_class, room)| fits(of_class, room))
            }
            Rooms::Shared(capacity) => {
                let in_flight = usize::try_from(self.account.in_flight).unwrap_or(usize::MAX);
                in_flight.saturating_add(counts.iter().sum()) <= capacity - capacity / 8
            }
        }
    }

    /// Whether there is something in the lanes, or elsewhere.
    fn is_only_inbox(&self) -> bool {
        self.queued == self.inbox.len && self.inbox.len > 0
    }

    /// The next events as they came, if there is nothing else to be done.
    pub(super) fn take_chunk(&mut self, most: usize) -> Option<Chunk> {
        if !self.is_only_inbox() || !self.pending.is_empty() {
            return None;
        }
        self.inbox.chunks.front().filter(|chunk| chunk.events.len() <= most)?;
        let chunk = self.inbox.pop()?;
        self.go(chunk.events.len());
        Some(chunk)
    }

    /// Puts the next events into the lanes if nothing is there.
    pub(super) fn refill(&mut self) {
        if self.is_only_inbox()
            && let Some(chunk) = self.inbox.pop()
        {
            self.unpack(chunk);
        }
    }

    /// Puts everything into the lanes, where each event can be looked at.
    pub(super) fn empty_inbox(&mut self) {
        while let Some(chunk) = self.inbox.pop() {
            self.unpack(chunk);
        }
    }

    fn unpack(&mut self, chunk: Chunk) {
        for (ticket, event) in (chunk.ticket..).zip(chunk.events) {
            let class = event.kind().class();
            let lane = self.lane(class);
            self.lanes[lane].push_back(Entry { ticket, event, class, before: None, until: None });
        }
    }
}
