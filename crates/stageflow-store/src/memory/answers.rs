//! [`MemoryAnswers`]: answers of one process, as bytes.

use std::{fmt, future::ready, time::Duration};

use stageflow_core::{
    TenantId,
    durable::{Encoded, JournalError},
    idempotency::{Answer, Begin, Fingerprint, IdempotencyStore, Lease, StoreFuture, StoreKey},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::MemoryStore;
use crate::rows;

/// Answers in memory, as bytes: a handle of a [`MemoryStore`], which has them.
#[derive(Clone)]
pub struct MemoryAnswers {
    store: MemoryStore,
    ttl: Duration,
    lease: Duration,
}

pub(super) struct AnswerRow {
    fingerprint: Fingerprint,
    state: AnswerState,
}

enum AnswerState {
    /// Whoever waits holds the other end, and wakes when this one is dropped.
    InFlight {
        id: u64,
        until: Option<Instant>,
        gone: watch::Sender<()>,
    },
    Done {
        is_failure: bool,
        answer: Encoded,
        until: Option<Instant>,
    },
}

impl AnswerRow {
    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.state, AnswerState::InFlight { .. })
    }

    pub(super) fn bytes(&self) -> u64 {
        match &self.state {
            AnswerState::InFlight { .. } => 0,
            AnswerState::Done { answer, .. } => answer.bytes.len() as u64,
        }
    }

    fn has_ended(&self, now: Instant) -> bool {
        let (AnswerState::InFlight { until, .. } | AnswerState::Done { until, .. }) = &self.state;
        until.is_some_and(|until| until <= now)
    }

    fn is_held(&self, lease: Lease, now: Instant) -> bool {
        matches!(self.state, AnswerState::InFlight { id, .. } if id == lease.id()) && !self.has_ended(now)
    }

    fn begin(&self) -> Result<Begin, JournalError> {
        match &self.state {
            AnswerState::Done { is_failure, answer, .. } => {
                rows::answer(*is_failure, answer.clone()).map(Begin::Done)
            }
            AnswerState::InFlight { until, gone, .. } => {
                let (until, mut gone) = (*until, gone.subscribe());
                Ok(Begin::InFlight(Box::pin(async move {
                    // Nothing is ever sent: it ends when the sender goes.
                    let changed = gone.changed();
                    match until {
                        Some(until) => drop(timeout_at(until, changed).await),
                        None => drop(changed.await),
                    }
                })))
            }
        }
    }
}

impl MemoryAnswers {
    pub(super) fn new(store: MemoryStore) -> Self {
        Self { store, ttl: Duration::from_secs(24 * 60 * 60), lease: Duration::from_secs(10 * 60) }
    }

    /// How long an answer is kept.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long a first call may take.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    fn begin_now(&self, key: &StoreKey, fingerprint: &Fingerprint) -> Result<Begin, JournalError> {
        let key: (TenantId, [u8; 32]) = rows::answer_key(key)?;
        let now = Instant::now();
        let mut state = self.store.lock();
        if let Some(row) = state.answers.get(&key).filter(|row| !row.has_ended(now)) {
            return if row.fingerprint == *fingerprint { row.begin() } else { Ok(Begin::Mismatch) };
        }
        state.last += 1;
        let id = state.last;
        let in_flight =
            AnswerState::InFlight { id, until: now.checked_add(self.lease), gone: watch::Sender::new(()) };
        state.answers.insert(key, AnswerRow { fingerprint: fingerprint.clone(), state: in_flight });
        Ok(Begin::First(Lease::new(id, self.lease)))
    }

    fn complete_now(&self, key: &StoreKey, lease: Lease, answer: &Answer) -> Result<bool, JournalError> {
        let key = rows::answer_key(key)?;
        let (is_failure, answer) = rows::answer_columns(answer)?;
        let now = Instant::now();
        let mut state = self.store.lock();
        let Some(row) = state.answers.get_mut(&key).filter(|row| row.is_held(lease, now)) else {
            return Ok(false);
        };
        row.state = AnswerState::Done { is_failure, answer, until: now.checked_add(self.ttl) };
        Ok(true)
    }
}

impl IdempotencyStore for MemoryAnswers {
    fn begin<'a>(&'a self, key: &'a StoreKey, fingerprint: &'a Fingerprint) -> StoreFuture<'a, Begin> {
        Box::pin(async move { Ok(self.begin_now(key, fingerprint)?) })
    }

    fn complete<'a>(&'a self, key: &'a StoreKey, lease: Lease, answer: Answer) -> StoreFuture<'a, bool> {
        Box::pin(ready(self.complete_now(key, lease, &answer).map_err(Into::into)))
    }

    fn abandon(&self, key: &StoreKey, lease: Lease) {
        let Ok(key) = rows::answer_key(key) else { return };
        let mut state = self.store.lock();
        if state.answers.get(&key).is_some_and(|row| row.is_held(lease, Instant::now())) {
            state.answers.remove(&key);
        }
    }

    fn keeps_bytes(&self) -> bool {
        true
    }

    fn lease_time(&self) -> Option<Duration> {
        Some(self.lease)
    }

    fn kept_for(&self) -> Option<Duration> {
        Some(self.ttl)
    }
}

impl fmt::Debug for MemoryAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAnswers")
            .field("ttl", &self.ttl)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
