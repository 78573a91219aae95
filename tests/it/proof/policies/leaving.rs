//! Callers that leave at any moment, on real threads: no place, permit or turn is lost with them, and nobody waits for ever.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use stageflow::{
    Interceptor, Randomness as _, SeededRandom,
    interceptors::{Bulkhead, CircuitBreaker, RateLimiter},
    prelude::*,
};
use tokio::{runtime::Builder, time::timeout};

const RUNS: usize = 400;

/// Runs at once, a third of which is cancelled or dropped at random moments; whether all the others complete. How many those are.
fn others_complete(interceptor: impl Interceptor) -> Result<usize, String> {
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_time().build().expect("a runtime");
    let inside = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&inside);
    let stage = stage_fn(move |_, (): ()| {
        counted.fetch_add(1, SeqCst);
        async {
            tokio::task::yield_now().await;
            Ok(1_u32)
        }
    });
    let mut p = Pipeline::builder("left");
    let only = p.stage("only", stage).intercept(interceptor).inputs(());
    let only = Arc::new(p.build(only).expect("a pipeline"));
    runtime.block_on(async {
        let random = SeededRandom::new(9);
        let runs: Vec<_> = (0..RUNS)
            .map(|_| {
                let (only, leaves, after) =
                    (Arc::clone(&only), random.next_u64() % 6, random.next_u64() % 50);
                tokio::spawn(async move {
                    let run = only.start(());
                    if leaves > 1 {
                        return run.await.map(|_| 1).map_err(|error| error.to_string());
                    }
                    for _ in 0..after {
                        tokio::task::yield_now().await;
                    }
                    if leaves == 0 {
                        run.cancel("it leaves");
                    }
                    drop(run);
                    Ok(0)
                })
            })
            .collect();
        let mut completed = 0;
        for run in runs {
            // sleeps: only if somebody hangs
            let ended = timeout(Duration::from_secs(20), run).await.map_err(|_| "somebody hangs")?;
            completed += ended.expect("it does not panic")?;
        }
        Ok(completed)
    })
}

#[test]
fn who_leaves_a_bulkhead_takes_no_place_along() {
    for _round in 0..5 {
        let bulkhead = Bulkhead::builder("b").max_concurrent(2).max_queue(1_000).build().expect("it fits");
        assert!(others_complete(bulkhead.clone()).expect("they complete") > RUNS / 2);
        while bulkhead.in_flight() + bulkhead.queued() > 0 {
            std::thread::yield_now();
        }
        let both = (bulkhead.try_acquire(None), bulkhead.try_acquire(None), bulkhead.try_acquire(None));
        assert!(matches!(both, (Ok(_), Ok(_), Err(_))), "neither more places than before nor less");
    }
}

#[test]
fn who_leaves_a_rate_limiter_holds_nobody_up() {
    let limiter = RateLimiter::builder("r").dimension("requests", 1_000, Duration::from_secs(1), 10);
    assert!(others_complete(limiter.build().expect("it fits")).expect("they complete") > RUNS / 2);
}

/// Half-open, with callers that wait for one of three probes: those that leave give their slots back.
#[test]
fn who_leaves_a_breaker_takes_no_probe_along() {
    for _round in 0..5 {
        let breaker =
            CircuitBreaker::builder("b").consecutive(1).jitter(0.0).open_for(Duration::from_millis(2));
        let breaker = breaker.wait_while_open(Duration::from_secs(60)).build().expect("it fits");
        let key = breaker.key(None);
        let permit = breaker.try_acquire(&key, tokio::time::Instant::now()).expect("it is closed");
        permit.record(stageflow::interceptors::BreakerOutcome::Failure { retry_after: None });
        assert!(others_complete(breaker).expect("they complete") > RUNS / 2);
    }
}
