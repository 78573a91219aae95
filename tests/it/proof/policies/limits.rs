//! Limits are kept on real threads, around the stages of running pipelines; a limit that limits nothing is found out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use stageflow::{
    Call, Interceptor, Next, Value,
    interceptors::{Bulkhead, RateLimiter, WhenFull},
    prelude::*,
};
use tokio::{runtime::Builder, time::Instant};

/// The double: it stands where a limit stands, and does nothing.
struct NoLimit;

impl Interceptor for NoLimit {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        next.run().await
    }
}

/// Runs `runs` pipelines at once on four threads, each of one stage with the interceptor around it.
fn run_all<S>(runs: usize, stage: S, limit: impl Interceptor) -> usize
where
    S: Stage<Input = (), Output = u32>,
{
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let mut p = Pipeline::builder("limited");
        let only = p.stage("only", stage).intercept(limit).inputs(());
        let only = Arc::new(p.build(only).expect("a pipeline"));
        let start = |_| {
            let only = Arc::clone(&only);
            tokio::spawn(async move { only.run(()).await.is_ok() })
        };
        let runs: Vec<_> = (0..runs).map(start).collect();
        let mut completed = 0;
        for run in runs {
            completed += usize::from(run.await.expect("it does not panic"));
        }
        completed
    })
}

/// Whether no more than `limit` calls were ever inside at the same time, all of them completed, and the limit was reached.
fn at_most_inside(limit: usize, interceptor: impl Interceptor) -> Result<(), String> {
    const RUNS: usize = 500;
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let stage = {
        let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
        stage_fn(move |_, (): ()| {
            let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
            async move {
                most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                    thread::yield_now();
                }
                inside.fetch_sub(1, SeqCst);
                Ok(1_u32)
            }
        })
    };
    let completed = run_all(RUNS, stage, interceptor);
    match (completed, most.load(SeqCst)) {
        (RUNS, most) if most == limit => Ok(()),
        (completed, most) => Err(format!("{completed} completed, {most} at once, the limit is {limit}")),
    }
}

#[test]
fn a_bulkhead_is_never_above_its_limit_on_real_threads() {
    for limit in [1, 3, 8] {
        let bulkhead =
            Bulkhead::builder("b").max_concurrent(limit).max_queue(1_000).build().expect("it fits");
        assert_eq!(at_most_inside(limit as usize, bulkhead.clone()), Ok(()));
        assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
    }
}

#[test]
fn control_a_bulkhead_that_does_nothing_is_found_out() {
    assert!(at_most_inside(3, NoLimit).is_err());
    let wider = Bulkhead::builder("b").max_concurrent(4).max_queue(1_000).build().expect("it fits");
    assert!(at_most_inside(3, wider).is_err(), "one too many");
}

/// Whether so many calls had begun at no time more than burst and rate allow since the beginning; how many there were.
///
/// A call is counted after it was admitted and the time is read after that, so that a slow thread is never a false alarm.
fn at_most_per_time(
    (per_second, burst): (u64, u64),
    runs: usize,
    interceptor: impl Interceptor,
) -> Result<usize, String> {
    let (began, count, over) = (Instant::now(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stage = {
        let (count, over) = (Arc::clone(&count), Arc::clone(&over));
        stage_fn(move |_, (): ()| {
            let count = count.fetch_add(1, SeqCst) + 1;
            let allowed =
                u128::from(burst) + u128::from(per_second) * began.elapsed().as_nanos() / 1_000_000_000;
            over.fetch_max(u64::try_from(u128::from(count).saturating_sub(allowed)).expect("few"), SeqCst);
            async { Ok(1_u32) }
        })
    };
    let completed = run_all(runs, stage, interceptor);
    match over.load(SeqCst) {
        0 => Ok(completed),
        over => Err(format!("{over} more than allowed")),
    }
}

fn limiter((per_second, burst): (u64, u64), when_full: WhenFull) -> RateLimiter {
    let limiter = RateLimiter::builder("r").dimension("requests", per_second, Duration::from_secs(1), burst);
    limiter.when_full(when_full).max_queue(10_000).build().expect("it fits")
}

#[test]
fn a_rate_limiter_is_never_above_its_limit_on_real_threads() {
    // A fifth of a second of waiting for those that wait.
    assert_eq!(at_most_per_time((500, 20), 120, limiter((500, 20), WhenFull::Wait)), Ok(120));
    // So slow that no machine is slow enough to let all of them through.
    let through = at_most_per_time((5, 20), 2_000, limiter((5, 20), WhenFull::Reject)).expect("never above");
    assert!((20..2_000).contains(&through), "{through} were let through");
}

#[test]
fn control_a_rate_limiter_that_does_nothing_is_found_out() {
    assert!(at_most_per_time((1, 20), 500, NoLimit).is_err());
    let twice = limiter((1, 40), WhenFull::Reject);
    assert!(at_most_per_time((1, 20), 500, twice).is_err(), "twice the burst");
}
