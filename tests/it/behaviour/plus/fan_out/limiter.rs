//! The limiter as a plain object.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

use stageflow::{
    Randomness as _, SeededRandom, code,
    plus::fan_out::{FanOutLimiter, FanOutRequest, Overflow, QueueOrder, RefusedBy},
    prelude::*,
};

use super::Gauge;
use crate::behaviour::kit::{Log, within};

fn limited(limit: usize) -> FanOutLimiter {
    FanOutLimiter::builder("test").limit(limit).build().expect("a limiter")
}

fn one() -> FanOutRequest {
    FanOutRequest::new()
}

#[test]
fn a_limiter_with_which_nobody_could_go_is_not_built() {
    let error = FanOutLimiter::builder("none").limit(0).key_limit(0).build().expect_err("nobody could go");
    assert_eq!((error.code(), error.problems().count(), error.limiter()), (code::INVALID_POLICY, 2, "none"));
}

/// Whoever gives up, in whatever order: those who stay come in the order in which they came.
#[tokio::test(start_paused = true)]
async fn first_come_first_served_though_random_others_give_up() {
    for seed in 0..50 {
        let dice = SeededRandom::new(seed);
        let limiter = limited(2);
        let held = (limiter.acquire(one()).await, limiter.acquire(one()).await);
        let log = Log::default();
        let mut waiting = Vec::new();
        for number in 0..40_u32 {
            let (limiter, log) = (limiter.clone(), log.clone());
            let mut turn = Box::pin(async move {
                let permit = limiter.acquire(one()).await.expect("the queue has no end");
                log.add(number.to_string());
                drop(permit);
            });
            assert!(poll_fn(|cx| Poll::Ready(turn.as_mut().poll(cx))).await.is_pending());
            waiting.push((number, turn));
        }
        let mut expected: Vec<u32> = (0..40).collect();
        for _ in 0..20 {
            let at = usize::try_from(dice.next_u64()).expect("64 bits") % waiting.len();
            let (number, turn) = waiting.swap_remove(at);
            drop(turn);
            expected.retain(|known| *known != number);
        }
        assert_eq!(limiter.stats().queued, 20);
        drop(held);
        // Polled in another order than that in which they came.
        for (_, turn) in waiting.drain(..).rev() {
            tokio::spawn(turn);
        }
        crate::behaviour::kit::idle().await;
        let lines: Vec<u32> = log.lines().iter().map(|line| line.parse().expect("a number")).collect();
        let mut sorted = lines.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected, "seed {seed}: nobody is left");
        let stats = limiter.stats();
        assert_eq!((stats.in_use, stats.queued, stats.left), (0, 0, 20));
    }
}

#[tokio::test(start_paused = true)]
async fn turns_are_in_the_order_in_which_they_came() {
    let limiter = limited(1);
    let held = limiter.acquire(one()).await;
    let log = Log::default();
    let mut tasks = Vec::new();
    for number in 0..100 {
        let (limiter, log) = (limiter.clone(), log.clone());
        tasks.push(tokio::spawn(async move {
            let _permit = limiter.acquire(one()).await.expect("the queue has no end");
            log.add(format!("{number:02}"));
            tokio::task::yield_now().await;
        }));
        tokio::task::yield_now().await;
    }
    tasks.iter().step_by(3).for_each(tokio::task::JoinHandle::abort);
    tokio::task::yield_now().await;
    drop(held);
    for task in tasks {
        drop(within(task).await);
    }
    let expected: Vec<_> = (0..100).filter(|n| n % 3 != 0).map(|n| format!("{n:02}")).collect();
    assert_eq!(log.lines(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_queue_timeout_and_a_full_queue_refuse() {
    let limiter = FanOutLimiter::builder("test")
        .limit(1)
        .max_queue(1)
        .overflow(Overflow::Reject)
        .queue_timeout(2.secs())
        .build()
        .expect("a limiter");
    let held = limiter.acquire(one()).await.expect("there is room");
    let first = tokio::spawn({
        let limiter = limiter.clone();
        async move { limiter.acquire(one()).await }
    });
    crate::behaviour::kit::idle().await;
    let refused = limiter.acquire(one()).await.expect_err("the queue is full");
    assert_eq!(refused.by(), RefusedBy::QueueFull);
    let refused = within(first).await.expect("no panic").expect_err("nobody leaves");
    assert_eq!(refused.by(), RefusedBy::Time(2.secs()));
    assert_eq!(refused.to_string(), "the limiter `test` had no turn within 2.0s");
    let refused = limiter.acquire_within(one(), 1.secs()).await.expect_err("nobody leaves");
    assert_eq!(refused.by(), RefusedBy::Time(1.secs()));
    assert_eq!(limiter.stats().queued, 0);
    drop(held);
    assert!(limiter.try_acquire(one()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_oldest_is_told_that_it_was_dropped() {
    let limiter = FanOutLimiter::builder("test").limit(1).max_queue(1).overflow(Overflow::DropOldest);
    let limiter = limiter.build().expect("a limiter");
    let held = limiter.acquire(one()).await.expect("there is room");
    let mut oldest = pin!(limiter.acquire(one()));
    assert!(poll_fn(|cx| Poll::Ready(oldest.as_mut().poll(cx))).await.is_pending());
    let newer = tokio::spawn({
        let limiter = limiter.clone();
        async move { limiter.acquire(one()).await.map(drop) }
    });
    let refused = within(oldest).await.expect_err("it gave way");
    assert_eq!((refused.by(), refused.by().is_dropped()), (RefusedBy::Oldest, true));
    drop(held);
    within(newer).await.expect("no panic").expect("it has its turn");
}

#[tokio::test(start_paused = true)]
async fn the_earliest_deadline_goes_first() {
    let limiter = FanOutLimiter::builder("test").limit(1).order(QueueOrder::EarliestDeadline);
    let limiter = limiter.build().expect("a limiter");
    let held = limiter.acquire(one()).await.expect("there is room");
    let log = Log::default();
    let requests = [("none", one()), ("late", one().due_in(9.secs())), ("soon", one().due_in(1.secs()))];
    let tasks = requests.map(|(name, request)| {
        let (limiter, log) = (limiter.clone(), log.clone());
        tokio::spawn(async move {
            let _permit = limiter.acquire(request).await.expect("the queue has no end");
            log.add(name);
        })
    });
    crate::behaviour::kit::idle().await;
    drop(held);
    for task in tasks {
        within(task).await.expect("no panic");
    }
    assert_eq!(log.lines(), ["soon", "late", "none"]);
}

/// On several threads, with a lock-free count of who is inside.
#[test]
fn fifty_thousand_writers_lose_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build();
    let runtime = runtime.expect("a runtime");
    let limiter = FanOutLimiter::builder("writers").limit(8).key_limit(3).build().expect("a limiter");
    let (gauge, written) = (Gauge::default(), Arc::new(AtomicU64::new(0)));
    runtime.block_on(async {
        let writers: Vec<_> = (0..50_000_u64)
            .map(|number| {
                let (limiter, gauge, written) = (limiter.clone(), gauge.clone(), Arc::clone(&written));
                tokio::spawn(async move {
                    let key = ["a", "b", "c", "d", "e"][usize::try_from(number % 5).expect("small")];
                    let _permit = limiter.acquire(one().key(key)).await.expect("the queue has no end");
                    let _inside = gauge.enter();
                    if number % 7 == 0 {
                        tokio::task::yield_now().await;
                    }
                    written.fetch_add(number, Ordering::SeqCst);
                })
            })
            .collect();
        for writer in writers {
            writer.await.expect("no panic");
        }
    });
    assert_eq!(written.load(Ordering::SeqCst), 50_000 * 49_999 / 2);
    assert!(gauge.peak() <= 8, "{}", gauge.peak());
    let stats = limiter.stats();
    assert_eq!((stats.in_use, stats.in_flight, stats.queued, stats.keys), (0, 0, 0, 0));
    assert_eq!((stats.offered, stats.granted), (50_000, 50_000));
}

#[tokio::test(start_paused = true)]
async fn its_own_map_keeps_the_order_and_the_limit() {
    let (limiter, gauge) = (limited(5), Gauge::default());
    let each = |n: u64| {
        let gauge = gauge.clone();
        async move {
            let _inside = gauge.enter();
            // sleeps: on paused time
            tokio::time::sleep((100 - n).millis()).await;
            n * 2
        }
    };
    let outputs = within(limiter.map(0..100, each)).await.expect("nobody is refused");
    assert_eq!(outputs, (0..100).map(|n| n * 2).collect::<Vec<_>>());
    assert_eq!((gauge.peak(), gauge.now(), limiter.stats().in_use), (5, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_its_own_map_goes_on_to_the_caller() {
    let limiter = limited(2);
    let map = tokio::spawn({
        let limiter = limiter.clone();
        async move { limiter.map(0..10, |n| async move { assert_ne!(n, 3, "not this one") }).await }
    });
    assert!(map.await.expect_err("it panics").is_panic());
    assert_eq!(limiter.stats().in_use, 0);
}
