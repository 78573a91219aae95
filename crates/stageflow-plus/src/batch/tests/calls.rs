//! Batchers without pipelines: who carries a call, who leaves, and what a call may do wrong.

use std::{
    future::{Future, pending},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use stageflow_core::{ErrorClass, StageExit, StageResult, code};
use tokio::{task::JoinSet, time::sleep};

use super::super::{Batch, Batcher};

const MS: Duration = Duration::from_millis(1);

type Seen = Arc<Mutex<Vec<Vec<u64>>>>;

/// Doubles, and takes ten milliseconds for it.
fn doubling(seen: &Seen, max_size: usize) -> Batcher<u64, u64> {
    let seen = Arc::clone(seen);
    let handler = move |batch: Batch<u64>| {
        seen.lock().expect("a list").push(batch.to_vec());
        async move {
            // sleeps: on paused time
            sleep(10 * MS).await;
            Ok(batch.into_iter().map(|n| Ok(2 * n)).collect())
        }
    };
    Batcher::builder("double", handler).max_size(max_size).max_wait(5 * MS).build().expect("a batcher")
}

fn assert_empty<I, O>(batcher: &Batcher<I, O>) {
    let stats = batcher.stats();
    assert_eq!((stats.queued, stats.tenants, stats.in_flight, stats.flying), (0, 0, 0, 0), "{stats:?}");
    assert_eq!(stats.offered, stats.refused + stats.left + stats.answered);
}

#[tokio::test(start_paused = true)]
async fn each_gets_its_own_answer() {
    let seen = Seen::default();
    let batcher = doubling(&seen, 4);
    let mut calls = JoinSet::new();
    for n in 0..10 {
        let batcher = batcher.clone();
        calls.spawn(async move { (n, batcher.call(n).await.expect("an answer")) });
    }
    let mut answers = calls.join_all().await;
    answers.sort_unstable();
    assert_eq!(answers, (0..10).map(|n| (n, 2 * n)).collect::<Vec<_>>());
    assert_eq!(*seen.lock().expect("a list"), [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
    assert_empty(&batcher);
}

/// Whoever carries a call can leave at any moment: another goes on with it, and the handler is called once.
#[tokio::test(start_paused = true)]
async fn another_carries_the_call_of_who_leaves() {
    for leaves_after in [0, 1, 4, 6, 9, 14] {
        let seen = Seen::default();
        let batcher = doubling(&seen, 3);
        let first = tokio::spawn({
            let batcher = batcher.clone();
            async move { batcher.call(1).await }
        });
        let others = tokio::spawn({
            let batcher = batcher.clone();
            async move { tokio::join!(batcher.call(2), batcher.call_for("none", 7)) }
        });
        // sleeps: on paused time
        sleep(leaves_after * MS).await;
        first.abort();
        let (second, alone) = others.await.expect("no panic");
        assert_eq!((second.ok(), alone.ok()), (Some(4), Some(14)), "left after {leaves_after} ms");
        let mut calls = seen.lock().expect("a list").clone();
        calls.sort_unstable();
        // The one that left takes its item along while the call has not begun.
        let together = if leaves_after < 5 { vec![2] } else { vec![1, 2] };
        assert!(calls.contains(&together) && calls.len() == 2, "left after {leaves_after} ms: {calls:?}");
        let _left = first.await;
        assert_empty(&batcher);
    }
}

/// A batch that is full and whose call has not begun: who leaves then takes the item along, and the next begins the call.
#[tokio::test(start_paused = true)]
async fn who_leaves_before_the_call_has_begun_takes_the_item_along() {
    let seen = Seen::default();
    let batcher = doubling(&seen, 2);
    let mut first = Box::pin(batcher.call(1));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    let mut second = Box::pin(batcher.call(2));
    assert!(second.as_mut().poll(&mut cx).is_pending());
    assert!(seen.lock().expect("a list").is_empty());
    drop(first);
    assert_eq!(second.await.ok(), Some(4));
    assert_eq!(*seen.lock().expect("a list"), [vec![2]]);
    assert_empty(&batcher);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_callers_is_dropped() {
    let dropped = Arc::new(AtomicUsize::new(0));
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let count = Arc::clone(&dropped);
    let batcher: Batcher<u64, u64> = Batcher::builder("hangs", move |batch: Batch<u64>| {
        let count = Count(Arc::clone(&count));
        async move {
            let _both = (count, batch);
            pending().await
        }
    })
    .max_size(2)
    .max_in_flight(1)
    .build()
    .expect("a batcher");
    let spawn = |n| {
        let batcher = batcher.clone();
        tokio::spawn(async move { batcher.call(n).await })
    };
    let (one, two, three) = (spawn(1), spawn(2), spawn(3));
    // sleeps: on paused time
    sleep(20 * MS).await;
    assert_eq!((batcher.stats().in_flight, batcher.stats().queued), (1, 1));
    one.abort();
    sleep(MS).await;
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    two.abort();
    sleep(MS).await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    // Its place is free for who has waited.
    assert_eq!((batcher.stats().in_flight, batcher.stats().queued), (1, 0));
    three.abort();
    sleep(MS).await;
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
    assert_empty(&batcher);
}

async fn wrong(what: fn(Batch<u64>) -> StageResult<Vec<StageResult<u64>>>) -> [StageExit; 2] {
    let batcher: Batcher<u64, u64> = Batcher::builder("wrong", move |batch| async move { what(batch) })
        .max_size(2)
        .build()
        .expect("a batcher");
    let (one, two) = tokio::join!(batcher.call(1), batcher.call(2));
    assert_empty(&batcher);
    // It goes on.
    assert!(batcher.call(3).await.is_err() && batcher.stats().batches == 2);
    [one, two].map(|answer| answer.expect_err("it is wrong"))
}

#[tokio::test(start_paused = true)]
async fn what_a_call_does_wrong_is_told_to_all_of_its_callers() {
    for exit in wrong(|_| Err(StageExit::fail("down").class(ErrorClass::Transient))).await {
        assert_eq!(
            (exit.error_code(), exit.error_class()),
            (Some(code::STAGE_FAILED), Some(ErrorClass::Transient))
        );
        assert_eq!(exit.to_string(), "failed: the call of the batcher `wrong` for 2 items failed");
    }
    for exit in wrong(|_| panic!("no model")).await {
        assert_eq!((exit.error_code(), exit.error_class()), (Some(code::PANIC), Some(ErrorClass::Panic)));
    }
    for exit in wrong(|_| Ok(vec![Ok(1), Ok(2), Ok(3)])).await {
        assert_eq!(
            (exit.error_code(), exit.error_class()),
            (Some(code::BATCH_MISMATCH), Some(ErrorClass::Permanent))
        );
    }
    assert!(
        wrong(|_| Err(StageExit::retry("busy").after(MS)))
            .await
            .iter()
            .all(|exit| exit.is_retry() && exit.retry_after() == Some(MS))
    );
    assert!(wrong(|_| Err(StageExit::skip("no"))).await.iter().all(StageExit::is_skip));
}

#[tokio::test(start_paused = true)]
async fn one_item_can_fail_alone() {
    let odd = |batch: Batch<u64>| async move {
        let answer = |n: u64| if n % 2 == 1 { Err(StageExit::fail("odd")) } else { Ok(n) };
        Ok(batch.into_iter().map(answer).collect())
    };
    let batcher = Batcher::builder("even", odd).max_size(2).build().expect("a batcher");
    let (one, two) = tokio::join!(batcher.call(1), batcher.call(2));
    assert_eq!((one.expect_err("odd").to_string(), two.ok()), ("failed: odd".to_owned(), Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_fails_its_own_callers() {
    let handler = |batch: Batch<u64>| async move {
        // sleeps: on paused time
        sleep(Duration::from_millis(batch[0])).await;
        Ok(batch.into_iter().map(Ok).collect())
    };
    let batcher =
        Batcher::builder("slow", handler).max_size(1).call_timeout(50 * MS).build().expect("a batcher");
    let (slow, fast) = tokio::join!(batcher.call(60), batcher.call(40));
    assert_eq!(slow.expect_err("slow").error_code(), Some(code::ATTEMPT_TIMEOUT));
    assert_eq!(fast.ok(), Some(40));
}

#[tokio::test(start_paused = true)]
async fn closing_flushes_and_refuses() {
    let seen = Seen::default();
    let batcher = doubling(&seen, 100);
    let (answer, ()) = tokio::join!(batcher.call(1), async { batcher.close() });
    assert_eq!(answer.ok(), Some(2));
    let exit = batcher.call(2).await.expect_err("closed");
    assert_eq!(
        (exit.error_code(), exit.error_class()),
        (Some(code::BATCH_REFUSED), Some(ErrorClass::Permanent))
    );
    assert_eq!(exit.to_string(), "failed: the batcher `double` is closed");
    assert_empty(&batcher);
}

/// Many callers on several threads, of which some give up: each that stays has its own answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_forgotten_on_many_threads() {
    let handler = |batch: Batch<u64>| async move {
        tokio::task::yield_now().await;
        Ok(batch.into_iter().map(|n| Ok(n + 1)).collect())
    };
    let batcher = Batcher::builder("many", handler)
        .max_size(8)
        .max_wait(Duration::from_micros(50))
        .max_queue(100_000)
        .tenant_queue(100_000)
        .max_in_flight(2)
        .build()
        .expect("a batcher");
    let mut calls = JoinSet::new();
    for n in 0..4_000_u64 {
        let batcher = batcher.clone();
        calls.spawn(async move {
            let call = batcher.call_for(if n % 2 == 0 { "a" } else { "b" }, n);
            if n % 5 == 0 {
                let patience = Duration::from_micros(n % 300);
                // A timeout that may come at any moment.
                return tokio::time::timeout(patience, call)
                    .await
                    .is_ok_and(|answer| answer.ok() != Some(n + 1));
            }
            call.await.ok() != Some(n + 1)
        });
    }
    assert!(calls.join_all().await.iter().all(|is_wrong| !is_wrong));
    assert_empty(&batcher);
    assert!(batcher.stats().batches > 100);
}
