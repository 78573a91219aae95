//! Policies together (rules S-21 … S-25).

use std::sync::Arc;

use stageflow::{
    interceptors::{Bulkhead, CircuitBreaker, Fallback, RateLimiter, Retry, WhenFull},
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

/// Another stage answers once the retries are used up, from the same inputs, and for each of numbered stages.
#[tokio::test(start_paused = true)]
async fn another_stage_answers_when_the_retries_are_used_up() {
    let fails = || stage_fn(|_, _: (Arc<u32>, Owned<u32>)| async { Err::<u32, _>("down").transient() });
    let sum = || stage_fn(|_, (a, Owned(b)): (Arc<u32>, Owned<u32>)| async move { Ok(*a + b) });
    let mut p = Pipeline::builder("sums");
    let n = p.input();
    let one = p.stage("one", fails()).retry(Retry::default().no_jitter()).fallback(sum()).inputs((n, n));
    let many = p.parallel("many", 0..3, |_| fails()).fallback(sum()).inputs((n, one));
    let all = stage_fn(|_, all: Vec<Arc<u32>>| async move { Ok(all.iter().map(|n| **n).sum::<u32>()) });
    let all = p.stage("all", all).inputs(many);
    let sums = p.build(all).expect("it builds");

    let (engine, recorder) = recorded();
    let run = engine.run(&sums, 7).await.expect("the fallbacks answer");
    assert_eq!(*run.output(), 3 * (7 + 14));
    assert_eq!(run.report().stage("one").map(|stage| stage.attempts), Some(3), "a fallback is no attempt");
    assert_eq!(recorder.lines().iter().filter(|line| line.starts_with("fallback.used")).count(), 4);
}

/// A pipeline that stands in is a child run: it is cancelled with its parent, and what it leaves is cleaned up.
#[tokio::test(start_paused = true)]
async fn a_pipeline_stands_in_for_a_stage() {
    let slow = stage_fn(|ctx: StageContext, n: Arc<u32>| async move {
        tokio::time::sleep(5.secs()).await;
        Ok(*n + u32::from(ctx.snapshot().parent().is_some()))
    });
    let mut p = Pipeline::builder("inner");
    let n = p.input();
    let slow = p.stage("slow", slow).inputs(n);
    let inner = p.build(slow).expect("it builds");
    let mut p = Pipeline::builder("outer");
    let n = p.input();
    let fails = stage_fn(|_, _: Arc<u32>| async { Err::<u32, _>("down").permanent() });
    let outer = p.stage("outer", fails).fallback(inner).inputs(n);
    let outer = p.build(outer).expect("it builds");
    assert_eq!(*outer.run(1).await.expect("the pipeline answers").output(), 2);

    let (engine, recorder) = recorded();
    let began = Instant::now();
    let late = engine.run(&outer, 1).deadline(1.secs()).await.expect_err("five seconds do not fit in one");
    assert_eq!((late.code(), began.elapsed()), (stageflow::code::DEADLINE_EXCEEDED, 1.secs()));
    let told = recorder.lines().iter().filter(|line| line.starts_with("pipeline.child_started")).count();
    assert_eq!(told, 1, "the fallback had begun");
}

/// A fallback of another shape, which the compiler cannot see in `intercept`, is a failure that names both errors.
#[tokio::test(start_paused = true)]
async fn a_fallback_of_other_inputs_fails_and_says_so() {
    let outer = pipeline(|p| {
        let fails = stage_fn(|_, (): ()| async { Err::<u32, _>("down").permanent() });
        let other = stage_fn(|_, _: Arc<String>| async { Ok(1_u32) });
        p.stage("outer", fails).intercept(Fallback::stage(other)).inputs(())
    });
    let error = outer.run(()).await.expect_err("it takes a text");
    let message = error.failure().map(|failure| failure.message().clone()).unwrap_or_default();
    assert!(
        message.contains("the fallback failed") && message.ends_with("the call failed: down"),
        "{message}"
    );
}
