//! A map of bounded size: whoever was not asked for longest leaves first.

use std::{collections::HashMap, hash::Hash};

/// The end of the list.
const NONE: usize = usize::MAX;

/// Nodes stand in one vector and are linked from the newest to the oldest.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    places: HashMap<K, usize>,
    nodes: Vec<Node<K, V>>,
    newest: usize,
    oldest: usize,
    bound: usize,
}

#[derive(Debug)]
struct Node<K, V> {
    key: K,
    value: V,
    newer: usize,
    older: usize,
}

impl<K: Clone + Eq + Hash, V: Clone> Lru<K, V> {
    pub(crate) fn new(bound: usize) -> Self {
        Self { places: HashMap::new(), nodes: Vec::new(), newest: NONE, oldest: NONE, bound: bound.max(1) }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The value of a key, which is as old as before.
    pub(crate) fn peek(&self, key: &K) -> Option<V> {
        self.places.get(key).map(|&at| self.nodes[at].value.clone())
    }

    /// The value of the key that was asked for last, if it is this one. That takes no search.
    #[inline]
    pub(crate) fn newest(&self, is_it: impl FnOnce(&K) -> bool) -> Option<&V> {
        let node = self.nodes.get(self.newest)?;
        is_it(&node.key).then_some(&node.value)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.nodes.iter().map(|node| &node.value)
    }

    /// The value of a key, which is the newest then; made if it is not there. Of those that `stays` holds on to, one leaves
    /// only if there is no other.
    pub(crate) fn get(&mut self, key: &K, make: impl FnOnce() -> V, stays: impl Fn(&V) -> bool) -> V {
        if let Some(known) = self.newest(|newest| newest == key) {
            return known.clone();
        }
        if let Some(&at) = self.places.get(key) {
            self.unlink(at);
            self.link(at);
            return self.nodes[at].value.clone();
        }
        let value = make();
        let at = if self.nodes.len() < self.bound {
            let node = Node { key: key.clone(), value: value.clone(), newer: NONE, older: NONE };
            self.nodes.push(node);
            self.nodes.len() - 1
        } else {
            let at = self.leaving(stays);
            self.unlink(at);
            let node = &mut self.nodes[at];
            self.places.remove(&node.key);
            node.key = key.clone();
            node.value = value.clone();
            at
        };
        self.places.insert(key.clone(), at);
        self.link(at);
        value
    }

    fn leaving(&self, stays: impl Fn(&V) -> bool) -> usize {
        let mut at = self.oldest;
        while at != NONE {
            if !stays(&self.nodes[at].value) {
                return at;
            }
            at = self.nodes[at].newer;
        }
        self.oldest
    }

    fn unlink(&mut self, at: usize) {
        let (newer, older) = (self.nodes[at].newer, self.nodes[at].older);
        match self.nodes.get_mut(newer) {
            Some(node) => node.older = older,
            None => self.newest = older,
        }
        match self.nodes.get_mut(older) {
            Some(node) => node.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link(&mut self, at: usize) {
        self.nodes[at].newer = NONE;
        self.nodes[at].older = self.newest;
        match self.nodes.get_mut(self.newest) {
            Some(node) => node.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }
}
