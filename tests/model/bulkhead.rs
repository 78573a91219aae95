//! A bulkhead is never above its limits, loses no place and no wake-up, and is not idle while it is used.
//!
//! `permit` is the very file of the bulkhead. `Semaphore` stands for tokio's fair one, and `acquire` for `Bulkhead::acquire_within`.

use std::sync::Arc as Plain;

use loom::thread;

#[path = "../../crates/stageflow-interceptors/src/bulkhead/permit.rs"]
#[allow(dead_code, unreachable_pub, reason = "what the model does not call, and others do")]
mod permit;

/// What `permit` uses.
mod sync {
    use std::{collections::VecDeque, sync::Arc};

    pub(super) use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::sync::{Condvar, Mutex};

    /// First come, first served: who lets go hands its permit to the first.
    pub(super) struct Semaphore(Mutex<State>);

    struct State {
        free: usize,
        waiting: VecDeque<Arc<Waiter>>,
    }

    #[derive(Default)]
    pub(super) struct Waiter(Mutex<bool>, Condvar);

    /// The right to one permit, until it is forgotten or goes back.
    pub(super) struct SemaphorePermit<'a>(&'a Semaphore);

    impl<'a> SemaphorePermit<'a> {
        pub(super) fn forget(self) {
            std::mem::forget(self);
        }
    }

    impl Semaphore {
        pub(super) fn new(permits: usize) -> Self {
            Self(Mutex::new(State { free: permits, waiting: VecDeque::new() }))
        }

        pub(super) fn available_permits(&self) -> usize {
            self.0.lock().expect("no panic").free
        }

        pub(super) fn add_permits(&self, count: usize) {
            let mut state = self.0.lock().expect("no panic");
            for _ in 0..count {
                let Some(next) = state.waiting.pop_front() else {
                    state.free += 1;
                    continue;
                };
                *next.0.lock().expect("no panic") = true;
                next.1.notify_one();
            }
        }

        pub(super) fn try_acquire(&self) -> Result<SemaphorePermit<'_>, ()> {
            let mut state = self.0.lock().expect("no panic");
            state.free = state.free.checked_sub(1).ok_or(())?;
            Ok(SemaphorePermit(self))
        }

        /// Waits for a permit, or stands in the queue and leaves it.
        pub(super) fn acquire(&self, patient: bool) -> Option<SemaphorePermit<'_>> {
            let waiter = Arc::new(Waiter::default());
            {
                let mut state = self.0.lock().expect("no panic");
                if state.free > 0 {
                    state.free -= 1;
                    return Some(SemaphorePermit(self));
                }
                state.waiting.push_back(Arc::clone(&waiter));
            }
            if patient {
                let mut granted = waiter.0.lock().expect("no panic");
                while !*granted {
                    granted = waiter.1.wait(granted).expect("no panic");
                }
                return Some(SemaphorePermit(self));
            }
            self.0.lock().expect("no panic").waiting.retain(|other| !Arc::ptr_eq(other, &waiter));
            // A permit that came meanwhile goes to the next.
            let granted = *waiter.0.lock().expect("no panic");
            drop(granted.then(|| SemaphorePermit(self)));
            None
        }
    }

    impl Drop for SemaphorePermit<'_> {
        fn drop(&mut self) {
            self.0.add_permits(1);
        }
    }
}

use self::{
    permit::{BulkheadPermit, Place, Room},
    sync::{AtomicUsize, Ordering::SeqCst},
};
use crate::limit::Idle as _;

/// `Shared` of the bulkhead, as far as `permit` knows it.
struct Shared {
    max_queue: usize,
    queued: AtomicUsize,
}

#[derive(Clone)]
struct Bulkhead {
    shared: Plain<Shared>,
    room: Plain<Room>,
    inside: Plain<AtomicUsize>,
}

const MAX_CONCURRENT: usize = 1;

impl Bulkhead {
    fn new(max_queue: usize) -> Self {
        Self {
            shared: Plain::new(Shared { max_queue, queued: AtomicUsize::new(0) }),
            room: Plain::new(Room::new(&Plain::from("b"), MAX_CONCURRENT)),
            inside: Plain::new(AtomicUsize::new(0)),
        }
    }

    /// `Bulkhead::acquire_within`: a permit, unless the queue is full or the caller goes away while it waits.
    fn acquire(&self, patient: bool) -> Option<BulkheadPermit> {
        if let Some(permit) = Plain::clone(&self.room).permit() {
            return Some(permit);
        }
        let place = Place::take(&self.room, &self.shared)?;
        assert!(self.room.queued.load(SeqCst) <= self.shared.max_queue, "too many wait");
        let turn = self.room.semaphore.acquire(patient);
        drop(place);
        turn.map(|permit| self.room.granted(permit))
    }

    /// A call; whether it was made.
    fn call(&self, patient: bool) -> bool {
        let Some(_permit) = self.acquire(patient) else { return false };
        assert!(self.inside.fetch_add(1, SeqCst) < MAX_CONCURRENT, "too many are inside");
        assert!(!self.room.is_idle(0), "it could be forgotten while it is used");
        assert!(self.room.in_flight() >= 1);
        self.inside.fetch_sub(1, SeqCst);
        true
    }

    fn is_as_new(&self) -> bool {
        let counts = (self.room.in_flight(), self.shared.queued.load(SeqCst));
        counts == (0, 0) && self.room.is_idle(0)
    }
}

/// Calls at the same time, which wait for their turn or leave the queue; gives how many were made.
fn calls(preemptions: usize, max_queue: usize, patient: &'static [bool], all: fn(usize) -> bool) {
    crate::check(preemptions, move || {
        let bulkhead = Bulkhead::new(max_queue);
        let others: Vec<_> = patient[1..]
            .iter()
            .map(|patient| {
                let (bulkhead, patient) = (bulkhead.clone(), *patient);
                thread::spawn(move || bulkhead.call(patient))
            })
            .collect();
        let own = bulkhead.call(patient[0]);
        let made =
            others.into_iter().map(|other| usize::from(other.join().expect("no panic"))).sum::<usize>();
        let made = made + usize::from(own);
        assert!(all(made) && bulkhead.is_as_new(), "{made} of {patient:?} were made");
    });
}

#[test]
fn all_that_wait_have_their_turn() {
    calls(2, 2, &[true, true, true], |made| made == 3);
}

/// One at least is let in or waits; none is lost, however the others leave.
#[test]
fn who_waits_is_woken_though_another_leaves_the_queue() {
    calls(2, 2, &[true, true, false], |made| made >= 2);
}

#[test]
fn the_queue_is_bounded_when_all_come_at_once() {
    calls(2, 1, &[true, true, true], |made| made >= 2);
    calls(2, 0, &[true, true], |made| made >= 1);
}
