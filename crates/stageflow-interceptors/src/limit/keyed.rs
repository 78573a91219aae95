//! A bounded table of states by key, which forgets only what may be forgotten.
//!
//! A state may be forgotten when it is *idle*: nobody uses it, and a new one would decide the same. Of those the least
//! recently used goes first. While none can go, unknown keys share one state, the *rest*, and they go on doing so until the rest is
//! idle as well: a key never has its allowance twice, and a flood of keys limits the flood and nobody else.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// How many of the least recently used keys are looked at to make room for one.
const PROBES: usize = 8;

/// What may be forgotten at times.
pub(crate) trait Idle {
    /// Whether a new state would decide the same from `now` on, in nanoseconds of the limit's clock.
    fn is_idle(&self, now: u64) -> bool;
}

/// States by key.
pub(crate) struct Keyed<T> {
    table: Mutex<Table<T>>,
    /// Of the keys for which there is no room, and of calls without a key.
    rest: Arc<T>,
    max: usize,
    make: Box<dyn Fn() -> T + Send + Sync>,
}

struct Table<T> {
    entries: HashMap<Arc<str>, Entry<T>>,
    /// The keys by when they were used, the oldest first.
    order: BTreeMap<u64, Arc<str>>,
    uses: u64,
    /// The key that was used last, which is found without a search. Weak, so that it counts as no use of the state.
    last: Option<(Arc<str>, Weak<T>)>,
}

struct Entry<T> {
    value: Arc<T>,
    used: u64,
}

impl<T: Idle> Keyed<T> {
    /// A table of at most `max` keys.
    pub(crate) fn new(max: usize, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let table = Table { entries: HashMap::new(), order: BTreeMap::new(), uses: 0, last: None };
        Self { table: Mutex::new(table), rest: Arc::new(make()), max, make: Box::new(make) }
    }

    /// The state of a key. Whoever holds it keeps it from being forgotten.
    #[inline]
    pub(crate) fn get(&self, key: Option<&str>, now: u64) -> Arc<T> {
        let Some(key) = key else { return Arc::clone(&self.rest) };
        let mut table = self.lock();
        match table.last(key) {
            Some(known) => known,
            None => self.find(&mut table, key, now),
        }
    }

    #[inline(never)]
    fn find(&self, table: &mut Table<T>, key: &str, now: u64) -> Arc<T> {
        if let Some(known) = table.touch(key) {
            return known;
        }
        let has_room = is_free(&self.rest, now) && (table.entries.len() < self.max || table.forget_one(now));
        if !has_room {
            return Arc::clone(&self.rest);
        }
        let value = Arc::new((self.make)());
        table.insert(Arc::from(key), Arc::clone(&value));
        value
    }

    /// The state of calls without a key. Where there are keys as well it is that of those for which there is no room, and whoever
    /// goes on using it has to hold it.
    #[cfg(feature = "rate-limit")]
    #[inline]
    pub(crate) fn without_key(&self) -> &Arc<T> {
        &self.rest
    }

    /// How many keys are known.
    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Adds up a figure of all states, the rest among them.
    #[cfg(feature = "bulkhead")]
    pub(crate) fn sum(&self, figure: impl Fn(&T) -> usize) -> usize {
        let known: usize = self.lock().entries.values().map(|entry| figure(&entry.value)).sum();
        known + figure(&self.rest)
    }

    fn lock(&self) -> MutexGuard<'_, Table<T>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nobody but the table holds a state, and it may be forgotten.
fn is_free<T: Idle>(state: &Arc<T>, now: u64) -> bool {
    Arc::strong_count(state) == 1 && state.is_idle(now)
}

impl<T: Idle> Table<T> {
    /// The state of the key that was used last, if it is this one.
    #[inline]
    fn last(&self, key: &str) -> Option<Arc<T>> {
        let (last, state) = self.last.as_ref()?;
        if **last == *key { state.upgrade() } else { None }
    }

    fn touch(&mut self, key: &str) -> Option<Arc<T>> {
        let entry = self.entries.get_mut(key)?;
        let key = self.order.remove(&entry.used)?;
        self.uses += 1;
        entry.used = self.uses;
        let value = Arc::clone(&entry.value);
        self.last = Some((Arc::clone(&key), Arc::downgrade(&value)));
        self.order.insert(self.uses, key);
        Some(value)
    }

    fn insert(&mut self, key: Arc<str>, value: Arc<T>) {
        self.uses += 1;
        self.order.insert(self.uses, Arc::clone(&key));
        self.last = Some((Arc::clone(&key), Arc::downgrade(&value)));
        self.entries.insert(key, Entry { value, used: self.uses });
    }

    /// Forgets one of the least recently used keys. Those that have to stay get a second chance at the other end of the
    /// order, so that a few that stay for long do not keep the others.
    fn forget_one(&mut self, now: u64) -> bool {
        for _ in 0..PROBES {
            let Some((_, key)) = self.order.pop_first() else { return false };
            let may_go = self.entries.get(&key).is_none_or(|entry| is_free(&entry.value, now));
            if may_go {
                self.entries.remove(&key);
                return true;
            }
            self.uses += 1;
            // Now another one is the newest.
            self.last = None;
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.used = self.uses;
            }
            self.order.insert(self.uses, key);
        }
        false
    }
}

impl<T: Idle> fmt::Debug for Keyed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("keys", &self.len()).field("max", &self.max).finish_non_exhaustive()
    }
}
