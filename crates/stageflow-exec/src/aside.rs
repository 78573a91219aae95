//! Where a run keeps its pending stages.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use crossbeam_utils::CachePadded;
use slab::Slab;

use crate::node::Node;

const SHARDS: usize = 4;

/// On a cache line of its own.
type Shard = CachePadded<Mutex<Slab<Arc<Node>>>>;

/// The pending stages of a run. Each worker puts its own aside where others rarely look, so that they do not wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// Not there before a stage stays pending.
    shards: OnceLock<Box<[Shard; SHARDS]>>,
    workers: AtomicUsize,
}

impl Aside {
    /// The shard of one more worker.
    pub(crate) fn shard(&self) -> usize {
        self.workers.fetch_add(1, Ordering::Relaxed) % SHARDS
    }

    /// Keeps a stage, in the shard of the worker that does so.
    pub(crate) fn insert(&self, shard: usize, node: &Arc<Node>) {
        let key = lock(&self.shards.get_or_init(Box::default)[shard]).insert(Arc::clone(node));
        node.key.store(key * SHARDS + shard, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, node: &Node) {
        let key = node.key.load(Ordering::Relaxed);
        if let Some(shard) = self.all().nth(key % SHARDS) {
            lock(shard).try_remove(key / SHARDS);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Shard> {
        self.shards.get().into_iter().flat_map(|shards| shards.iter())
    }

    /// Whether there is none. With workers inside it may be out of date.
    pub(crate) fn is_empty(&self) -> bool {
        self.all().all(|shard| lock(shard).is_empty())
    }

    /// Looks at each.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&Arc<Node>)) {
        for shard in self.all() {
            lock(shard).iter().for_each(|(_, node)| look(node));
        }
    }

    /// Takes all.
    pub(crate) fn drain(&self) -> Vec<Arc<Node>> {
        let all = self.all().map(|shard| std::mem::take(&mut *lock(shard)));
        all.flat_map(|shard| shard.into_iter().map(|(_, node)| node)).collect()
    }
}

fn lock(shard: &Shard) -> MutexGuard<'_, Slab<Arc<Node>>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
