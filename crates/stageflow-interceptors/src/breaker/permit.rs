//! The right to make one call, and the refusal of it.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use stageflow_core::{Randomness as _, time::Human};
use tokio::time::Instant;

use super::{
    Cell, Shared,
    key::BreakerKey,
    outcome::{BreakerOutcome, BreakerTransition},
    state::{Refusal, Ticket},
};

/// The right to make one call: to be told how it ended.
///
/// Dropping it says nothing about the dependency, and gives back the slot of a probe.
#[must_use = "dropping it says that no call was made"]
pub struct BreakerPermit {
    shared: Arc<Shared>,
    entry: Entry,
}

impl BreakerPermit {
    pub(super) fn new(shared: &Arc<Shared>, entry: Entry) -> Self {
        Self { shared: Arc::clone(shared), entry }
    }

    /// The key it is for.
    pub fn key(&self) -> &BreakerKey {
        &self.entry.cell.key
    }

    /// Whether the call is one of the few that find out whether the dependency is well again.
    pub fn is_probe(&self) -> bool {
        self.entry.ticket.is_some_and(|ticket| ticket.is_probe())
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn entry_mut(&mut self) -> &mut Entry {
        &mut self.entry
    }

    pub(super) fn into_parts(self) -> (Arc<Shared>, Entry) {
        (self.shared, self.entry)
    }

    /// Says how the call ended, now by the clock of tokio. Gives the change of the state that came of it, if one did.
    pub fn record(self, outcome: BreakerOutcome) -> Option<BreakerTransition> {
        self.record_at(outcome, Instant::now())
    }

    /// Says how the call ended, and when.
    pub fn record_at(self, outcome: BreakerOutcome, now: Instant) -> Option<BreakerTransition> {
        let Self { shared, entry } = self;
        entry.record(&shared, outcome, shared.nanos(now), || shared.random.next_u64())
    }
}

/// The right to make one call, for whoever has the breaker.
pub(super) struct Entry {
    cell: Arc<Cell>,
    /// Until the outcome is known.
    ticket: Option<Ticket>,
}

impl Entry {
    pub(super) fn new(cell: Arc<Cell>, ticket: Ticket) -> Self {
        Self { cell, ticket: Some(ticket) }
    }

    pub(super) fn begin(&mut self, now: u64) {
        if let Some(ticket) = &mut self.ticket {
            ticket.begin(now);
        }
    }

    /// Says that the call has succeeded, if that can do no more than count.
    #[inline]
    pub(super) fn count_success(&mut self, now: u64) -> bool {
        let counted = self.ticket.is_some_and(|ticket| self.cell.gate.count_success(ticket, now));
        if counted {
            self.ticket = None;
        }
        counted
    }

    #[cold]
    fn forget(&self, ticket: Ticket) {
        if self.cell.machine().forget(ticket) {
            self.cell.changed.notify_waiters();
        }
    }

    /// Says how the call ended; the random number is drawn for failures alone, and before the lock.
    pub(super) fn record(
        mut self,
        shared: &Shared,
        outcome: BreakerOutcome,
        now: u64,
        random: impl FnOnce() -> u64,
    ) -> Option<BreakerTransition> {
        if outcome == BreakerOutcome::Success && self.count_success(now) {
            return None;
        }
        self.tell(shared, outcome, now, random)
    }

    /// The same for what may do more than count.
    #[inline(never)]
    pub(super) fn tell(
        &mut self,
        shared: &Shared,
        outcome: BreakerOutcome,
        now: u64,
        random: impl FnOnce() -> u64,
    ) -> Option<BreakerTransition> {
        if outcome == BreakerOutcome::Neutral {
            return None; // Dropping says it.
        }
        let ticket = self.ticket.take()?;
        let random = if matches!(outcome, BreakerOutcome::Failure { .. }) { random() } else { 0 };
        let change = self.cell.machine().record(now, ticket, outcome, random)?;
        self.cell.changed.notify_waiters();
        Some(shared.transition(&self.cell.key, change))
    }
}

impl Drop for Entry {
    #[inline]
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.forget(ticket);
        }
    }
}

impl fmt::Debug for BreakerPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerPermit")
            .field("key", self.key())
            .field("is_probe", &self.is_probe())
            .finish_non_exhaustive()
    }
}

/// A breaker did not let a call through: the cause of a failure with the code `BREAKER_OPEN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerOpen {
    key: BreakerKey,
    retry_after: Option<Duration>,
    may_end_early: bool,
}

impl BreakerOpen {
    pub(super) fn new(key: &BreakerKey, refusal: Refusal, now: u64) -> Self {
        let left = refusal.until.map(|until| Duration::from_nanos(until.saturating_sub(now)));
        Self { key: key.clone(), retry_after: left, may_end_early: refusal.may_end_early }
    }

    /// Whose breaker.
    pub fn key(&self) -> &BreakerKey {
        &self.key
    }

    /// How long it makes no sense to ask again; `None` if an operator keeps it open.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether there may be room before that: probes are under way, or an operator decides.
    pub(super) fn may_end_early(&self) -> bool {
        self.may_end_early
    }
}

impl fmt::Display for BreakerOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.retry_after, self.may_end_early) {
            (None, _) => write!(f, "the breaker `{}` was opened by an operator", self.key),
            (Some(left), false) => {
                write!(f, "the breaker `{}` is open for another {}", self.key, Human(left))
            }
            (Some(_), true) => write!(f, "the breaker `{}` waits for its probes", self.key),
        }
    }
}

impl Error for BreakerOpen {}
