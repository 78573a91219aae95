//! The decisions of a limiter: who is in, who waits, who goes next. Events in, decisions out, without time, locks or wakers.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::ramp::Ramp;

/// What becomes of one who comes when no more may wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// They wait all the same, each in their own place: a map reads no further item.
    #[default]
    Wait,
    /// They are refused, which is a failure.
    Reject,
    /// Whoever waits longest is dropped in their favour, which is no failure.
    DropOldest,
    /// They are dropped themselves, which is no failure.
    DropNewest,
    /// They go on without a permit, in the place of who called: a map reads no further item until this one has ended.
    CallerRuns,
}

/// Who goes next. Of equals, who came first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueOrder {
    /// Who came first.
    #[default]
    Fifo,
    /// Who came last.
    Lifo,
    /// The highest priority.
    Priority,
    /// The earliest deadline; who has none comes after those who have.
    EarliestDeadline,
}

/// What a limiter is furnished with.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) limit: usize,
    pub(crate) key_limit: Option<usize>,
    pub(crate) max_queue: usize,
    pub(crate) overflow: Overflow,
    pub(crate) order: QueueOrder,
    pub(crate) ramp_from: Option<usize>,
}

/// What one who comes asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) weight: usize,
    /// Sorted, each once.
    pub(crate) keys: Vec<Arc<str>>,
    pub(crate) priority: i32,
    /// On a clock of the caller's.
    pub(crate) due: Option<u64>,
    /// Before all others of the same rank: who has waited before.
    pub(crate) again: bool,
    /// Part of one who is in, and who would wait for it: it does not wait.
    pub(crate) nested: bool,
}

/// What one who is in gives back.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) weight: usize,
    pub(crate) asked: usize,
    pub(crate) keys: Vec<Arc<str>>,
}

/// What becomes of one who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// In, with so many permits.
    Granted(usize),
    /// Waits, under this number.
    Queued(u64),
    /// The queue is full, or they do not wait.
    Refused,
    /// The queue is full, and they gave way.
    Dropped,
    /// They go on without a permit.
    CallerRuns,
}

/// What has become of one who waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Granted(usize),
    Dropped,
}

/// What has happened so far: `offered = granted + refused + dropped + left + waiting` at every instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) offered: u64,
    pub(crate) granted: u64,
    pub(crate) refused: u64,
    pub(crate) dropped: u64,
    pub(crate) left: u64,
    pub(crate) by_caller: u64,
    pub(crate) peak: usize,
}

/// The class, and the place in it: the least goes first.
type Rank = (i64, i64);

const LAST: Rank = (i64::MAX, i64::MAX);

#[derive(Debug)]
struct Waiter<W> {
    ask: Ask,
    rank: Rank,
    /// The key it is parked at, by its place in `ask.keys`.
    parked: Option<usize>,
    how: W,
}

#[derive(Debug, Default)]
struct Key {
    in_use: usize,
    /// Those who could not go because of this key. The first of them does not fit.
    parked: BTreeMap<Rank, u64>,
}

/// Who is in, and who waits. `W` is how those who wait are told.
#[derive(Debug)]
pub(crate) struct State<W> {
    pub(crate) limits: Limits,
    ramp: Ramp,
    pub(crate) in_use: usize,
    pub(crate) holders: usize,
    /// By age.
    waiters: BTreeMap<u64, Waiter<W>>,
    /// Those whom no key keeps.
    queue: BTreeMap<Rank, u64>,
    /// Those in use, or with somebody who waits: there is nothing to remember of others.
    keys: HashMap<Arc<str>, Key>,
    /// Told to those who have waited when they look.
    fates: BTreeMap<u64, Fate>,
    next: u64,
    pub(crate) counts: Counts,
}

impl<W> State<W> {
    pub(crate) fn new(limits: Limits) -> Self {
        let ramp = Ramp::new(limits.ramp_from, limits.limit);
        Self {
            limits,
            ramp,
            in_use: 0,
            holders: 0,
            waiters: BTreeMap::new(),
            queue: BTreeMap::new(),
            keys: HashMap::new(),
            fates: BTreeMap::new(),
            next: 0,
            counts: Counts::default(),
        }
    }

    /// How many permits there are now: less than the limit while it ramps up.
    pub(crate) fn allowed(&self) -> usize {
        self.ramp.allowed(self.limits.limit)
    }

    pub(crate) fn queued(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Somebody comes, with a way to be told if they would wait. Those in `told` have to be told.
    pub(crate) fn offer(&mut self, ask: &Ask, how: Option<W>, told: &mut Vec<W>) -> Offer {
        self.counts.offered += 1;
        if self.queue.is_empty()
            && let Some(weight) = self.fits(ask.weight)
            && !ask.keys.iter().any(|key| self.is_kept(key, ask.weight, LAST))
        {
            self.grant(ask, weight);
            return Offer::Granted(weight);
        }
        if ask.nested {
            return self.by_caller();
        }
        let Some(how) = how else {
            self.counts.refused += 1;
            return Offer::Refused;
        };
        let number = self.join(ask.clone(), how);
        self.pump(told);
        match self.fates.remove(&number) {
            // Nobody has to tell them.
            Some(Fate::Granted(weight)) => Offer::Granted(weight),
            Some(Fate::Dropped) => Offer::Dropped,
            None if self.waiters.len() <= self.limits.max_queue => Offer::Queued(number),
            None => self.overflow(number, told),
        }
    }

    fn by_caller(&mut self) -> Offer {
        self.counts.granted += 1;
        self.counts.by_caller += 1;
        Offer::CallerRuns
    }

    fn overflow(&mut self, number: u64, told: &mut Vec<W>) -> Offer {
        let oldest = self.waiters.keys().next().copied().filter(|oldest| *oldest != number);
        match (self.limits.overflow, oldest) {
            (Overflow::Wait, _) => Offer::Queued(number),
            (Overflow::DropOldest, Some(oldest)) => {
                if let Some(dropped) = self.remove(oldest) {
                    self.counts.dropped += 1;
                    self.fates.insert(oldest, Fate::Dropped);
                    told.push(dropped.how);
                }
                self.pump(told);
                match self.fates.remove(&number) {
                    Some(Fate::Granted(weight)) => Offer::Granted(weight),
                    _ => Offer::Queued(number),
                }
            }
            (overflow, _) => {
                let _gone = self.remove(number);
                self.pump(told);
                match overflow {
                    Overflow::CallerRuns => self.by_caller(),
                    Overflow::DropOldest | Overflow::DropNewest => {
                        self.counts.dropped += 1;
                        Offer::Dropped
                    }
                    Overflow::Reject | Overflow::Wait => {
                        self.counts.refused += 1;
                        Offer::Refused
                    }
                }
            }
        }
    }

    /// What has become of one who waited, or how they are told. Once told, they are forgotten.
    pub(crate) fn look(&mut self, number: u64) -> Result<Fate, Option<&mut W>> {
        match self.fates.remove(&number) {
            Some(fate) => Ok(fate),
            None => Err(self.waiters.get_mut(&number).map(|waiter| &mut waiter.how)),
        }
    }

    /// One who waits gives up; what they were handed meanwhile goes on.
    pub(crate) fn leave(&mut self, number: u64, ask: &Ask, told: &mut Vec<W>) -> Option<W> {
        match self.fates.remove(&number) {
            Some(Fate::Granted(weight)) => {
                let held = Held { weight, asked: ask.weight, keys: ask.keys.clone() };
                self.release(&held, told);
            }
            Some(Fate::Dropped) => {}
            None => {
                let left = self.remove(number)?;
                self.counts.left += 1;
                self.pump(told);
                return Some(left.how);
            }
        }
        None
    }

    /// One who was in leaves.
    pub(crate) fn release(&mut self, held: &Held, told: &mut Vec<W>) {
        self.in_use -= held.weight;
        self.holders -= 1;
        self.ramp.ended(self.limits.limit);
        for key in &held.keys {
            if let Some(known) = self.keys.get_mut(key) {
                known.in_use -= key_weight(self.limits.key_limit, held.asked);
            }
            self.unpark(key);
        }
        self.pump(told);
    }

    /// Other limits from now on. Those who are in stay in.
    pub(crate) fn set_limit(&mut self, limit: usize, told: &mut Vec<W>) {
        self.limits.limit = limit;
        self.pump(told);
    }

    /// With how many permits one of that weight could go. Who asks for more than there are takes all.
    fn fits(&self, weight: usize) -> Option<usize> {
        let allowed = self.allowed();
        let weight = weight.min(allowed);
        (allowed > 0 && self.in_use + weight <= allowed).then_some(weight)
    }

    fn key_fits(&self, key: &str, weight: usize) -> bool {
        let Some(limit) = self.limits.key_limit else { return true };
        self.keys.get(key).is_none_or(|key| key.in_use + weight.min(limit) <= limit)
    }

    /// Whether a key keeps one of that rank: no room, or somebody before them waits for it.
    fn is_kept(&self, key: &str, weight: usize, rank: Rank) -> bool {
        let first = self.keys.get(key).and_then(|key| key.parked.keys().next());
        !self.key_fits(key, weight) || first.is_some_and(|first| *first < rank)
    }

    fn grant(&mut self, ask: &Ask, weight: usize) {
        self.in_use += weight;
        self.holders += 1;
        self.counts.granted += 1;
        self.counts.peak = self.counts.peak.max(self.in_use);
        if self.limits.key_limit.is_some() {
            for key in &ask.keys {
                let known = self.keys.entry(Arc::clone(key)).or_default();
                known.in_use += key_weight(self.limits.key_limit, ask.weight);
            }
        }
    }

    fn join(&mut self, ask: Ask, how: W) -> u64 {
        let number = self.next;
        self.next += 1;
        let age = i64::try_from(number).unwrap_or(i64::MAX);
        let class = match self.limits.order {
            QueueOrder::Fifo | QueueOrder::Lifo => 0,
            QueueOrder::Priority => -i64::from(ask.priority),
            QueueOrder::EarliestDeadline => {
                ask.due.map_or(i64::MAX, |due| i64::try_from(due).unwrap_or(i64::MAX))
            }
        };
        let place = match self.limits.order {
            // Below every age, and among themselves by age.
            _ if ask.again => i64::MIN + age,
            QueueOrder::Lifo => -age,
            _ => age,
        };
        let rank = (class, place);
        self.queue.insert(rank, number);
        self.waiters.insert(number, Waiter { ask, rank, parked: None, how });
        number
    }

    fn remove(&mut self, number: u64) -> Option<Waiter<W>> {
        let waiter = self.waiters.remove(&number)?;
        match waiter.parked.and_then(|at| waiter.ask.keys.get(at)) {
            Some(key) => {
                if let Some(known) = self.keys.get_mut(key) {
                    known.parked.remove(&waiter.rank);
                }
            }
            None => drop(self.queue.remove(&waiter.rank)),
        }
        // Who waits behind them may go now.
        for key in &waiter.ask.keys {
            self.unpark(key);
        }
        Some(waiter)
    }

    /// Lets in who may go.
    fn pump(&mut self, told: &mut Vec<W>) {
        while let Some((&rank, &number)) = self.queue.first_key_value() {
            let Some(waiter) = self.waiters.get(&number) else { break };
            let weight = waiter.ask.weight;
            let kept = waiter.ask.keys.iter().position(|key| self.is_kept(key, weight, rank));
            if let Some(at) = kept {
                self.park(rank, number, at);
                continue;
            }
            let Some(granted) = self.fits(weight) else { break };
            self.queue.remove(&rank);
            if let Some(waiter) = self.waiters.remove(&number) {
                self.grant(&waiter.ask, granted);
                self.fates.insert(number, Fate::Granted(granted));
                told.push(waiter.how);
            }
        }
    }

    fn park(&mut self, rank: Rank, number: u64, at: usize) {
        self.queue.remove(&rank);
        let Some(waiter) = self.waiters.get_mut(&number) else { return };
        waiter.parked = Some(at);
        let keys = waiter.ask.keys.clone();
        if let Some(key) = keys.get(at) {
            self.keys.entry(Arc::clone(key)).or_default().parked.insert(rank, number);
        }
        for (_, key) in keys.iter().enumerate().filter(|(other, _)| *other != at) {
            self.unpark(key);
        }
    }

    /// Those who waited for a key in which there is room are in the queue again; a key that nobody uses is forgotten.
    fn unpark(&mut self, name: &str) {
        let limit = self.limits.key_limit.unwrap_or(usize::MAX);
        let Some(key) = self.keys.get_mut(name) else { return };
        let mut in_use = key.in_use;
        while let Some(first) = key.parked.first_entry() {
            let (rank, number) = (*first.key(), *first.get());
            let Some(waiter) = self.waiters.get_mut(&number) else { break };
            in_use += waiter.ask.weight.min(limit);
            if in_use > limit {
                break;
            }
            first.remove();
            waiter.parked = None;
            self.queue.insert(rank, number);
        }
        if key.in_use == 0 && key.parked.is_empty() {
            self.keys.remove(name);
        }
    }
}

/// How much of a key one of that weight takes.
fn key_weight(limit: Option<usize>, weight: usize) -> usize {
    limit.map_or(0, |limit| weight.min(limit))
}
