//! What is known of the runs that are open: bounded, as the end of a run may be lost.

use std::collections::{BTreeMap, HashMap};

use stageflow_core::id::RunId;

/// At most so many runs are open at a time.
pub(crate) const MAX_RUNS: usize = 65_536;

/// Something for each open run.
#[derive(Debug)]
pub(crate) struct Runs<T> {
    known: HashMap<RunId, (u64, T)>,
    /// By their beginning.
    order: BTreeMap<u64, RunId>,
    next: u64,
    max: usize,
}

impl<T> Runs<T> {
    pub(crate) fn new(max: usize) -> Self {
        Self { known: HashMap::new(), order: BTreeMap::new(), next: 0, max }
    }

    /// What there is for a run, made if it is new. The oldest run gives way where there are too many.
    pub(crate) fn of(&mut self, run: RunId, make: impl FnOnce() -> T) -> (&mut T, Option<T>) {
        let mut given_way = None;
        if !self.known.contains_key(&run) && self.known.len() >= self.max {
            let oldest = self.order.first_key_value().map(|(_, oldest)| *oldest);
            given_way = oldest.and_then(|oldest| self.remove(oldest));
        }
        let (order, next) = (&mut self.order, &mut self.next);
        let (_, one) = self.known.entry(run).or_insert_with(|| {
            let number = *next;
            *next += 1;
            order.insert(number, run);
            (number, make())
        });
        (one, given_way)
    }

    pub(crate) fn knows(&self, run: RunId) -> bool {
        self.known.contains_key(&run)
    }

    pub(crate) fn remove(&mut self, run: RunId) -> Option<T> {
        let (number, one) = self.known.remove(&run)?;
        self.order.remove(&number);
        Some(one)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}
