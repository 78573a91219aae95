//! Events that wait for a sink, with their account and their gaps: plain data behind somebody else's lock.

mod expiry;
mod inbox;
mod pending;
mod room;
mod spill;

use std::{collections::VecDeque, mem, sync::Arc, task::Poll, time::Instant};

pub use self::{
    room::{Room, Rooms, Rule},
    spill::{Beside, DiskJob, Parcel, Waiter},
};

use self::{
    expiry::now,
    inbox::{Chunk, Inbox},
    pending::Pending,
    spill::Away,
};
use super::{DropReason, Event, EventClass, EventKind, Losses, RunInfo, SinkAccount, Taken};

const LANES: usize = EventClass::ALL.len();

/// Bounded queues of events, one for each class, that are read in the order in which the events came.
///
/// It calls nothing of the user's: events that leave without being read are given to the caller, who drops them
/// when no lock is held.
#[derive(Debug)]
pub struct Backlog {
    rooms: Rooms,
    capacity: usize,
    lanes: [VecDeque<Entry>; LANES],
    inbox: Inbox,
    /// What is not in the lanes, for the classes that spill.
    away: Vec<Away>,
    gone: Vec<Parcel>,
    /// How many events of a class a sample was to be taken of.
    sampled: [u64; LANES],
    account: SinkAccount,
    pending: Pending,
    /// The place of the last event that came.
    tickets: u64,
    in_hand: Option<InHand>,
    queued: usize,
    highest: usize,
    is_high: bool,
    closed: bool,
    /// Gaps for a reader at the very end.
    last_words: Vec<Event>,
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    event: Event,
    class: EventClass,
    /// What of its run was lost between the event before it and this one.
    before: Option<Box<Losses>>,
    /// How long it may wait, while there is no room for it.
    until: Option<Instant>,
}

/// A batch that the sink has at the moment.
#[derive(Debug)]
struct InHand {
    ticket: u64,
    run: Arc<RunInfo>,
    ends: bool,
    /// All of its events, as if they were lost.
    losses: Losses,
    /// What its gaps tell.
    told: Losses,
}

/// What became of an event that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    Queued,
    /// It is queued for as long as it may wait for room.
    Waiting,
    /// It stands behind what is elsewhere, or goes there itself.
    Spilling,
    /// It is queued, and an older one is not any more.
    InPlace,
    Dropped(DropReason),
}

/// Events that left without being read, and why.
pub type Lost = Vec<(Event, DropReason)>;

impl Backlog {
    pub fn new(rooms: Rooms) -> Self {
        let mut backlog = Self {
            capacity: rooms.capacity(),
            rooms,
            lanes: Default::default(),
            inbox: Inbox::default(),
            away: Vec::new(),
            gone: Vec::new(),
            sampled: [0; LANES],
            account: SinkAccount::default(),
            pending: Pending::default(),
            tickets: 0,
            in_hand: None,
            queued: 0,
            highest: 0,
            is_high: false,
            closed: false,
            last_words: Vec::new(),
        };
        for class in EventClass::ALL {
            backlog.room(class).into_iter().for_each(|room| backlog.set_away(class, room));
        }
        backlog
    }

    pub fn account(&self) -> SinkAccount {
        self.account
    }

    /// How many events wait in memory, the ones in the hands of the sink not included.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// How many waited at most.
    pub fn highest(&self) -> usize {
        self.highest
    }

    /// Whether it has been four fifths full and not been down to one fifth since.
    pub fn is_high(&self) -> bool {
        self.is_high
    }

    /// The room of a class that has its own.
    pub fn room(&self, class: EventClass) -> Option<Room> {
        self.rooms.of(class).copied()
    }

    /// Replaces the room of a class that has its own.
    pub fn set_room(&mut self, class: EventClass, room: Room) {
        if let Rooms::Own(rooms) = &mut self.rooms {
            rooms[class as usize] = room;
            self.set_away(class, room);
        }
        self.capacity = self.rooms.capacity();
    }

    /// How much room there is in all.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many events the sink has at the moment.
    pub fn in_hand(&self) -> u64 {
        self.in_hand.as_ref().map_or(0, |batch| batch.losses.total())
    }

    /// Whether an event of this class would find room.
    pub fn has_room(&self, class: EventClass) -> bool {
        let length = self.lanes[class as usize].len() + self.inbox.of(class as usize);
        self.rooms.of(class).is_none_or(|room| length < room.capacity)
    }

    pub fn push(&mut self, event: Event, class: EventClass, lost: &mut Lost) -> Pushed {
        self.empty_inbox();
        self.account.emitted += 1;
        self.tickets += 1;
        let (verdict, until) = self.admit(&event, class, lost);
        if let Pushed::Dropped(reason) = verdict {
            self.drop_new(event, class, reason, lost);
            return verdict;
        }
        let before = self.pending.before(&event);
        self.account.in_flight += 1;
        self.come(1);
        let entry = Entry { ticket: self.tickets, event, class, before, until };
        if verdict == Pushed::Spilling {
            self.put_behind(entry);
        } else {
            let lane = self.lane(class);
            self.lanes[lane].push_back(entry);
        }
        verdict
    }

    /// So many more wait.
    fn come(&mut self, count: usize) {
        self.queued += count;
        self.highest = self.highest.max(self.queued);
        self.is_high |= self.queued * 5 >= self.capacity.saturating_mul(4);
    }

    /// So many do not wait any more.
    fn go(&mut self, count: usize) {
        self.queued -= count;
        self.is_high &= self.queued * 5 > self.capacity;
    }

    /// Counts an event that came and is not let in.
    pub fn refuse(&mut self, event: Event, class: EventClass, reason: DropReason, lost: &mut Lost) {
        self.account.emitted += 1;
        self.tickets += 1;
        self.drop_new(event, class, reason, lost);
    }

    fn drop_new(&mut self, event: Event, class: EventClass, reason: DropReason, lost: &mut Lost) {
        self.account.drop_for(reason, 1);
        self.pending.lose(&event, class, reason);
        lost.push((event, reason));
    }

    /// What is shared has one lane.
    fn lane(&self, class: EventClass) -> usize {
        if self.rooms.of(class).is_some() { class as usize } else { 0 }
    }

    fn admit(&mut self, event: &Event, class: EventClass, lost: &mut Lost) -> (Pushed, Option<Instant>) {
        let dropped = |reason| (Pushed::Dropped(reason), None);
        if self.closed {
            return dropped(DropReason::Closed);
        }
        let Some(room) = self.rooms.of(class).copied() else {
            let room = self.rooms.shared_room(event.kind());
            let full = usize::try_from(self.account.in_flight).unwrap_or(usize::MAX) >= room;
            return if full { dropped(DropReason::Full) } else { (Pushed::Queued, None) };
        };
        let length = self.lanes[class as usize].len();
        if let Rule::Sample(keep) = room.rule
            && length >= room.capacity / 2
        {
            let seen = &mut self.sampled[class as usize];
            *seen += 1;
            if !seen.is_multiple_of(u64::from(keep.max(1))) {
                return dropped(DropReason::Sampled);
            }
        }
        if let Rule::Spill(_) = room.rule
            && let Some(has_room) = self.waits_behind(class, room.capacity)
        {
            return if has_room { (Pushed::Spilling, None) } else { dropped(DropReason::Full) };
        }
        if length < room.capacity {
            return (Pushed::Queued, None);
        }
        match room.rule {
            Rule::DropOldest => match self.lanes[class as usize].pop_front() {
                Some(oldest) => {
                    self.queued -= 1;
                    self.leave(oldest, DropReason::Evicted, lost);
                    (Pushed::InPlace, None)
                }
                None => dropped(DropReason::Full),
            },
            Rule::Wait(time) => {
                let now = now();
                self.expire(class, now, lost);
                let until = now.checked_add(time);
                if self.lanes[class as usize].len() < room.capacity.saturating_mul(2) {
                    (Pushed::Waiting, until)
                } else {
                    dropped(DropReason::Full)
                }
            }
            Rule::DropNewest | Rule::Sample(_) | Rule::Spill(_) => dropped(DropReason::Full),
        }
    }

    fn prepare(&mut self, lost: &mut Lost) {
        self.expire_all(lost);
        if !self.away.is_empty() {
            self.move_up();
        }
        self.refill();
    }

    /// An entry that was queued is lost.
    fn leave(&mut self, entry: Entry, reason: DropReason, lost: &mut Lost) {
        self.account.in_flight -= 1;
        self.account.drop_for(reason, 1);
        if let Some(before) = &entry.before {
            self.pending.lose_early(entry.event.run(), entry.ticket, before);
        }
        self.pending.lose_queued(&entry.event, entry.ticket, entry.class, reason);
        lost.push((entry.event, reason));
    }

    /// The lane whose front, at hand or not, came first, and the place up to which no other lane has anything.
    fn first_lane(&self) -> Option<(usize, u64)> {
        let (mut first, mut limit) = (None, u64::MAX);
        for lane in 0..LANES {
            let Some(ticket) = self.first_of(lane) else { continue };
            match first {
                Some((_, earlier)) if earlier < ticket => limit = limit.min(ticket),
                _ => {
                    limit = first.map_or(u64::MAX, |(_, later)| later);
                    first = Some((lane, ticket));
                }
            }
        }
        first.map(|(lane, _)| (lane, limit))
    }

    /// The gap before the next event, or the event itself with its class.
    fn step(&mut self) -> Option<(Event, Option<EventClass>)> {
        let (lane, _) = self.first_lane()?;
        self.step_in(lane)
    }

    fn step_in(&mut self, lane: usize) -> Option<(Event, Option<EventClass>)> {
        let front = self.lanes[lane].front_mut()?;
        let before = front.before.take();
        if (before.is_some() || !self.pending.is_empty())
            && let Some(losses) = self.pending.gap_before(&front.event, front.ticket, before)
        {
            let (run, seq) = (Arc::clone(front.event.run()), front.event.seq());
            let nanos = front.event.record().nanos;
            return Some((Event::gap(run, seq.saturating_sub(1), nanos, losses), None));
        }
        let entry = self.lanes[lane].pop_front()?;
        self.go(1);
        Some((entry.event, Some(entry.class)))
    }

    /// The next event for a reader who takes one at a time.
    pub fn pop(&mut self, lost: &mut Lost) -> Option<Event> {
        self.prepare(lost);
        let (event, class) = self.step()?;
        if class.is_some() {
            self.account.in_flight -= 1;
            self.account.delivered += 1;
        }
        Some(event)
    }

    /// The next event for a reader who waits for one; after the last one of a closed backlog come the gaps that are left, and `None`.
    pub fn poll_pop(&mut self, lost: &mut Lost) -> Poll<Option<Event>> {
        if let Some(event) = self.pop(lost) {
            return Poll::Ready(Some(event));
        }
        if !self.closed {
            return Poll::Pending;
        }
        if self.has_untold() {
            self.last_words = self.take_untold();
        }
        Poll::Ready(self.last_words.pop())
    }

    /// The next events, all of one run, at most so many. They are in flight until [`settle`](Self::settle).
    pub fn take(&mut self, most: usize, lost: &mut Lost) -> Vec<Event> {
        if let Some(Chunk { ticket, events, counts }) = self.take_chunk(most) {
            return self.give(ticket, events, counts, Losses::default());
        }
        self.prepare(lost);
        let mut batch = Vec::new();
        let Some((lane, _)) = self.first_lane() else { return batch };
        let Some(first) = self.lanes[lane].front() else { return batch };
        let (run, ticket) = (Arc::clone(first.event.run()), first.ticket);
        batch.reserve(most.min(self.queued) + 1);
        let (mut count, mut classes, mut told) = (0, [0; LANES], Losses::default());
        while let Some((lane, limit)) = self.first_lane() {
            let next = |entry: &Entry| entry.ticket < limit && entry.event.is_of(&run);
            let before = batch.len();
            while count < most && self.lanes[lane].front().is_some_and(next) {
                let Some((event, class)) = self.step_in(lane) else { break };
                if let Some(class) = class {
                    count += 1;
                    classes[class as usize] += 1;
                } else if let EventKind::Gap { losses, .. } = event.kind() {
                    told.merge(losses);
                }
                batch.push(event);
            }
            if batch.len() == before {
                break;
            }
        }
        self.give(ticket, batch, classes, told)
    }

    /// Remembers what the sink has from now on.
    fn give(&mut self, ticket: u64, batch: Vec<Event>, classes: [usize; LANES], told: Losses) -> Vec<Event> {
        let Some(run) = batch.first().map(|first| Arc::clone(first.run())) else { return batch };
        let classes = classes.map(|count| count as u64);
        let ends = batch.last().is_some_and(|last| matches!(last.kind(), EventKind::PipelineEnded { .. }));
        let numbers = batch.first().zip(batch.last()).map(|(first, last)| (first.seq(), last.seq()));
        let losses = Losses::of_batch(classes, DropReason::Panic, numbers);
        self.in_hand = Some(InHand { ticket, run, ends, losses, told });
        batch
    }

    /// What became of the events that [`take`](Self::take) gave last.
    ///
    /// `None` says that the sink panicked on all of them. Gives what they shared, to be dropped when no lock is held: there may
    /// be nobody else who has it.
    pub fn settle(&mut self, taken: Option<Taken>) -> Option<Arc<RunInfo>> {
        let InHand { ticket, run, ends, losses, told } = self.in_hand.take()?;
        let count = losses.total();
        let taken = taken.unwrap_or(Taken { losses, untold: told, ..Taken::default() });
        let dropped = taken.losses.total().min(count);
        self.account.in_flight -= count;
        self.account.delivered += count - dropped;
        let mut left = dropped;
        for reason in DropReason::ALL {
            let lost = taken.losses.for_reason(reason).min(left);
            self.account.drop_for(reason, lost);
            left -= lost;
        }
        for losses in [&taken.untold, &taken.losses].into_iter().filter(|losses| !losses.is_empty()) {
            self.pending.lose_early(&run, ticket, losses);
        }
        if ends {
            self.pending.end(run.run_id());
        }
        Some(run)
    }

    /// Whether nothing waits and nothing is in the hands of the sink.
    pub fn is_settled(&self) -> bool {
        self.queued == 0 && self.in_hand.is_none() && !self.is_away()
    }

    /// Whether gaps wait for an event that may never come.
    pub fn has_untold(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The place of the last event that came.
    pub fn last(&self) -> u64 {
        self.tickets
    }

    /// Whether everything up to this place was delivered or dropped.
    pub fn is_settled_to(&self, ticket: u64) -> bool {
        let queued = (0..LANES).filter_map(|lane| self.first_of(lane));
        let in_hand = self.in_hand.iter().map(|batch| batch.ticket);
        queued.chain(self.inbox.first()).chain(in_hand).all(|open| open > ticket)
    }

    /// One gap for each run whose losses no event has told yet.
    pub fn take_untold(&mut self) -> Vec<Event> {
        self.pending.take_all()
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// From now on every event is dropped.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Drops what waits; the number of those.
    pub fn abandon(&mut self, lost: &mut Lost) -> u64 {
        self.closed = true;
        self.empty_inbox();
        let lanes = mem::take(&mut self.lanes);
        self.queued = 0;
        self.is_high = false;
        let before = self.account.dropped_abandoned;
        for entry in lanes.into_iter().flatten() {
            self.leave(entry, DropReason::Abandoned, lost);
        }
        self.abandon_away(lost);
        self.account.dropped_abandoned - before
    }
}

#[cfg(test)]
mod tests;
