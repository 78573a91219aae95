//! Policies together (rules S-21 … S-25).

use stageflow::{
    interceptors::{CircuitBreaker, Retry},
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
