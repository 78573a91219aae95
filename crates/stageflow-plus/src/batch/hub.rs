//! What a batcher's callers share: who waits, who has which answer, and which of them carries a batch.

use std::{
    collections::HashMap,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use stageflow_core::{StageResult, time::nanos};
use tokio::time::Instant;

use super::{
    flight::{Dispatched, Flight},
    item::Batch,
    queue::{Formed, Key, Queues, RefusedBy, Rules},
};

/// What a call gives: an answer for each item.
pub(super) type Answers<O> = StageResult<Vec<StageResult<O>>>;
pub(super) type Calling<O> = Pin<Box<dyn Future<Output = Answers<O>> + Send>>;
pub(super) type Handler<I, O> = Box<dyn Fn(Batch<I>) -> Calling<O> + Send + Sync>;
pub(super) type Weigh<I> = Box<dyn Fn(&I) -> u64 + Send + Sync>;

pub(super) struct Hub<I, O> {
    pub(super) name: Arc<str>,
    pub(super) rules: Rules,
    pub(super) across_tenants: bool,
    pub(super) call_timeout: Option<Duration>,
    pub(super) weigh: Option<Weigh<I>>,
    pub(super) handler: Handler<I, O>,
    base: Instant,
    state: Mutex<State<I, O>>,
}

struct State<I, O> {
    queues: Queues<I>,
    seats: HashMap<u64, Seat<I, O>>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) offered: u64,
    pub(super) refused: u64,
    pub(super) left: u64,
    pub(super) answered: u64,
    pub(super) batches: u64,
}

/// One who waits.
struct Seat<I, O> {
    waker: Option<Waker>,
    place: Place<I, O>,
}

enum Place<I, O> {
    Queued(Key),
    Flying(Arc<Flight<I, O>>),
    Answered(Arc<Flight<I, O>>, StageResult<O>),
}

/// What one who waits finds.
pub(super) enum Found<I, O> {
    Queued,
    Flying(Arc<Flight<I, O>>),
    /// It is out of the hub then.
    Answered(Dispatched, StageResult<O>),
    Gone,
}

impl<I, O> Hub<I, O> {
    pub(super) fn new(
        name: Arc<str>,
        (rules, across_tenants, call_timeout): (Rules, bool, Option<Duration>),
        weigh: Option<Weigh<I>>,
        handler: Handler<I, O>,
    ) -> Self {
        let (seats, counts) = (HashMap::new(), Counts::default());
        Self {
            name,
            rules,
            across_tenants,
            call_timeout,
            weigh,
            handler,
            base: Instant::now(),
            state: Mutex::new(State { queues: Queues::new(rules), seats, counts }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<I, O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        nanos(self.base.elapsed())
    }

    pub(super) fn look<R>(&self, at: impl FnOnce(&Queues<I>, &Counts) -> R) -> R {
        let state = self.lock();
        at(&state.queues, &state.counts)
    }

    /// An item comes, and those that waited for it go.
    pub(super) fn enter(&self, key: &Key, item: I, patience: Duration) -> Result<u64, RefusedBy> {
        let weight = self.weigh.as_ref().map_or(1, |weigh| weigh(&item));
        let (now, mut told) = (self.now(), Vec::new());
        let mut state = self.lock();
        state.counts.offered += 1;
        let entered = match state.queues.offer(key, item, weight, now, nanos(patience)) {
            Ok(ticket) => {
                state.seats.insert(ticket, Seat { waker: None, place: Place::Queued(key.clone()) });
                state.pump_of(key, now, &mut told);
                Ok(ticket)
            }
            Err((by, item)) => {
                state.counts.refused += 1;
                Err((by, item))
            }
        };
        drop(state);
        wake(told);
        // The item is dropped outside of the lock.
        entered.map_err(|(by, _item)| by)
    }

    /// What has become of one who waits; else they are told when something has.
    pub(super) fn look_at(&self, ticket: u64, waker: &Waker) -> Found<I, O> {
        let mut waker = Some(waker.clone());
        let mut state = self.lock();
        let found = match state.seats.get_mut(&ticket) {
            None => Found::Gone,
            Some(Seat { place: Place::Answered(..), .. }) => match state.seats.remove(&ticket) {
                Some(Seat { place: Place::Answered(flight, answer), waker: last }) => {
                    waker = last;
                    Found::Answered(flight.facts, answer)
                }
                _ => Found::Gone,
            },
            Some(seat) => {
                mem::swap(&mut seat.waker, &mut waker);
                match &seat.place {
                    Place::Flying(flight) => Found::Flying(Arc::clone(flight)),
                    _ => Found::Queued,
                }
            }
        };
        drop(state);
        drop(waker);
        found
    }

    /// Time has passed: the batch of this tenant goes, if it may.
    pub(super) fn ripen(&self, key: &Key) {
        let (now, mut told) = (self.now(), Vec::new());
        self.lock().pump_of(key, now, &mut told);
        wake(told);
    }

    /// One who waits gives up. Their item goes with them unless its call has begun, and another carries the batch if they did.
    pub(super) fn leave(&self, ticket: u64) {
        let (now, mut told) = (self.now(), Vec::new());
        let mut state = self.lock();
        let Some(seat) = state.seats.remove(&ticket) else { return };
        let mut item = None;
        match &seat.place {
            Place::Queued(key) => {
                state.counts.left += 1;
                item = state.queues.leave(key, ticket);
            }
            Place::Flying(flight) => {
                state.counts.left += 1;
                let next = flight.tickets.iter().find(|other| state.seats.contains_key(other));
                match next.copied() {
                    Some(next) if flight.leader() == ticket => {
                        flight.lead(next);
                        told.extend(state.seats.get_mut(&next).and_then(|seat| seat.waker.take()));
                    }
                    Some(_) => {}
                    None => {
                        state.queues.release();
                        state.pump(now, &mut told);
                    }
                }
            }
            Place::Answered(..) => {}
        }
        drop(state);
        wake(told);
        // What is the user's is dropped outside of the lock: the item, the answer, and the call of a batch without callers.
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop((seat, item))));
    }

    /// Of these, who still waits.
    pub(super) fn still_here(&self, tickets: &[u64]) -> Vec<bool> {
        let state = self.lock();
        tickets.iter().map(|ticket| state.seats.contains_key(ticket)).collect()
    }

    /// Wakes who carries the batch.
    pub(super) fn wake_leader(&self, flight: &Flight<I, O>) {
        let waker = {
            let mut state = self.lock();
            state.seats.get_mut(&flight.leader()).and_then(|seat| seat.waker.take())
        };
        wake(waker.into_iter().collect());
    }

    /// A batch has its answers.
    pub(super) fn land(&self, answers: Vec<(u64, StageResult<O>)>) {
        let (now, mut told, mut left) = (self.now(), Vec::new(), Vec::new());
        let mut state = self.lock();
        for (ticket, answer) in answers {
            let Some(seat) = state.seats.get_mut(&ticket) else {
                left.push(answer);
                continue;
            };
            if let Place::Flying(flight) = &seat.place {
                seat.place = Place::Answered(Arc::clone(flight), answer);
                told.extend(seat.waker.take());
                state.counts.answered += 1;
            }
        }
        state.queues.release();
        state.pump(now, &mut told);
        drop(state);
        wake(told);
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(left)));
    }

    pub(super) fn close(&self) {
        let (now, mut told) = (self.now(), Vec::new());
        let mut state = self.lock();
        state.queues.close();
        state.pump(now, &mut told);
        drop(state);
        wake(told);
    }
}

impl<I, O> State<I, O> {
    fn pump_of(&mut self, key: &Key, now: u64, told: &mut Vec<Waker>) {
        while let Some(formed) = self.queues.next_of(key, now) {
            self.dispatch(formed, now, told);
        }
    }

    fn pump(&mut self, now: u64, told: &mut Vec<Waker>) {
        while let Some(formed) = self.queues.next(now) {
            self.dispatch(formed, now, told);
        }
    }

    /// Gives those of a batch their place in it. Its call is begun by one of them.
    fn dispatch(&mut self, formed: Formed<I>, now: u64, told: &mut Vec<Waker>) {
        let Formed { key, entries, weight, by } = formed;
        self.counts.batches += 1;
        let waited = entries.iter().map(|entry| now.saturating_sub(entry.at)).max().unwrap_or_default();
        let facts = Dispatched { size: entries.len(), weight, by, waited: Duration::from_nanos(waited) };
        let tickets: Vec<u64> = entries.iter().map(|entry| entry.ticket).collect();
        let items = entries.into_iter().map(|entry| entry.item).collect();
        let flight = Arc::new(Flight::new(tickets, facts, key, items));
        for ticket in &flight.tickets {
            if let Some(seat) = self.seats.get_mut(ticket) {
                seat.place = Place::Flying(Arc::clone(&flight));
                told.extend(seat.waker.take());
            }
        }
    }
}

fn wake(told: Vec<Waker>) {
    for waker in told {
        let _panicked = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}
