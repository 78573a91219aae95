//! The jobs of one class, fair by tenant.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// How many tenants are remembered that wait for nothing.
const IDLE: usize = 10_000;

/// Whose job it is.
pub(super) type TenantKey = Option<Arc<str>>;

/// A job in the queue.
#[derive(Debug)]
pub(super) struct Item<J> {
    pub(super) job: J,
    pub(super) cost: u64,
    pub(super) arrived: u64,
}

/// Jobs by tenant, each served in the order of arrival. The tenant goes first whose next job would have begun first if all tenants were
/// served at once, by cost: start-time fair queueing (Goyal, Vin, Cheng, 1996).
#[derive(Debug)]
pub(super) struct Tenants<J> {
    known: HashMap<TenantKey, Tenant<J>>,
    /// Those that wait, by when their first job would begin.
    waiting: BTreeSet<(u128, u64, TenantKey)>,
    /// Those that do not, and are ahead of the others still, by how far.
    idle: BTreeSet<(u128, TenantKey)>,
    /// All jobs in the order of arrival.
    arrivals: BTreeMap<u64, (TenantKey, u64)>,
    /// The beginning of the job that was served last.
    virtual_time: u128,
}

#[derive(Debug)]
struct Tenant<J> {
    jobs: BTreeMap<u64, Item<J>>,
    /// When its first job would begin, or its next one.
    start: u128,
}

impl<J> Tenants<J> {
    pub(super) fn new() -> Self {
        Self {
            known: HashMap::new(),
            waiting: BTreeSet::new(),
            idle: BTreeSet::new(),
            arrivals: BTreeMap::new(),
            virtual_time: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.arrivals.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// The job that waits longest, and since when.
    pub(super) fn oldest(&self) -> Option<(u64, u64)> {
        self.arrivals.first_key_value().map(|(id, (_, arrived))| (*id, *arrived))
    }

    pub(super) fn push(&mut self, id: u64, key: TenantKey, item: Item<J>) {
        self.arrivals.insert(id, (key.clone(), item.arrived));
        // Whoever was away has saved nothing up: those who are behind are forgotten, and begin here.
        let virtual_time = self.virtual_time;
        let tenant = self
            .known
            .entry(key.clone())
            .or_insert_with(|| Tenant { jobs: BTreeMap::new(), start: virtual_time });
        if tenant.jobs.is_empty() {
            self.idle.remove(&(tenant.start, key.clone()));
            self.waiting.insert((tenant.start, id, key));
        }
        tenant.jobs.insert(id, item);
    }

    /// The job whose turn it is.
    pub(super) fn pop(&mut self) -> Option<Item<J>> {
        let (_, id, _) = self.waiting.first()?;
        self.serve(*id)
    }

    /// Serves a job, whether it is its turn or not.
    pub(super) fn serve(&mut self, id: u64) -> Option<Item<J>> {
        self.take(id, true)
    }

    /// Gives a job up.
    pub(super) fn remove(&mut self, id: u64) -> Option<Item<J>> {
        self.take(id, false)
    }

    fn take(&mut self, id: u64, served: bool) -> Option<Item<J>> {
        let (key, _) = self.arrivals.remove(&id)?;
        let tenant = self.known.get_mut(&key)?;
        let first = *tenant.jobs.first_key_value()?.0;
        self.waiting.remove(&(tenant.start, first, key.clone()));
        let item = tenant.jobs.remove(&id)?;
        if served {
            self.virtual_time = self.virtual_time.max(tenant.start);
            tenant.start = tenant.start.saturating_add(u128::from(item.cost));
        }
        match tenant.jobs.first_key_value() {
            Some((next, _)) => drop(self.waiting.insert((tenant.start, *next, key))),
            None => drop(self.idle.insert((tenant.start, key))),
        }
        self.forget();
        Some(item)
    }

    /// Forgets those that wait for nothing and are ahead of nobody.
    fn forget(&mut self) {
        if self.waiting.is_empty() {
            // Nobody competes: what was before counts for nothing.
            self.virtual_time = self.idle.last().map_or(self.virtual_time, |(start, _)| *start);
        }
        while let Some((start, _)) = self.idle.first()
            && (*start <= self.virtual_time || self.idle.len() > IDLE)
            && let Some((_, key)) = self.idle.pop_first()
        {
            self.known.remove(&key);
        }
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.known.len()
    }
}
