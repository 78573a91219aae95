//! A first call that is only looked at again when its lease is long over, and another has become the first.

use std::{future::Future, pin::Pin, task::Poll};

use stageflow_core::DurationExt as _;

use super::kit::{Ended, Kit, output};
use crate::{Idempotency, InMemoryStore};

type Running = Pin<Box<dyn Future<Output = Ended>>>;

/// The first call under `a`, which has begun and is not polled any more; its lease of two seconds is over.
async fn overdue() -> (Kit, InMemoryStore, Running) {
    let store = InMemoryStore::new().lease(2.secs());
    let kit = Kit::new(Idempotency::new(store.clone()), Ok);
    let own = kit.clone();
    let mut first: Running = Box::pin(async move { own.run("a", 1).await });
    let done = std::future::poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_ready())).await;
    assert!(!done && kit.calls() == 1);
    tokio::time::advance(3.secs()).await;
    (kit, store, first)
}

/// What it gives is too late: the answer is that of the other.
#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_the_lease_is_not_stored() {
    let (kit, _, first) = overdue().await;
    let second = kit.spawn("a");
    tokio::task::yield_now().await;
    assert_eq!(kit.calls(), 2);
    assert_eq!(output(&first.await), Some(1), "the call itself has come to its end");
    assert_eq!(kit.told("idempotency.not_stored"), 1);
    assert_eq!(output(&second.await.unwrap()), Some(2));
    assert_eq!((output(&kit.run("a", 1).await), kit.calls()), (Some(2), 2));
}

/// When it goes it gives nothing free that is another's.
#[tokio::test(start_paused = true)]
async fn a_late_first_that_is_dropped_does_not_free_the_key_of_another() {
    let (kit, store, first) = overdue().await;
    let second = kit.spawn("a");
    tokio::task::yield_now().await;
    drop(first);
    assert_eq!((kit.calls(), store.len()), (2, 1));
    let third = kit.run("a", 1).await;
    assert_eq!((output(&third), output(&second.await.unwrap()), kit.calls()), (Some(2), Some(2), 2));
}
