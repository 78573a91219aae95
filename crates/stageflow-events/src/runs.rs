//! What is known of the runs that are open: bounded, as the end of a run may be lost.

use std::collections::{BTreeMap, HashMap};

use stageflow_core::id::RunId;

/// At most so many runs are open at a time, unless something else is said.
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
        Self { known: HashMap::new(), order: BTreeMap::new(), next: 0, max: max.max(1) }
    }

    /// What there is for a run, made if it is new. The oldest run gives way where there are too many.
    #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
    pub(crate) fn of(&mut self, run: RunId, make: impl FnOnce() -> T) -> (&mut T, Option<T>) {
        let is_full = !self.contains(run) && self.known.len() >= self.max;
        let given_way = if is_full { self.remove_oldest() } else { None };
        let (order, next) = (&mut self.order, &mut self.next);
        let (_, one) = self.known.entry(run).or_insert_with(|| {
            let number = *next;
            *next += 1;
            order.insert(number, run);
            (number, make())
        });
        (one, given_way.map(|(_, one)| one))
    }

    pub(crate) fn get_mut(&mut self, run: RunId) -> Option<&mut T> {
        self.known.get_mut(&run).map(|(_, one)| one)
    }

    pub(crate) fn contains(&self, run: RunId) -> bool {
        self.known.contains_key(&run)
    }

    /// Adds a run. The oldest gives way where there are too many.
    pub(crate) fn insert(&mut self, run: RunId, one: T) -> Option<(RunId, T)> {
        let given_way = if self.known.len() >= self.max { self.remove_oldest() } else { None };
        self.order.insert(self.next, run);
        self.known.insert(run, (self.next, one));
        self.next += 1;
        given_way
    }

    pub(crate) fn remove(&mut self, run: RunId) -> Option<T> {
        let (number, one) = self.known.remove(&run)?;
        self.order.remove(&number);
        Some(one)
    }

    pub(crate) fn remove_oldest(&mut self) -> Option<(RunId, T)> {
        let (_, run) = self.order.pop_first()?;
        let (_, one) = self.known.remove(&run)?;
        Some((run, one))
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}
