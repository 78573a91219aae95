//! S-23: the delays of a running retry are distributed as its jitter says.

use std::{sync::Arc, time::Duration};

use stageflow::{
    Backoff, Budget, Engine, EventKind, Jitter, Randomness, Recorder, RunError, SeededRandom,
    interceptors::{BreakerOutcome, BreakerState, CircuitBreaker, Retry},
    prelude::*,
};
use tokio::time::Instant;

use super::stats::evenly;

/// So long that the milliseconds of events and timers are a millionth of it.
const BASE: Duration = Duration::from_secs(1_000);

const CAP: Duration = Duration::from_secs(1_000_000_000);

type Place = fn(f64, f64) -> f64;

/// The jitters, and where the delay lies of the one before it, between 0 for the least and 1 for the most, as they promise.
fn jitters() -> [(Jitter, Place); 4] {
    [
        (Jitter::Full, |delay, _| delay),
        (Jitter::Equal, |delay, _| (delay - 0.5) / 0.5),
        (Jitter::Decorrelated, |delay, before| (delay - 1.0) / (3.0 * before - 1.0)),
        (Jitter::Proportional(0.25), |delay, _| (delay - 0.75) / 0.5),
    ]
}

/// The delays of one call that always fails, in units of the base.
async fn delays(retry: Retry, random: impl Randomness) -> Vec<f64> {
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).randomness(random).build().expect("an engine");
    let mut p = Pipeline::builder("fails");
    let busy = stage_fn(|_, (): ()| async { Err::<u32, _>("busy").transient() });
    let fails = p.stage("fails", busy).retry(retry).inputs(());
    let fails = p.build(fails).expect("a pipeline");
    let error: RunError = engine
        .run(&fails, ())
        .budget(Budget::new().unlimited_retries())
        .await
        .map(drop)
        .expect_err("it fails");
    assert!(error.failure().is_some());
    let starts =
        recorder.events().into_iter().filter(|event| matches!(event.kind(), EventKind::StageStarted));
    let starts: Vec<_> = starts.map(|event| event.elapsed()).collect();
    starts.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() / BASE.as_secs_f64()).collect()
}

/// Where in its bounds each delay lies, of 200 calls with 20 delays each.
async fn places(jitter: Jitter, place: Place) -> Vec<f64> {
    let mut places = Vec::new();
    for seed in 0..200 {
        let retry = Retry::constant(BASE).cap(CAP).jitter(jitter).max_attempts(21);
        let mut before = 1.0;
        for delay in delays(retry, SeededRandom::new(seed)).await {
            // A timer ends with the millisecond, up to one late.
            places.push(place(delay, before).clamp(0.0, 1.0));
            before = delay;
        }
    }
    assert_eq!(places.len(), 4_000);
    places
}

#[tokio::test(start_paused = true)]
async fn s_23_the_delays_of_a_running_retry_are_distributed_as_its_jitter_says() {
    for (jitter, place) in jitters() {
        assert_eq!(evenly(&places(jitter, place).await), Ok(()), "{jitter:?}");
    }
}

/// The check itself: no jitter, half of one, and a jitter without chance are found out.
#[tokio::test(start_paused = true)]
async fn control_a_jitter_that_does_not_jitter_is_found_out() {
    let full: Place = |delay, _| delay;
    for jitter in [Jitter::None, Jitter::Equal, Jitter::Proportional(0.25)] {
        assert!(evenly(&places(jitter, full).await).is_err(), "{jitter:?}");
    }
    struct Always(u64);
    impl Randomness for Always {
        fn next_u64(&self) -> u64 {
            self.0
        }
    }
    let retry = Retry::constant(BASE).cap(CAP).jitter(Jitter::Full).max_attempts(2_001);
    assert!(evenly(&delays(retry, Always(u64::MAX / 2)).await).is_err());
}

/// The formulas alone, at each of the first retries: what a run multiplies by chance is the ceiling of that retry.
#[test]
fn s_23_the_formulas_are_evenly_distributed_at_each_retry() {
    let random = Arc::new(SeededRandom::new(77));
    for retry in 0..6 {
        for (jitter, place) in jitters() {
            let backoff = Backoff::exponential(BASE).cap(CAP).jitter(jitter);
            let ceiling = backoff.ceiling(retry).as_secs_f64();
            let unit = if jitter == Jitter::Decorrelated { BASE.as_secs_f64() } else { ceiling };
            let draw = |_| place(backoff.delay(retry, BASE, random.next_u64()).as_secs_f64() / unit, 1.0);
            let drawn: Vec<_> = (0..10_000).map(draw).collect();
            assert_eq!(evenly(&drawn), Ok(()), "{jitter:?}, retry {retry}");
        }
    }
}

/// S-25: how long a breaker stays open is evenly distributed as well, and no longer than the longest.
#[test]
fn s_25_the_time_that_a_breaker_stays_open_is_distributed_as_its_jitter_says() {
    let places = |longest: u64, (low, high): (f64, f64), jitter: f64| -> Vec<f64> {
        (0..4_000)
            .map(|seed| {
                let breaker = CircuitBreaker::builder("b").consecutive(1).jitter(jitter).seed(seed);
                let breaker = breaker.open_for(BASE).max_open(longest.secs()).build().expect("a breaker");
                let (key, now) = (breaker.key(None), Instant::now());
                let permit = breaker.try_acquire(&key, now).expect("it is closed");
                permit.record_at(BreakerOutcome::Failure { retry_after: None }, now);
                let BreakerState::Open { until } = breaker.state(&key) else { panic!("it is open") };
                ((until - now).as_secs_f64() / BASE.as_secs_f64() - low) / (high - low)
            })
            .collect()
    };
    assert_eq!(evenly(&places(80_000, (0.8, 1.2), 0.2)), Ok(()));
    assert_eq!(evenly(&places(1_000, (0.8, 1.0), 0.2)), Ok(()), "cut at the longest, and even below it");
    // The checks themselves.
    assert!(evenly(&places(80_000, (0.8, 1.2), 0.1)).is_err());
    assert!(evenly(&places(80_000, (0.8, 1.2), 0.0)).is_err());
}
