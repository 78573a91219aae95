//! The state of a limiter behind its lock, and those who wait. Wakers are cloned, woken and dropped outside the lock.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::PoisonError,
    task::{Poll, Waker},
};

use super::{
    state::{Ask, Fate, Held, Limits, Offer, State},
    sync::{Mutex, MutexGuard},
};

/// Lets some in, and has the others wait.
///
/// Whoever leaves hands on under the lock: no wake-up can be lost, because one who looks either still waits, with the waker they
/// left, or finds what has become of them.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State<Option<Waker>>>,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { state: Mutex::new(State::new(limits)) }
    }

    fn lock(&self) -> MutexGuard<'_, State<Option<Waker>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody comes.
    #[inline]
    pub(crate) fn offer(&self, ask: &Ask, may_wait: bool) -> Offer {
        let mut told = Vec::new();
        let offer = self.lock().offer(ask, may_wait.then_some(None), &mut told);
        wake(told);
        offer
    }

    /// What has become of one who waited; else they are told when something has.
    pub(crate) fn poll(&self, number: u64, waker: &Waker) -> Poll<Fate> {
        let mut waker = Some(waker.clone());
        let mut state = self.lock();
        let found = match state.look(number) {
            Ok(fate) => Poll::Ready(fate),
            Err(Some(known)) => {
                std::mem::swap(known, &mut waker);
                Poll::Pending
            }
            // Nobody asks for what was told.
            Err(None) => Poll::Ready(Fate::Dropped),
        };
        drop(state);
        drop(waker);
        found
    }

    /// One who waits gives up.
    pub(crate) fn leave(&self, number: u64, ask: &Ask) {
        let mut told = Vec::new();
        let left = self.lock().leave(number, ask, &mut told);
        drop(left);
        wake(told);
    }

    /// One who was in leaves.
    #[inline]
    pub(crate) fn release(&self, held: &Held) {
        let mut told = Vec::new();
        self.lock().release(held, &mut told);
        wake(told);
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        let mut told = Vec::new();
        self.lock().set_limit(limit, &mut told);
        wake(told);
    }

    pub(crate) fn look<R>(&self, at: impl FnOnce(&State<Option<Waker>>) -> R) -> R {
        at(&self.lock())
    }
}

fn wake(told: Vec<Option<Waker>>) {
    for waker in told.into_iter().flatten() {
        let _panicked = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}
