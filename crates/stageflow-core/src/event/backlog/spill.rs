//! Events of a class that wait outside of memory: which are where, without the files.

use std::{collections::VecDeque, mem, sync::Arc};

use super::{Backlog, Entry, Losses, Lost, Room, Rule};
pub use crate::event::codec::Beside;
use crate::event::{
    DropReason, Event, EventClass, EventKind, RunInfo,
    codec::{byte, decode, encode, long, losses, put, put_losses},
};

/// How many events are worth a write, and how many are written and read at a time.
const WORTH: usize = 256;
const MOST: usize = 1_024;
const LEAST: usize = 64;

/// What of a class is not in its lane: it stands behind all that is.
#[derive(Debug)]
pub(super) struct Away {
    lane: usize,
    /// How many events there may be in the tail.
    room: usize,
    /// What is elsewhere, or on the way.
    parcels: VecDeque<Parcel>,
    /// What came after it, and is in memory still.
    pub(super) tail: VecDeque<Entry>,
}

/// Events that are elsewhere together, as if they were lost.
#[derive(Debug)]
pub struct Parcel {
    /// The place of its first event: no other has it.
    id: u64,
    count: u64,
    is_written: bool,
    is_read: bool,
    stakes: Vec<Stake>,
}

/// What a parcel has of one run.
#[derive(Debug)]
struct Stake {
    run: Arc<RunInfo>,
    ticket: u64,
    ends: bool,
    events: Losses,
    /// What gaps before its events would tell.
    before: Losses,
}

/// What is to be done outside of the lock.
#[derive(Debug)]
pub enum DiskJob {
    /// To write these; [`written`](Backlog::written) says how it went.
    Write(EventClass, u64, Vec<Waiter>),
    /// To read a parcel; [`came_back`](Backlog::came_back) says how it went.
    Read(EventClass, u64),
}

/// An event that waits, with all that the backlog knows of it.
#[derive(Debug)]
pub struct Waiter(Entry);

impl Waiter {
    /// Writes it behind what there is. It calls `Display` of a failure's error.
    pub fn encode(&self, beside: &mut Beside, out: &mut Vec<u8>) {
        let Entry { ticket, event, class, before, until: _ } = &self.0;
        put(out, &ticket.to_le_bytes());
        out.push(*class as u8);
        out.push(u8::from(before.is_some()));
        before.iter().for_each(|before| put_losses(out, before));
        encode(event, beside, out);
    }

    /// Reads one, and leaves what stands behind it.
    pub fn decode(input: &mut &[u8], beside: &Beside) -> Option<Self> {
        let ticket = long(input)?;
        let class = *EventClass::ALL.get(usize::from(byte(input)?))?;
        let before = if byte(input)? == 1 { Some(Box::new(losses(input)?)) } else { None };
        let event = decode(input, beside)?;
        Some(Self(Entry { ticket, event, class, before, until: None }))
    }

    pub fn event(&self) -> &Event {
        &self.0.event
    }
}

impl Parcel {
    fn of<'a>(id: u64, entries: impl Iterator<Item = &'a Entry>) -> Self {
        let mut parcel = Self { id, count: 0, is_written: false, is_read: false, stakes: Vec::new() };
        entries.for_each(|entry| parcel.add(entry));
        parcel
    }

    fn add(&mut self, Entry { ticket, event, class, before, .. }: &Entry) {
        self.count += 1;
        let run = event.run();
        let known = self.stakes.iter().rposition(|stake| Arc::ptr_eq(&stake.run, run));
        let place = known.unwrap_or_else(|| {
            let (events, before) = Default::default();
            self.stakes.push(Stake { run: Arc::clone(run), ticket: *ticket, ends: false, events, before });
            self.stakes.len() - 1
        });
        let stake = &mut self.stakes[place];
        stake.events.add(event, *class, DropReason::Unread);
        before.iter().for_each(|before| stake.before.merge(before));
        stake.ends |= matches!(event.kind(), EventKind::PipelineEnded { .. });
    }
}

impl Away {
    fn new(lane: usize, room: usize) -> Self {
        Self { lane, room: room.max(1), parcels: VecDeque::new(), tail: VecDeque::new() }
    }

    fn is_empty(&self) -> bool {
        self.parcels.is_empty() && self.tail.is_empty()
    }

    fn first(&self) -> Option<u64> {
        let written = self.parcels.front().map(|parcel| parcel.id);
        written.or_else(|| self.tail.front().map(|entry| entry.ticket))
    }

    fn wants_to_write(&self) -> bool {
        self.tail.len() >= (self.room / 4).clamp(1, WORTH)
    }

    fn wants_to_read(&self, length: usize, capacity: usize) -> bool {
        length <= capacity / 2
            && self.parcels.front().is_some_and(|parcel| parcel.is_written && !parcel.is_read)
    }
}

impl Backlog {
    /// The room of a class has changed.
    pub(super) fn set_away(&mut self, class: EventClass, room: Room) {
        self.away.retain(|away| away.lane != class as usize);
        if let Rule::Spill(tail) = room.rule {
            self.away.push(Away::new(class as usize, tail));
        }
    }

    fn away_of(&mut self, class: EventClass) -> Option<&mut Away> {
        self.away.iter_mut().find(|away| away.lane == class as usize)
    }

    /// Whether an event has to wait behind others, and whether there is room for it there.
    pub(super) fn waits_behind(&self, class: EventClass, capacity: usize) -> Option<bool> {
        let away = self.away.iter().find(|away| away.lane == class as usize)?;
        let waits = !away.is_empty() || self.lanes[away.lane].len() >= capacity;
        waits.then_some(away.tail.len() < away.room)
    }

    /// Puts an entry behind what is elsewhere.
    pub(super) fn put_behind(&mut self, entry: Entry) {
        if let Some(away) = self.away_of(entry.class) {
            away.tail.push_back(entry);
        }
    }

    /// The place of the first event of a lane, wherever it is.
    pub(super) fn first_of(&self, lane: usize) -> Option<u64> {
        match self.lanes[lane].front() {
            Some(entry) => Some(entry.ticket),
            None => self.away.iter().find(|away| away.lane == lane)?.first(),
        }
    }

    /// What is in memory moves up where nothing stands before it.
    pub(super) fn move_up(&mut self) {
        for away in self.away.iter_mut().filter(|away| away.parcels.is_empty() && !away.tail.is_empty()) {
            let Some(class) = EventClass::ALL.get(away.lane) else { continue };
            let capacity = self.rooms.of(*class).map_or(0, |room| room.capacity);
            let lane = &mut self.lanes[away.lane];
            let count = capacity.saturating_sub(lane.len()).min(away.tail.len());
            lane.extend(away.tail.drain(..count));
        }
    }

    /// How many events of a class are elsewhere, or on the way.
    pub fn away_in(&self, class: EventClass) -> u64 {
        let of_class = self.away.iter().filter(|away| away.lane == class as usize);
        of_class.flat_map(|away| &away.parcels).map(|parcel| parcel.count).sum()
    }

    /// Whether some events are not at hand.
    pub fn is_away(&self) -> bool {
        self.away.iter().any(|away| !away.is_empty())
    }

    /// Whether there is a [`DiskJob`].
    pub fn has_disk_job(&self) -> bool {
        self.away.iter().any(|away| self.may_write(away) || self.may_read(away))
    }

    fn may_write(&self, away: &Away) -> bool {
        // What is in memory when nothing comes any more may as well stay there.
        !self.closed && away.wants_to_write()
    }

    fn may_read(&self, away: &Away) -> bool {
        away.wants_to_read(self.lanes[away.lane].len(), self.capacity_of(away.lane))
    }

    fn capacity_of(&self, lane: usize) -> usize {
        EventClass::ALL.get(lane).and_then(|class| self.rooms.of(*class)).map_or(0, |room| room.capacity)
    }

    /// What is to be done next; reading and writing by turns, where there is both.
    pub fn disk_job(&mut self, was_read: bool) -> Option<DiskJob> {
        let read = |backlog: &mut Self| {
            let may = backlog.away.iter().filter(|away| backlog.may_read(away));
            let lane = may.min_by_key(|away| away.first())?.lane;
            let away = backlog.away.iter_mut().find(|away| away.lane == lane)?;
            let parcel = away.parcels.front_mut()?;
            parcel.is_read = true;
            Some(DiskJob::Read(EventClass::ALL[lane], parcel.id))
        };
        let write = |backlog: &mut Self| {
            let may = backlog.away.iter().filter(|away| backlog.may_write(away));
            let lane = may.max_by_key(|away| away.tail.len())?.lane;
            let most = (backlog.capacity_of(lane) / 2).clamp(LEAST, MOST);
            let away = backlog.away.iter_mut().find(|away| away.lane == lane)?;
            let count = most.min(away.tail.len());
            let waiters: Vec<_> = away.tail.drain(..count).map(Waiter).collect();
            let id = waiters.first()?.0.ticket;
            away.parcels.push_back(Parcel::of(id, waiters.iter().map(|waiter| &waiter.0)));
            backlog.go(count);
            backlog.account.spilled += count as u64;
            Some(DiskJob::Write(EventClass::ALL[lane], id, waiters))
        };
        if was_read { write(self).or_else(|| read(self)) } else { read(self).or_else(|| write(self)) }
    }

    /// A parcel is elsewhere, but for these. Gives back what is not needed any more.
    pub fn written(
        &mut self,
        class: EventClass,
        id: u64,
        kept: &[Waiter],
        lost: Vec<(Waiter, DropReason)>,
        gone: &mut Lost,
    ) -> Option<Parcel> {
        let away = self.away_of(class)?;
        let place = away.parcels.iter().position(|parcel| parcel.id == id);
        let Some(place) = place else {
            // It was abandoned meanwhile, and counted.
            gone.extend(lost.into_iter().map(|(waiter, _)| (waiter.0.event, DropReason::Abandoned)));
            return None;
        };
        let parcel = &mut away.parcels[place];
        parcel.is_written = true;
        if lost.is_empty() {
            return None;
        }
        let mut rest = Parcel::of(id, kept.iter().map(|waiter| &waiter.0));
        rest.is_written = true;
        let before = mem::replace(parcel, rest);
        if kept.is_empty() {
            away.parcels.remove(place);
        }
        self.account.spilled -= lost.len() as u64;
        for (waiter, reason) in lost {
            self.leave(waiter.0, reason, gone);
        }
        Some(before)
    }

    /// A parcel was read, or could not be. Gives back what is not needed any more.
    pub fn came_back(
        &mut self,
        class: EventClass,
        id: u64,
        read: Option<Vec<Waiter>>,
    ) -> (Option<Parcel>, Option<Vec<Waiter>>) {
        let Some(away) = self.away_of(class) else { return (None, read) };
        let Some(parcel) = away.parcels.pop_front_if(|parcel| parcel.id == id) else { return (None, read) };
        self.account.spilled -= parcel.count;
        let Some(read) = read else {
            self.lose_parcel(&parcel, DropReason::Unread);
            return (Some(parcel), None);
        };
        self.queued += read.len();
        self.highest = self.highest.max(self.queued);
        self.lanes[class as usize].extend(read.into_iter().map(|waiter| waiter.0));
        (Some(parcel), None)
    }

    fn lose_parcel(&mut self, parcel: &Parcel, reason: DropReason) {
        self.account.in_flight -= parcel.count;
        self.account.drop_for(reason, parcel.count);
        for stake in &parcel.stakes {
            let losses = Losses::of_batch(stake.events.classes, reason, stake.events.numbers);
            self.pending.lose_early(&stake.run, stake.ticket, &losses);
            if !stake.before.is_empty() {
                self.pending.lose_early(&stake.run, stake.ticket, &stake.before);
            }
            if stake.ends {
                self.pending.end(stake.run.run_id());
            }
        }
    }

    /// Drops what is not at hand.
    pub(super) fn abandon_away(&mut self, lost: &mut Lost) {
        self.lose_parcels(DropReason::Abandoned);
        let tails: Vec<_> = self.away.iter_mut().flat_map(|away| mem::take(&mut away.tail)).collect();
        for entry in tails {
            self.leave(entry, DropReason::Abandoned, lost);
        }
    }

    /// Nobody reads what is elsewhere.
    pub fn lose_parcels(&mut self, reason: DropReason) {
        let parcels: Vec<_> = self.away.iter_mut().flat_map(|away| mem::take(&mut away.parcels)).collect();
        for parcel in &parcels {
            self.account.spilled -= parcel.count;
            self.lose_parcel(parcel, reason);
        }
        self.gone.extend(parcels);
    }

    /// What nobody will read, to be dropped when no lock is held.
    pub fn take_gone(&mut self) -> Vec<Parcel> {
        mem::take(&mut self.gone)
    }
}
