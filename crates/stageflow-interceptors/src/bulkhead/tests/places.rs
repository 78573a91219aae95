//! Places: never more than there are, in order, and free again whatever happens.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use stageflow_core::{DurationExt, Randomness, code, time::SeededRandom};
use tokio::time::Instant;

use crate::{Bulkhead, BulkheadFull, BulkheadPermit};

fn bulkhead(calls: u32, queue: u32) -> Bulkhead {
    Bulkhead::builder("db").max_concurrent(calls).max_queue(queue).build().unwrap()
}

type Acquiring = Pin<Box<dyn Future<Output = Result<BulkheadPermit, BulkheadFull>> + Send>>;

fn acquiring(bulkhead: &Bulkhead) -> Acquiring {
    let bulkhead = bulkhead.clone();
    Box::pin(async move { bulkhead.acquire(None).await })
}

/// Polls a future once, so that it stands in the queue.
async fn begin(mut acquiring: Acquiring) -> Acquiring {
    let done = std::future::poll_fn(|cx| Poll::Ready(acquiring.as_mut().poll(cx).is_ready())).await;
    assert!(!done, "it has to wait");
    acquiring
}

/// The most calls that were ever inside at the same time, over 8 threads.
async fn most_inside(limit: Option<&Bulkhead>) -> usize {
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let calls: Vec<_> = (0..400)
        .map(|_| {
            let (limit, inside, most) = (limit.cloned(), Arc::clone(&inside), Arc::clone(&most));
            tokio::spawn(async move {
                let permit = match &limit {
                    Some(limit) => Some(limit.acquire(None).await.unwrap()),
                    None => None,
                };
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
                if let Some(limit) = &limit {
                    assert!(limit.in_flight() <= 4);
                }
                inside.fetch_sub(1, Ordering::SeqCst);
                drop(permit);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    most.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn never_more_than_the_limit_are_inside_on_real_threads() {
    let limit = bulkhead(4, 400);
    assert_eq!(most_inside(Some(&limit)).await, 4);
    assert_eq!((limit.in_flight(), limit.queued()), (0, 0));
    // The check itself: without a limit there are more.
    assert!(most_inside(None).await > 4);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_and_refuses_at_once() {
    let limit = bulkhead(1, 2);
    let held = limit.acquire(None).await.unwrap();
    let waiting = [begin(acquiring(&limit)).await, begin(acquiring(&limit)).await];
    let started = Instant::now();
    let full = limit.acquire(None).await.unwrap_err();
    assert_eq!((full.wait(), full.bulkhead(), started.elapsed()), (None, "db", Duration::ZERO));
    assert_eq!(
        full.to_string(),
        "the bulkhead `db` is full: 1 at a time, and no place among 2 that may wait"
    );
    assert_eq!((limit.in_flight(), limit.queued()), (1, 2));
    let [first, second] = waiting;
    drop(first);
    assert_eq!(limit.queued(), 1);
    let third = begin(acquiring(&limit)).await;
    drop(held);
    drop(second.await.unwrap());
    drop(third.await.unwrap());
    assert_eq!((limit.in_flight(), limit.queued()), (0, 0));
    let exit = full.into_exit();
    assert_eq!(exit.error_code(), Some(code::BULKHEAD_FULL));
    assert!(exit.error_class().unwrap().may_retry());
}

#[tokio::test(start_paused = true)]
async fn nobody_passes_those_who_wait() {
    let limit = bulkhead(1, 10);
    let held = limit.try_acquire(None).unwrap();
    let waiting = begin(acquiring(&limit)).await;
    drop(held);
    // The permit is that of the one who waits already.
    assert!(limit.try_acquire(None).is_err());
    drop(waiting);
    assert!(limit.try_acquire(None).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_time() {
    let limit = Bulkhead::builder("db").max_concurrent(1).queue_timeout(2.secs()).build().unwrap();
    let _held = limit.acquire(None).await.unwrap();
    let started = Instant::now();
    let full = limit.acquire(None).await.unwrap_err();
    assert_eq!((full.wait(), started.elapsed()), (Some(2.secs()), 2.secs()));
    assert_eq!(full.to_string(), "the bulkhead `db` is full: 1 at a time, and no turn within 2.0s");
    let full = limit.acquire_within(None, 1.secs()).await.unwrap_err();
    assert_eq!((full.wait(), started.elapsed()), (Some(1.secs()), 3.secs()));
    assert_eq!(limit.queued(), 0);
}

/// Random waiters give up at random times: the others go in their order, and nothing is left behind.
#[tokio::test(start_paused = true)]
async fn order_and_places_survive_cancellations() {
    for seed in 0..100 {
        let random = SeededRandom::new(seed);
        let limit = bulkhead(1, 30);
        let held = limit.acquire(None).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut calls = Vec::new();
        for number in 0..30 {
            let (limit, order) = (limit.clone(), Arc::clone(&order));
            let call = tokio::spawn(async move {
                let permit = limit.acquire(None).await.unwrap();
                order.lock().unwrap().push(number);
                tokio::time::sleep(10.millis()).await;
                drop(permit);
            });
            tokio::task::yield_now().await;
            calls.push(call);
        }
        assert_eq!(limit.queued(), 30);
        drop(held);
        for call in &calls {
            if random.next_u64().is_multiple_of(3) {
                tokio::time::sleep(Duration::from_millis(random.next_u64() % 15)).await;
                call.abort();
            }
        }
        for call in calls {
            let _ = call.await;
        }
        let order = order.lock().unwrap();
        assert!(order.is_sorted() && !order.is_empty(), "seed {seed}: {order:?}");
        assert_eq!((limit.in_flight(), limit.queued()), (0, 0), "seed {seed}");
        assert!(limit.try_acquire(None).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_gives_the_permit_back() {
    let limit = bulkhead(1, 0);
    let held = limit.clone();
    let call = tokio::spawn(async move {
        let _permit = held.acquire(None).await.unwrap();
        panic!("on purpose");
    });
    assert!(call.await.is_err());
    assert!(limit.try_acquire(None).is_ok());
}

#[tokio::test(start_paused = true)]
async fn tenants_have_their_own_and_a_flood_of_them_is_bounded() {
    let limit = Bulkhead::builder("db").max_concurrent(1).per_tenant(true).max_keys(10).build().unwrap();
    let a = limit.try_acquire(Some("a")).unwrap();
    assert!(limit.try_acquire(Some("a")).is_err() && limit.try_acquire(Some("b")).is_ok());
    for tenant in 0..1_000 {
        drop(limit.try_acquire(Some(&tenant.to_string())).unwrap());
        assert!(limit.keys() <= 10);
    }
    assert!(limit.try_acquire(Some("a")).is_err(), "who runs is not forgotten");
    let held: Vec<_> = (0..1_000).filter_map(|it| limit.try_acquire(Some(&it.to_string())).ok()).collect();
    // Nine more that there is room for, and one for all the others.
    assert_eq!((held.len(), limit.in_flight(), limit.keys()), (10, 11, 10));
    drop((a, held));
    assert!(limit.try_acquire(Some("new")).is_ok());
}

#[test]
fn what_cannot_work_is_not_built() {
    let error = Bulkhead::builder("db").max_concurrent(0).max_keys(0).build().unwrap_err();
    assert_eq!(error.problems().len(), 2, "{error}");
}
