//! The state of a monitor behind its lock, and those who wait. Wakers are cloned, woken and dropped outside the lock.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::PoisonError,
    task::Waker,
};

use super::state::{Limits, Offer, ShedRule, State};
use crate::sync::{Mutex, MutexGuard};

/// Lets some in, and has the others wait in the order in which they came.
///
/// Whoever leaves hands their place on to the first who waits, under the lock: no wake-up can be lost, because the one who looks
/// either still waits, with the waker it left, or is in.
#[derive(Debug)]
pub(crate) struct Turnstile {
    state: Mutex<State<Option<Waker>>>,
}

impl Turnstile {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { state: Mutex::new(State::new(limits)) }
    }

    fn lock(&self) -> MutexGuard<'_, State<Option<Waker>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn offer(&self, may_wait: bool) -> Result<Offer, ShedRule> {
        self.lock().offer(may_wait.then_some(None))
    }

    /// Whether one who waited is in; else they are told when they are.
    pub(crate) fn is_in(&self, number: u64, waker: &Waker) -> bool {
        let mut waker = Some(waker.clone());
        let mut state = self.lock();
        let is_in = match state.waiter(number) {
            Some(known) => {
                std::mem::swap(known, &mut waker);
                false
            }
            None => true,
        };
        drop(state);
        drop(waker);
        is_in
    }

    /// One who waits gives up, and gives back what they were handed meanwhile.
    pub(crate) fn leave(&self, number: u64) {
        let left = self.lock().leave(number);
        if left.is_none() {
            self.release(None);
        }
    }

    /// Takes one who has waited too long out of the queue; `false` if they are in already.
    pub(crate) fn expire(&self, number: u64) -> bool {
        let expired = self.lock().expire(number);
        expired.is_some()
    }

    pub(crate) fn release(&self, latency: Option<u64>) {
        let next = self.lock().release(latency);
        if let Some(Some(waker)) = next {
            let _panicked = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    pub(crate) fn look<R>(&self, at: impl FnOnce(&State<Option<Waker>>) -> R) -> R {
        at(&self.lock())
    }
}
