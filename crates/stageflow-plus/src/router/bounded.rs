//! A map of bounded size: whoever was not asked for longest leaves first.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// What is known of each key.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    known: HashMap<K, (u64, V)>,
    /// The keys by when they were last asked for.
    order: BTreeMap<u64, K>,
    clock: u64,
    bound: usize,
}

impl<K: Clone + Eq + Hash, V: Default> Bounded<K, V> {
    pub(crate) fn new(bound: usize) -> Self {
        Self { known: HashMap::new(), order: BTreeMap::new(), clock: 0, bound: bound.max(1) }
    }

    /// The value of a key, which is the newest then; made if it is not there.
    pub(crate) fn get(&mut self, key: &K) -> &mut V {
        self.clock += 1;
        if let Some((at, _)) = self.known.get(key) {
            self.order.remove(at);
        } else if self.known.len() >= self.bound
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.known.remove(&oldest);
        }
        self.order.insert(self.clock, key.clone());
        let entry = self.known.entry(key.clone()).or_insert_with(|| (0, V::default()));
        entry.0 = self.clock;
        &mut entry.1
    }

    pub(crate) fn peek(&self, key: &K) -> Option<&V> {
        self.known.get(key).map(|(_, value)| value)
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (at, value) = self.known.remove(key)?;
        self.order.remove(&at);
        Some(value)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}
