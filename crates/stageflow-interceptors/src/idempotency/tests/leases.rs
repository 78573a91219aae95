//! Leases of the store in memory: each is for one call, and for its time.

use std::sync::{Arc, Mutex};

use stageflow_core::{DurationExt as _, Value};

use super::kit::{Kit, output};
use crate::{
    Answer, Begin, Fingerprint, Idempotency, IdempotencyStore, InMemoryStore, Lease, StoreFuture, StoreKey,
};

/// A lease that has ended, or was given to another call, neither stores an answer nor gives the key free.
#[tokio::test(start_paused = true)]
async fn a_lease_that_has_ended_changes_nothing() {
    let store = Seen(Arc::default(), InMemoryStore::new());
    let kit = Kit::new(Idempotency::new(store.clone()), Ok);
    let first = kit.spawn("a");
    tokio::time::sleep(100.millis()).await;
    let (key, old) = store.last();
    first.abort();
    tokio::time::sleep(100.millis()).await;
    let second = kit.spawn("a");
    tokio::time::sleep(100.millis()).await;
    let (_, new) = store.last();
    assert_ne!(old.id(), new.id());
    let stale = || Answer::Output(Value::new(77_u32));
    assert!(!store.1.complete(&key, old, stale()).await.unwrap(), "that of an earlier call");
    store.1.abandon(&key, old);
    let third = kit.spawn("a");
    assert_eq!((output(&second.await.unwrap()), output(&third.await.unwrap())), (Some(2), Some(2)));
    assert!(!store.1.complete(&key, new, stale()).await.unwrap(), "that of a call that has answered");
    assert_eq!((output(&kit.run("a", 1).await), kit.calls()), (Some(2), 2));

    // A call that is late.
    let store = InMemoryStore::new().lease(5.secs());
    let Begin::First(late) = store.begin(&key, &Fingerprint::from(1)).await.unwrap() else {
        panic!("the key is free")
    };
    tokio::time::sleep(5.secs() + 1.millis()).await;
    assert!(!store.complete(&key, late, stale()).await.unwrap(), "that of a call that is late");
}

/// Remembers what it has given last.
#[derive(Clone)]
struct Seen(Arc<Mutex<Option<(StoreKey, Lease)>>>, InMemoryStore);

impl Seen {
    fn last(&self) -> (StoreKey, Lease) {
        self.0.lock().unwrap().clone().expect("a call has asked")
    }
}

impl IdempotencyStore for Seen {
    fn begin<'a>(&'a self, key: &'a StoreKey, fingerprint: &'a Fingerprint) -> StoreFuture<'a, Begin> {
        Box::pin(async move {
            let begin = self.1.begin(key, fingerprint).await?;
            if let Begin::First(lease) = &begin {
                *self.0.lock().unwrap() = Some((key.clone(), *lease));
            }
            Ok(begin)
        })
    }

    fn complete<'a>(&'a self, key: &'a StoreKey, lease: Lease, answer: Answer) -> StoreFuture<'a, bool> {
        self.1.complete(key, lease, answer)
    }

    fn abandon(&self, key: &StoreKey, lease: Lease) {
        self.1.abandon(key, lease);
    }
}
