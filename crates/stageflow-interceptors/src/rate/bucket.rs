//! One key's share of a rate limit: a gauge for each dimension, and who waits, in order.
//!
//! A cost is taken when its turn comes and not before: a reservation made ahead of time would let a second burst through when
//! the call at last begins. That is why a call that cannot go stands in a queue, behind which nobody passes, and why how long
//! it will wait is found by playing the queue through. The end of that play is kept for the next one who comes, as long as all goes
//! as it was played: a turn that is taken late makes all that follow later.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
};

use smallvec::SmallVec;

use super::{
    gcra::{Decision, Gauge, Quota, Receipt},
    sync::{Mutex, MutexGuard, Notify},
};
use crate::limit::Idle;

/// What a call costs, by dimension.
pub(super) type Costs = SmallVec<[u64; 2]>;

/// What a call has taken from a dimension at a time.
pub(super) struct Taken {
    pub(super) dimension: usize,
    pub(super) cost: u64,
    pub(super) receipt: Receipt,
}

/// All that a call has taken, in the order in which it did. Without memory of its own for one dimension.
pub(super) type AllTaken = SmallVec<[Taken; 1]>;

/// The gauges and the queue of one key.
pub(super) struct Bucket {
    quotas: Arc<[Quota]>,
    state: Mutex<State>,
}

struct State {
    gauges: Box<[Gauge]>,
    queue: VecDeque<Waiter>,
    arrivals: u64,
    /// The queue played through; `None` if something has changed since.
    tail: Option<Played>,
}

/// What comes of the queue if each of it goes as soon as it can.
struct Played {
    /// When the last of it has had its turn.
    gauges: Box<[Gauge]>,
    /// When that is.
    last: u64,
    /// When the first has its turn: if it goes later, all of this comes later.
    first: u64,
}

struct Waiter {
    id: u64,
    costs: Costs,
    wake: Arc<Notify>,
}

/// What becomes of a call that comes.
pub(super) enum Arrival {
    /// It goes.
    Granted(AllTaken),
    /// It waits in the queue.
    Queued {
        /// Its number.
        id: u64,
        /// Told that it may have become its turn, or that it comes sooner.
        wake: Arc<Notify>,
    },
    /// It would have to wait for so many nanoseconds, and may not.
    TooLate(u64),
    /// It would have to wait for so many nanoseconds, and the queue is full.
    NoPlace(u64),
    /// Its cost in a dimension is above the burst.
    Never(usize),
}

/// What becomes of a call in the queue.
pub(super) enum Turn {
    /// It goes.
    Granted(AllTaken),
    /// It is the first, and may go in so many nanoseconds.
    Wait(u64),
    /// Others are before it.
    Behind,
}

impl Bucket {
    pub(super) fn new(quotas: Arc<[Quota]>) -> Self {
        let gauges = quotas.iter().map(|_| Gauge::default()).collect();
        let state = State { gauges, queue: VecDeque::new(), arrivals: 0, tail: None };
        Self { quotas, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call comes, and goes at once if there is one dimension, nobody waits and its cost conforms.
    #[inline]
    pub(super) fn pass(&self, now: u64, costs: &[u64]) -> Option<AllTaken> {
        let ([quota], [cost]) = (&*self.quotas, costs) else { return None };
        let mut state = self.lock();
        if !state.queue.is_empty() {
            return None;
        }
        let [gauge] = &mut *state.gauges else { return None };
        let receipt = quota.take_if_it_conforms(gauge, now, *cost)?;
        Some(AllTaken::from_buf([Taken { dimension: 0, cost: *cost, receipt }]))
    }

    /// A call comes that may wait for less than `within` nanoseconds.
    pub(super) fn arrive(&self, now: u64, costs: &[u64], within: u64, max_queue: usize) -> Arrival {
        let above = |(quota, cost): (&Quota, &u64)| *cost > quota.burst;
        if let Some(dimension) = self.quotas.iter().zip(costs).position(above) {
            return Arrival::Never(dimension);
        }
        let mut state = self.lock();
        let is_first = state.queue.is_empty();
        if is_first && wait(&self.quotas, &state.gauges, now, costs) == 0 {
            return Arrival::Granted(state.take(&self.quotas, now, costs));
        }
        let mut played = state.forecast(&self.quotas, now);
        let turn = played.last.saturating_add(wait(&self.quotas, &played.gauges, played.last, costs));
        let wait = turn.saturating_sub(now);
        if wait >= within {
            state.tail = Some(played);
            return Arrival::TooLate(wait);
        }
        if state.queue.len() >= max_queue {
            state.tail = Some(played);
            return Arrival::NoPlace(wait);
        }
        take(&self.quotas, &mut played.gauges, turn, costs);
        let first = if is_first { turn } else { played.first };
        state.tail = Some(Played { last: turn, first, ..played });
        state.arrivals += 1;
        let (id, wake) = (state.arrivals, Arc::new(Notify::new()));
        state.queue.push_back(Waiter { id, costs: costs.into(), wake: Arc::clone(&wake) });
        Arrival::Queued { id, wake }
    }

    /// Whether it is the turn of a call in the queue, which then leaves it.
    pub(super) fn turn(&self, now: u64, id: u64) -> Turn {
        let mut state = self.lock();
        let costs = match state.queue.front() {
            Some(first) if first.id == id => first.costs.clone(),
            _ => return Turn::Behind,
        };
        match wait(&self.quotas, &state.gauges, now, &costs) {
            0 => {}
            wait => return Turn::Wait(wait),
        }
        state.queue.pop_front();
        let taken = state.take(&self.quotas, now, &costs);
        state.has_gone(&self.quotas, now);
        let next = state.first();
        drop(state);
        wake(next);
        Turn::Granted(taken)
    }

    /// A call leaves the queue without its turn.
    pub(super) fn leave(&self, id: u64) {
        let mut state = self.lock();
        // They stand in the order of their numbers.
        let Ok(index) = state.queue.binary_search_by_key(&id, |waiter| waiter.id) else { return };
        state.queue.remove(index);
        state.tail = None;
        let next = if index == 0 { state.first() } else { None };
        drop(state);
        wake(next);
    }

    /// How long a call in the queue has to wait from now on.
    pub(super) fn remaining_wait(&self, now: u64, id: u64) -> u64 {
        let state = self.lock();
        let count = state.queue.iter().take_while(|waiter| waiter.id <= id).count();
        state.play(&self.quotas, now, count).last.saturating_sub(now)
    }

    /// More of a dimension was used than taken, perhaps into debt.
    pub(super) fn take_more(&self, now: u64, dimension: usize, cost: u64) -> Receipt {
        self.change(dimension, |quota, gauge| quota.take(gauge, now, cost))
    }

    /// Less of a dimension was used than taken. Gives how much came back.
    pub(super) fn give_back(&self, now: u64, dimension: usize, cost: u64, receipt: &Receipt) -> u128 {
        self.change(dimension, |quota, gauge| quota.give_back(gauge, now, cost, receipt))
    }

    /// A response said something about a dimension.
    pub(super) fn learn(&self, now: u64, dimension: usize, said: (Option<u64>, Option<u64>, Option<u64>)) {
        self.change(dimension, |quota, gauge| (quota.learn(gauge, now, said), ()));
    }

    /// Changes a gauge, which may change when the first of the queue has its turn.
    fn change<T>(&self, dimension: usize, change: impl FnOnce(Quota, &Gauge) -> (Gauge, T)) -> T {
        let mut state = self.lock();
        let (after, done) = change(self.quotas[dimension], &state.gauges[dimension]);
        state.gauges[dimension] = after;
        state.tail = None;
        let first = state.first();
        drop(state);
        wake(first);
        done
    }

    /// How much cost of a dimension would conform now, if nobody waited.
    pub(super) fn available(&self, now: u64, dimension: usize) -> u64 {
        let state = self.lock();
        let of = |(quota, gauge): (&Quota, &Gauge)| quota.available(gauge, now);
        self.quotas.iter().zip(&state.gauges).nth(dimension).map_or(0, of)
    }
}

impl Idle for Bucket {
    fn is_idle(&self, now: u64) -> bool {
        let state = self.lock();
        let mut all = self.quotas.iter().zip(&state.gauges);
        state.queue.is_empty() && all.all(|(quota, gauge)| quota.is_idle(gauge, now))
    }
}

impl State {
    fn take(&mut self, quotas: &[Quota], now: u64, costs: &[u64]) -> AllTaken {
        take(quotas, &mut self.gauges, now, costs)
    }

    fn first(&self) -> Option<Arc<Notify>> {
        self.queue.front().map(|first| Arc::clone(&first.wake))
    }

    /// The first has had its turn. What was foretold still holds if it was in time.
    fn has_gone(&mut self, quotas: &[Quota], now: u64) {
        let next =
            self.queue.front().map(|next| now.saturating_add(wait(quotas, &self.gauges, now, &next.costs)));
        let in_time = self.tail.take().filter(|played| now <= played.first);
        self.tail = in_time.zip(next).map(|(played, first)| Played { first, ..played });
    }

    /// The queue played through; the present, if nobody waits.
    fn forecast(&mut self, quotas: &[Quota], now: u64) -> Played {
        match self.tail.take() {
            Some(played) if !self.queue.is_empty() && now <= played.first => played,
            _ => self.play(quotas, now, self.queue.len()),
        }
    }

    /// Plays the first `count` turns of the queue.
    fn play(&self, quotas: &[Quota], now: u64, count: usize) -> Played {
        let (mut last, mut first) = (now, None);
        let mut gauges = self.gauges.clone();
        for waiter in self.queue.iter().take(count) {
            last = last.saturating_add(wait(quotas, &gauges, last, &waiter.costs));
            take(quotas, &mut gauges, last, &waiter.costs);
            first.get_or_insert(last);
        }
        Played { gauges, last, first: first.unwrap_or(now) }
    }
}

/// Wakes whoever is first; never under a lock, for a waker is the code of others.
fn wake(first: Option<Arc<Notify>>) {
    if let Some(first) = first {
        first.notify_one();
    }
}

/// How long until the costs conform in all dimensions.
fn wait(quotas: &[Quota], gauges: &[Gauge], now: u64, costs: &[u64]) -> u64 {
    let waits = quotas.iter().zip(gauges).zip(costs).map(|((quota, gauge), cost)| {
        match quota.decide(gauge, now, *cost) {
            Decision::Go => 0,
            Decision::Wait(wait) => wait,
            Decision::Never => u64::MAX,
        }
    });
    waits.max().unwrap_or(0)
}

/// Takes the costs from all dimensions.
fn take(quotas: &[Quota], gauges: &mut [Gauge], now: u64, costs: &[u64]) -> AllTaken {
    let mut all = AllTaken::new();
    for (dimension, ((quota, gauge), cost)) in quotas.iter().zip(gauges).zip(costs).enumerate() {
        let (after, receipt) = quota.take(gauge, now, *cost);
        *gauge = after;
        all.push(Taken { dimension, cost: *cost, receipt });
    }
    all
}
