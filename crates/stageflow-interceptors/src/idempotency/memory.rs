//! [`InMemoryStore`]: answers of one process, for a time, and only so many.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stageflow_core::BoxError;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{Answer, Begin, Fingerprint, IdempotencyStore, Lease, StoreFuture, StoreKey};

/// A store in memory. Clones share the answers.
///
/// It keeps an answer for a [`ttl`](Self::ttl), a day by default, from when it was given; being asked for prolongs nothing. It keeps
/// [`max_entries`](Self::max_entries), 10,000 by default, calls in flight included: the answer that was not asked for longest makes room,
/// and while all are in flight it takes no more. A first call has a [`lease`](Self::lease) of 10 minutes by default.
///
/// ```
/// use stageflow_core::DurationExt;
/// use stageflow_interceptors::InMemoryStore;
/// let store = InMemoryStore::new().ttl(60.mins()).max_entries(1_000).lease(30.secs());
/// assert!(store.is_empty());
/// ```
#[derive(Clone)]
pub struct InMemoryStore {
    table: Arc<Mutex<Table>>,
    ttl: Duration,
    lease: Duration,
    max_entries: usize,
}

#[derive(Default)]
struct Table {
    entries: HashMap<Arc<StoreKey>, Entry>,
    /// The keys with an answer by when they were asked for, the oldest first.
    used: BTreeMap<u64, Arc<StoreKey>>,
    /// The keys with an answer by when it ends.
    ends: BTreeMap<(Instant, u64), Arc<StoreKey>>,
    /// The last number given, to leases and to uses.
    last: u64,
}

struct Entry {
    fingerprint: Fingerprint,
    state: State,
}

enum State {
    /// Until then somebody is about to answer. Whoever waits holds the other end, and wakes when this one is dropped.
    InFlight {
        id: u64,
        until: Option<Instant>,
        gone: watch::Sender<()>,
    },
    Done {
        answer: Answer,
        used: u64,
        end: Option<(Instant, u64)>,
    },
}

impl Table {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Takes an entry out, to be dropped where nothing is locked: answers are the user's.
    fn remove(&mut self, key: &StoreKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        if let State::Done { used, end, .. } = &entry.state {
            self.used.remove(used);
            if let Some(end) = end {
                self.ends.remove(end);
            }
        }
        Some(entry)
    }

    /// Takes out what has ended.
    fn expire(&mut self, now: Instant, gone: &mut Vec<Entry>) {
        while let Some((_, key)) = self.ends.first_key_value().filter(|((end, _), _)| *end <= now) {
            let key = Arc::clone(key);
            gone.extend(self.remove(&key));
        }
    }

    /// What is known of a key; `None` if the call is to be the first.
    fn known(&mut self, key: &StoreKey, fingerprint: &Fingerprint, now: Instant) -> Option<Begin> {
        let number = self.number();
        let (own, entry) = self.entries.get_key_value(key)?;
        let own = Arc::clone(own);
        if matches!(entry.state, State::InFlight { until: Some(until), .. } if until <= now) {
            return None;
        }
        if entry.fingerprint != *fingerprint {
            return Some(Begin::Mismatch);
        }
        match &mut self.entries.get_mut(key)?.state {
            State::InFlight { until, gone, .. } => {
                let (until, mut gone) = (*until, gone.subscribe());
                Some(Begin::InFlight(Box::pin(async move {
                    // Nothing is ever sent: it ends when the sender goes.
                    let changed = gone.changed();
                    match until {
                        Some(until) => drop(timeout_at(until, changed).await),
                        None => drop(changed.await),
                    }
                })))
            }
            State::Done { answer, used, .. } => {
                self.used.remove(used);
                *used = number;
                self.used.insert(number, own);
                Some(Begin::Done(answer.clone()))
            }
        }
    }

    /// Whether the key is still held under the lease.
    fn is_held(&self, key: &StoreKey, lease: Lease, now: Instant) -> bool {
        self.entries.get(key).is_some_and(|entry| match &entry.state {
            State::InFlight { id, until, .. } => *id == lease.id() && until.is_none_or(|until| now <= until),
            State::Done { .. } => false,
        })
    }
}

impl Default for InMemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl InMemoryStore {
    /// A store for 10,000 answers for a day each.
    #[must_use]
    pub fn new() -> Self {
        Self {
            table: Arc::default(),
            ttl: Duration::from_secs(24 * 60 * 60),
            lease: Duration::from_secs(10 * 60),
            max_entries: 10_000,
        }
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

    /// How many keys it knows at most; 0 counts as 1.
    #[must_use]
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries.max(1);
        self
    }

    /// How many keys it knows at the moment.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_now(&self, key: &StoreKey, fingerprint: &Fingerprint) -> Result<Begin, BoxError> {
        let now = Instant::now();
        // Declared before the lock, and so dropped after it.
        let mut gone = Vec::new();
        let mut table = self.lock();
        table.expire(now, &mut gone);
        if let Some(known) = table.known(key, fingerprint, now) {
            return Ok(known);
        }
        gone.extend(table.remove(key));
        if table.entries.len() >= self.max_entries {
            let oldest = table.used.first_key_value().map(|(_, key)| Arc::clone(key));
            let Some(oldest) = oldest else {
                return Err(format!("all of its {} entries are in flight", self.max_entries).into());
            };
            gone.extend(table.remove(&oldest));
        }
        let id = table.number();
        let state = State::InFlight { id, until: now.checked_add(self.lease), gone: watch::Sender::new(()) };
        table.entries.insert(Arc::new(key.clone()), Entry { fingerprint: fingerprint.clone(), state });
        Ok(Begin::First(Lease::new(id, self.lease)))
    }

    fn complete_now(&self, key: &StoreKey, lease: Lease, answer: Answer) -> bool {
        let now = Instant::now();
        let mut table = self.lock();
        if !table.is_held(key, lease, now) {
            drop(table);
            return false;
        }
        let Some(entry) = table.remove(key) else { return false };
        let used = table.number();
        let key = Arc::new(key.clone());
        let end = now.checked_add(self.ttl).map(|end| (end, used));
        table.used.insert(used, Arc::clone(&key));
        if let Some(end) = end {
            table.ends.insert(end, Arc::clone(&key));
        }
        let state = State::Done { answer, used, end };
        table.entries.insert(key, Entry { fingerprint: entry.fingerprint, state });
        true
    }
}

impl IdempotencyStore for InMemoryStore {
    fn begin<'a>(&'a self, key: &'a StoreKey, fingerprint: &'a Fingerprint) -> StoreFuture<'a, Begin> {
        Box::pin(async move { self.begin_now(key, fingerprint) })
    }

    fn complete<'a>(&'a self, key: &'a StoreKey, lease: Lease, answer: Answer) -> StoreFuture<'a, bool> {
        Box::pin(ready(Ok(self.complete_now(key, lease, answer))))
    }

    fn abandon(&self, key: &StoreKey, lease: Lease) {
        let mut table = self.lock();
        let held = table
            .entries
            .get(key)
            .is_some_and(|entry| matches!(entry.state, State::InFlight { id, .. } if id == lease.id()));
        let gone = if held { table.remove(key) } else { None };
        drop(table);
        drop(gone);
    }

    fn lease_time(&self) -> Option<Duration> {
        Some(self.lease)
    }

    fn kept_for(&self) -> Option<Duration> {
        Some(self.ttl)
    }
}

impl fmt::Debug for InMemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryStore")
            .field("len", &self.len())
            .field("ttl", &self.ttl)
            .field("lease", &self.lease)
            .field("max_entries", &self.max_entries)
            .finish()
    }
}
