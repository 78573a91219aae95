//! Policies together (rules S-21 … S-25).

use stageflow::{
    interceptors::{Bulkhead, CircuitBreaker, RateLimiter, Retry, WhenFull},
    prelude::*,
};
use tokio::time::Instant;

use super::kit::{pipeline, recorded};

/// S-25: an open breaker inside of a retry suspends it until the breaker lets probes through, and costs no attempt of the stage.
#[tokio::test(start_paused = true)]
async fn s_25_an_open_breaker_suspends_retries_until_its_time() {
    let breaker = CircuitBreaker::builder("provider").consecutive(2).open_for(10.secs()).jitter(0.0).build();
    let breaker = breaker.expect("a breaker");
    let flaky = stage_fn(|ctx: StageContext, (): ()| async move {
        if ctx.attempt() < 3 { Err("reset").transient() } else { Ok(ctx.attempt()) }
    });
    // In whatever order they are added: the layers decide.
    let flaky = pipeline(|p| {
        let retry = Retry::exponential(1.millis()).no_jitter().max_attempts(4);
        p.stage("flaky", flaky).intercept(breaker).retry(retry).inputs(())
    });
    let (engine, recorder) = recorded();
    let began = Instant::now();
    let run = engine.run(&flaky, ()).await.expect("it recovers");
    assert_eq!((*run.output(), began.elapsed() >= 10.secs(), began.elapsed() < 11.secs()), (3, true, true));
    let told: Vec<_> = recorder.lines().into_iter().filter(|line| line.contains("breaker.")).collect();
    let expected = ["breaker.opened flaky", "breaker.rejected flaky", "breaker.half_open flaky"];
    assert_eq!(told, expected);
    assert_eq!(run.report().stage("flaky").map(|stage| stage.attempts), Some(3));
}

/// A limiter that rejects says when there will be room, and a retry around it comes back then.
#[tokio::test(start_paused = true)]
async fn a_retry_comes_back_when_the_rate_limit_has_room() {
    let limiter = RateLimiter::builder("provider").dimension("requests", 1, 10.secs(), 1);
    let limiter = limiter.when_full(WhenFull::Reject).build().expect("a limiter");
    let called = pipeline(|p| {
        let stage = stage_fn(|ctx: StageContext, (): ()| async move { Ok(ctx.attempt()) });
        p.stage("called", stage).intercept(limiter).retry(Retry::exponential(1.millis())).inputs(())
    });
    let began = Instant::now();
    assert_eq!(*called.run(()).await.expect("there is room").output(), 1);
    assert_eq!(began.elapsed(), 0.secs());
    let run = called.run(()).await.expect("it comes back");
    assert_eq!(
        (*run.output(), began.elapsed()),
        (1, 10.secs()),
        "the rejected call was no attempt of the stage"
    );
}

/// S-11, S-21: a bulkhead lets so many attempts in, whatever is queued, and a retry that waits holds no place.
#[tokio::test(start_paused = true)]
async fn a_retry_that_waits_holds_no_place_in_a_bulkhead() {
    let bulkhead = Bulkhead::builder("database").max_concurrent(1).max_queue(10).build().expect("a bulkhead");
    let busy = pipeline(|p| {
        let asks = stage_fn(|ctx: StageContext, (): ()| async move {
            if ctx.attempt() < 2 { Err("reset").transient() } else { Ok(ctx.attempt()) }
        });
        let retry = Retry::constant(60.secs()).cap(60.secs()).no_jitter();
        p.stage("asks", asks).retry(retry).intercept(bulkhead.clone()).inputs(())
    });
    let beside = pipeline(|p| {
        let stage = stage_fn(|_, (): ()| async { Ok(1_u32) });
        p.stage("beside", stage).intercept(bulkhead.clone()).inputs(())
    });
    let began = Instant::now();
    let run = busy.start(());
    tokio::time::sleep(1.secs()).await;
    beside.run(()).await.expect("there is room");
    assert_eq!(began.elapsed(), 1.secs());
    assert_eq!(*run.await.expect("it recovers").output(), 2);
}
