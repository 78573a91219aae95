//! The machine of one key behind its lock, and the way past the lock that most calls take.
//!
//! While a success can change nothing but counts, successes are counted in a word beside the machine. Whoever takes the lock
//! ends that round first and adds them to the machine, so it decides of the same calls in the same order as without the word.

use std::{
    num::NonZeroU64,
    ops::{Deref, DerefMut},
    sync::PoisonError,
};

use super::{
    outcome::BreakerTotals,
    state::{Machine, Ticket},
    sync::{AtomicU64, Mutex, MutexGuard, Ordering},
};

/// The number of a round stands above its count of successes. Rounds with odd numbers are open.
const ROUND: u64 = 1 << 24;
const COUNT: u64 = ROUND - 1;

/// A machine that several threads ask.
#[derive(Debug)]
pub(super) struct Gate {
    machine: Mutex<Machine>,
    /// The generation as which it is closed; 0 while it is not.
    closed: AtomicU64,
    /// How many were admitted past the lock.
    admitted: AtomicU64,
    round: AtomicU64,
    /// Before when a success belongs to the open round.
    until: AtomicU64,
    slow_from: u64,
}

impl Gate {
    pub(super) fn new(machine: Machine) -> Self {
        let gate = Self {
            closed: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            round: AtomicU64::new(0),
            until: AtomicU64::new(0),
            slow_from: machine.slow_from(),
            machine: Mutex::new(machine),
        };
        drop(gate.lock());
        gate
    }

    /// The machine, which knows of all that has happened.
    pub(super) fn lock(&self) -> Locked<'_> {
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let round = self.round.load(Ordering::Relaxed);
        if is_open(round) {
            // Only successes change it meanwhile: its number is that of whoever has the lock.
            let ended = self.round.swap(next(round), Ordering::AcqRel);
            machine.add_successes(ended & COUNT);
        }
        Locked { gate: self, machine }
    }

    /// Admits a call if it is closed. To be called by one thread at a time, which is the one that has the table of keys: a count
    /// that only one writes needs no more than to be written.
    #[inline]
    pub(super) fn admit_closed(&self, now: u64) -> Option<Ticket> {
        let generation = NonZeroU64::new(self.closed.load(Ordering::Acquire))?;
        let admitted = self.admitted.load(Ordering::Relaxed);
        self.admitted.store(admitted.wrapping_add(1), Ordering::Relaxed);
        Some(Ticket::closed(generation, now))
    }

    /// Counts the success of a call, if that can change nothing else. Otherwise the machine has to be told.
    ///
    /// The generation and the time are those of the round that is found first, or that round has ended and so cannot be counted in:
    /// a round is ended before they change, and the next one begins after that.
    #[inline]
    pub(super) fn count_success(&self, ticket: Ticket, now: u64) -> bool {
        if ticket.took(now) >= self.slow_from {
            return false;
        }
        let mut round = self.round.load(Ordering::Acquire);
        loop {
            let belongs =
                ticket.is_of(self.closed.load(Ordering::Relaxed)) && now < self.until.load(Ordering::Relaxed);
            if !is_open(round) || !belongs || round & COUNT == COUNT {
                return false;
            }
            let counted =
                self.round.compare_exchange_weak(round, round + 1, Ordering::AcqRel, Ordering::Acquire);
            match counted {
                Ok(_) => return true,
                Err(other) => round = other,
            }
        }
    }
}

fn is_open(round: u64) -> bool {
    round & ROUND != 0
}

/// The number after that of a round, without a success.
fn next(round: u64) -> u64 {
    (round & !COUNT).wrapping_add(ROUND)
}

/// The machine for one who has its lock. Afterwards a round begins if successes may go past it.
pub(super) struct Locked<'a> {
    gate: &'a Gate,
    machine: MutexGuard<'a, Machine>,
}

impl Locked<'_> {
    /// Of all calls, those past the lock among them.
    pub(super) fn totals(&self) -> BreakerTotals {
        let mut totals = self.machine.totals();
        totals.admitted += self.gate.admitted.load(Ordering::Relaxed);
        totals
    }
}

impl Deref for Locked<'_> {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let gate = self.gate;
        gate.closed.store(self.machine.closed_as().unwrap_or(0), Ordering::Release);
        if let Some(until) = self.machine.only_counts_until() {
            gate.until.store(until, Ordering::Relaxed);
            let ended = gate.round.load(Ordering::Relaxed);
            gate.round.store(next(ended), Ordering::Release);
        }
    }
}
