//! Stores: bounds and times of the one in memory, one that fails, one that forgets, one that keeps bytes.

use std::{
    collections::HashMap,
    future::ready,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use stageflow_core::{DurationExt as _, ErrorClass, Value};

use super::kit::{Kit, Script, message, output};
use crate::{
    Answer, Begin, Fingerprint, Idempotency, IdempotencyStore, InMemoryStore, Lease, StoreFuture, StoreKey,
};

const COUNTS: Script = Ok;

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_for_its_time_and_asking_prolongs_nothing() {
    let store = InMemoryStore::new().ttl(10.secs());
    let kit = Kit::new(Idempotency::new(store.clone()), COUNTS);
    assert_eq!(output(&kit.run("a", 1).await), Some(1));
    for _ in 0..3 {
        tokio::time::sleep(3.secs()).await;
        assert_eq!(output(&kit.run("a", 1).await), Some(1));
    }
    tokio::time::sleep(1.secs()).await;
    // With its time over the key is free for other inputs, too.
    assert_eq!((output(&kit.run("a", 2).await), kit.calls()), (Some(2), 2));
    tokio::time::sleep(11.secs()).await;
    assert_eq!(output(&kit.run("b", 1).await), Some(3));
    assert_eq!(store.len(), 1, "what has ended is forgotten though nobody asks for it");
}

#[tokio::test(start_paused = true)]
async fn the_answer_not_asked_for_longest_makes_room() {
    let store = InMemoryStore::new().max_entries(2);
    let kit = Kit::new(Idempotency::new(store.clone()), COUNTS);
    for (key, answer) in [("a", 1), ("b", 2), ("a", 1), ("c", 3), ("a", 1), ("b", 4), ("a", 1), ("c", 5)] {
        assert_eq!(output(&kit.run(key, 1).await), Some(answer), "{key}");
        assert!(store.len() <= 2);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_are_never_forgotten_for_others() {
    let kit = Kit::new(Idempotency::new(InMemoryStore::new().max_entries(1)), COUNTS);
    let first = kit.spawn("a");
    tokio::time::sleep(100.millis()).await;
    let ended = kit.run("b", 1).await;
    let told =
        "the idempotency store failed, and so the call was not made: all of its 1 entries are in flight";
    assert_eq!(message(&ended), told);
    assert_eq!((output(&first.await.unwrap()), kit.calls()), (Some(1), 1));
    assert!(store_is_plain(&format!("{:?}", InMemoryStore::new())));
}

fn store_is_plain(text: &str) -> bool {
    text.starts_with("InMemoryStore { len: 0")
}

/// Fails to begin, or to complete.
struct Failing {
    inner: InMemoryStore,
    at_begin: Arc<AtomicBool>,
    asked: AtomicU32,
}

impl IdempotencyStore for Failing {
    fn begin<'a>(&'a self, key: &'a StoreKey, fingerprint: &'a Fingerprint) -> StoreFuture<'a, Begin> {
        // Where the run asks in circles no time passes, and nobody else gets to say so.
        assert!(self.asked.fetch_add(1, Ordering::SeqCst) < 100, "it asks again and again");
        if self.at_begin.load(Ordering::SeqCst) {
            return Box::pin(ready(Err("connection refused".into())));
        }
        self.inner.begin(key, fingerprint)
    }

    fn complete<'a>(&'a self, _: &'a StoreKey, _: Lease, _: Answer) -> StoreFuture<'a, bool> {
        Box::pin(ready(Err("connection refused".into())))
    }

    fn abandon(&self, key: &StoreKey, lease: Lease) {
        self.inner.abandon(key, lease);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_before_the_call_fails_closed() {
    let at_begin = Arc::new(AtomicBool::new(true));
    let store = Failing {
        inner: InMemoryStore::new().lease(5.secs()),
        at_begin: Arc::clone(&at_begin),
        asked: AtomicU32::new(0),
    };
    let kit = Kit::new(Idempotency::new(store), COUNTS);
    let ended = kit.run("a", 1).await;
    let told = "the idempotency store failed, and so the call was not made: connection refused";
    assert_eq!((message(&ended).as_str(), kit.calls()), (told, 0));
    assert_eq!(ended.unwrap_err().failure().unwrap().class(), ErrorClass::Transient);
    // After the call it is too late: the output stays, it is told, and the key is held as long as it may be.
    at_begin.store(false, Ordering::SeqCst);
    let began = tokio::time::Instant::now();
    assert_eq!(output(&kit.run("a", 1).await), Some(1));
    assert_eq!(kit.told("idempotency.not_stored"), 1);
    assert_eq!(output(&kit.run("a", 1).await), Some(2));
    assert_eq!(began.elapsed(), 6.secs());
}

/// Tells everybody to be the first.
struct Forgets;

impl IdempotencyStore for Forgets {
    fn begin<'a>(&'a self, _: &'a StoreKey, _: &'a Fingerprint) -> StoreFuture<'a, Begin> {
        Box::pin(ready(Ok(Begin::First(Lease::new(1, 60.secs())))))
    }

    fn complete<'a>(&'a self, _: &'a StoreKey, _: Lease, _: Answer) -> StoreFuture<'a, bool> {
        Box::pin(ready(Ok(true)))
    }

    fn abandon(&self, _: &StoreKey, _: Lease) {}
}

/// Keeps bytes, has its waiters ask again from time to time, and gives keys free by a task of its own.
#[derive(Clone, Default)]
struct Bytes(Arc<Mutex<HashMap<String, Row>>>);

/// The fingerprint, and the answer once it is there.
type Row = (Vec<u8>, Option<Vec<u8>>);

impl IdempotencyStore for Bytes {
    fn begin<'a>(&'a self, key: &'a StoreKey, fingerprint: &'a Fingerprint) -> StoreFuture<'a, Begin> {
        Box::pin(async move {
            tokio::time::sleep(5.millis()).await;
            let mut rows = self.0.lock().unwrap();
            Ok(match rows.get(&format!("{key:?}")) {
                None => {
                    rows.insert(format!("{key:?}"), (fingerprint.as_bytes().to_vec(), None));
                    Begin::First(Lease::new(1, 60.secs()))
                }
                Some((known, _)) if known != fingerprint.as_bytes() => Begin::Mismatch,
                Some((_, None)) => Begin::InFlight(Box::pin(tokio::time::sleep(50.millis()))),
                Some((_, Some(bytes))) => {
                    let number = u32::from_be_bytes(bytes.as_slice().try_into()?);
                    Begin::Done(Answer::Output(Value::new(number)))
                }
            })
        })
    }

    fn complete<'a>(&'a self, key: &'a StoreKey, _: Lease, answer: Answer) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            tokio::time::sleep(5.millis()).await;
            let Answer::Output(value) = answer else { return Err("no codec for failures".into()) };
            let number = value.downcast_ref::<u32>().ok_or("no codec for this type")?;
            if let Some(row) = self.0.lock().unwrap().get_mut(&format!("{key:?}")) {
                row.1 = Some(number.to_be_bytes().to_vec());
            }
            Ok(true)
        })
    }

    fn abandon(&self, key: &StoreKey, _: Lease) {
        let (store, key) = (self.clone(), format!("{key:?}"));
        drop(tokio::spawn(async move { store.0.lock().unwrap().remove(&key) }));
    }
}

/// How many calls 100 runs with one key make.
async fn calls(once: Idempotency) -> u32 {
    let kit = Kit::new(once, COUNTS);
    let first = kit.spawn("a");
    tokio::time::sleep(100.millis()).await;
    let runs: Vec<_> = (0..98).map(|_| kit.spawn("a")).collect();
    for run in [first].into_iter().chain(runs) {
        assert!(run.await.unwrap().is_ok());
    }
    assert!(kit.run("a", 1).await.is_ok());
    kit.calls()
}

#[tokio::test(start_paused = true)]
async fn a_store_of_bytes_does_as_well_and_one_that_forgets_is_found_out() {
    assert_eq!(calls(Idempotency::new(InMemoryStore::new())).await, 1);
    assert_eq!(calls(Idempotency::new(Bytes::default())).await, 1);
    // The check itself: it sees a store that forgets.
    assert_eq!(calls(Idempotency::new(Forgets)).await, 100);

    let kit = Kit::new(Idempotency::new(Bytes::default()), COUNTS);
    let first = kit.spawn("a");
    tokio::time::sleep(100.millis()).await;
    first.abort();
    assert_eq!(output(&kit.run("a", 1).await), Some(2));
    assert_eq!(output(&kit.run("a", 1).await), Some(2));
    assert!(kit.run("a", 2).await.is_err());
}
