//! The rate limiter around the stages of a run, in paused time.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stageflow_core::{
    Call, DurationExt, FailurePolicy, Interceptor, Layer, Next, Recorder, RunOutcome, StageContext,
    StageExit, StageOutcome, StageResult, Value, WaitReason, code, intercept::Placement, stage_fn,
};
use stageflow_dag::Pipeline;
use stageflow_exec::{Engine, RunHandle};
use tokio::time::Instant;

use crate::{RateHeaders, RateLimiter, RateLimiterBuilder, WhenFull};

/// One in 100 ms, two at once.
fn ten_a_second() -> RateLimiterBuilder {
    RateLimiter::builder("api").dimension("calls", 10, 1.secs(), 2)
}

type Times = Arc<Mutex<Vec<u128>>>;

/// A pipeline of so many independent stages, and when each of them ran, in milliseconds.
fn calls(count: usize, limit: Option<&RateLimiter>) -> (Pipeline<(), Vec<Arc<u32>>>, Times) {
    let times = Times::default();
    let mut p = Pipeline::builder("calls");
    p.on_failure(FailurePolicy::Continue);
    let log = Arc::clone(&times);
    let call = move |ctx: StageContext, (): ()| {
        log.lock().unwrap().push(ctx.elapsed().as_millis());
        async { Ok(1_u32) }
    };
    let ports: Vec<_> = (0..count)
        .map(|number| {
            let stage = p.stage(format!("call-{number}"), stage_fn(call.clone()));
            match limit {
                Some(limit) => stage.intercept(limit.clone()).inputs(()),
                None => stage.inputs(()),
            }
        })
        .collect();
    let all = p.stage("all", stage_fn(async |_: StageContext, all: Vec<Arc<u32>>| Ok(all))).inputs(ports);
    (p.build(all).unwrap(), times)
}

fn recorded() -> (Engine, Recorder) {
    let recorder = Recorder::new();
    (Engine::builder().sink(recorder.clone()).build().unwrap(), recorder)
}

fn count(recorder: &Recorder, name: &str) -> usize {
    recorder.events().iter().filter(|event| event.name() == name).count()
}

#[tokio::test(start_paused = true)]
async fn a_run_takes_the_time_that_the_rate_says() {
    let limit = ten_a_second().build().unwrap();
    let (engine, recorder) = recorded();
    let (pipeline, times) = calls(6, Some(&limit));
    let started = Instant::now();
    assert_eq!(engine.run(&pipeline, ()).await.unwrap().outcome(), RunOutcome::Completed);
    assert_eq!(started.elapsed(), 400.millis());
    assert_eq!(*times.lock().unwrap(), [0, 0, 100, 200, 300, 400]);
    assert_eq!((count(&recorder, "rate.waited"), count(&recorder, "rate.rejected")), (4, 0));
    // The check itself: without a limiter all of them run at once.
    let (pipeline, times) = calls(6, None);
    engine.run(&pipeline, ()).await.unwrap();
    assert_eq!(*times.lock().unwrap(), [0; 6]);
}

fn waits_for_rate<O>(run: &RunHandle<O>) -> usize
where
    O: Send + Sync + 'static,
{
    let is_ours = |reason: &WaitReason| matches!(reason, WaitReason::RateLimit { key } if key == "api/acme");
    run.explain().unwrap().waits().iter().filter(|wait| is_ours(&wait.reason)).count()
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_explained_and_a_cancelled_run_leaves_nothing() {
    let limit = ten_a_second().per_tenant(true).build().unwrap();
    let engine = Engine::builder().build().unwrap();
    let run = engine.run(&calls(6, Some(&limit)).0, ()).tenant("acme").start();
    tokio::time::sleep(150.millis()).await;
    assert_eq!(waits_for_rate(&run), 3);
    run.cancel("seen enough");
    assert_eq!(run.await.unwrap_err().outcome(), Some(RunOutcome::Cancelled));
    // Three have gone, and those who waited have taken nothing: another tenant has seen none of it.
    assert_eq!(
        (limit.available(Some("acme"), "calls"), limit.available(Some("zeta"), "calls")),
        (Some(0), Some(2))
    );
    tokio::time::advance(150.millis()).await;
    assert_eq!(limit.available(Some("acme"), "calls"), Some(2));
}

#[tokio::test(start_paused = true)]
async fn without_room_it_fails_or_skips_as_asked() {
    for (what, ends) in [(WhenFull::Reject, "failed"), (WhenFull::Skip, "skipped")] {
        let limit = ten_a_second().when_full(what).build().unwrap();
        drop(limit.request().cost("calls", 2).try_acquire().unwrap());
        let (engine, recorder) = recorded();
        let (pipeline, times) = calls(1, Some(&limit));
        let started = Instant::now();
        let error = engine.run(&pipeline, ()).await.unwrap_err();
        let outcome = error.report().unwrap().stage("call-0").unwrap().outcome;
        match &outcome {
            StageOutcome::Failed(failure) => {
                assert_eq!(
                    (failure.code(), failure.recoverable(), ends),
                    (code::RATE_LIMITED, true, "failed")
                );
                assert!(failure.message().contains("has room in 100ms"), "{}", failure.message());
            }
            StageOutcome::Skipped(_) => assert_eq!(ends, "skipped"),
            other => panic!("{other:?}"),
        }
        assert_eq!((started.elapsed(), times.lock().unwrap().len()), (Duration::ZERO, 0));
        assert_eq!(count(&recorder, "rate.rejected"), 1);
    }
}

/// A wait that the deadline would cut short is refused at once, instead of being waited in vain.
#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_remaining_time_is_refused_at_once() {
    let limit = ten_a_second().build().unwrap();
    let (pipeline, times) = calls(6, Some(&limit));
    let started = Instant::now();
    let engine = Engine::builder().build().unwrap();
    let error = engine.run(&pipeline, ()).deadline(250.millis()).await.unwrap_err();
    assert_eq!((started.elapsed(), &*times.lock().unwrap()), (200.millis(), &vec![0, 0, 100, 200]));
    let failures = error.report().unwrap().failures();
    assert_eq!(failures.len(), 2);
    assert!(failures.iter().all(|failure| failure.code() == code::RATE_LIMITED));
}

struct Reply {
    tokens: u64,
}

/// A model that answers with a tenth of what was estimated, or with an error.
fn model(limit: &RateLimiter, replies: bool) -> Pipeline<String, Reply> {
    let mut p = Pipeline::builder("model");
    let prompt = p.input();
    let answer = move |_: StageContext, prompt: Arc<String>| async move {
        match replies {
            true => Ok(Reply { tokens: prompt.len() as u64 / 10 }),
            false => Err(StageExit::fail("unavailable")),
        }
    };
    let answer = p.stage("answer", stage_fn(answer)).intercept(limit.clone()).inputs(prompt);
    p.build(answer).unwrap()
}

fn metered() -> RateLimiter {
    let limit = RateLimiter::builder("model").dimension("tokens", 1_000, 1.secs(), 1_000);
    limit
        .cost("tokens", |call| call.input::<String>(0).map_or(0, |prompt| prompt.len() as u64))
        .actual("tokens", |result| Some(result.as_ref().ok()?.downcast_ref::<Reply>()?.tokens))
        .learned("tokens", |result| match result {
            Ok(_) => RateHeaders::new(),
            Err(_) => RateHeaders::from_text("", "0", "500ms"),
        })
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_estimate_is_settled_by_the_reply() {
    let (engine, limit) = (Engine::builder().build().unwrap(), metered());
    let started = Instant::now();
    for _ in 0..10 {
        engine.run(&model(&limit, true), "x".repeat(100)).await.unwrap();
    }
    assert_eq!((limit.available(None, "tokens"), started.elapsed()), (Some(900), Duration::ZERO));
    // A failure does not say what it has cost: the estimate stays. It says when the provider is ready again.
    engine.run(&model(&limit, false), "x".repeat(100)).await.map(drop).unwrap_err();
    assert_eq!(limit.available(None, "tokens"), Some(0));
    engine.run(&model(&limit, true), "x".repeat(100)).await.unwrap();
    assert_eq!((limit.available(None, "tokens"), started.elapsed()), (Some(990), 500.millis()));
    // Above the burst: for good, and before anything runs.
    let error = engine.run(&model(&limit, true), "x".repeat(1_001)).await.map(drop).unwrap_err();
    assert_eq!((error.code(), error.recoverable()), (code::COST_ABOVE_BURST, false));
}

/// Refuses what comes to it.
struct Closed;

impl Interceptor for Closed {
    async fn around(&self, _: &Call, _: Next<'_>) -> StageResult<Value> {
        Err("closed")?
    }

    fn placement(&self) -> Placement {
        Placement::Inside(Layer::Limit)
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_began_no_attempt_has_cost_nothing() {
    let limit = ten_a_second().build().unwrap();
    let mut p = Pipeline::builder("closed");
    let stage = p.stage("call", stage_fn(async |_: StageContext, (): ()| Ok(1_u32)));
    let call = stage.intercept(limit.clone()).intercept(Closed).inputs(());
    let pipeline = p.build(call).unwrap();
    Engine::builder().build().unwrap().run(&pipeline, ()).await.unwrap_err();
    assert_eq!(limit.available(None, "calls"), Some(2));
}

/// Tries again at once, so often.
struct Again(u32);

impl Interceptor for Again {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        for _ in 1..self.0 {
            if let Ok(done) = next.clone().run().await {
                return Ok(done);
            }
        }
        next.run().await
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Retry)
    }
}

/// Each attempt is a call of the dependency, and takes its turn.
#[tokio::test(start_paused = true)]
async fn retries_are_limited_as_well() {
    let limit = ten_a_second().build().unwrap();
    let attempts = Arc::new(AtomicU32::new(0));
    let mut p = Pipeline::builder("flaky");
    let number = Arc::clone(&attempts);
    let stage = p.stage(
        "call",
        stage_fn(move |_: StageContext, (): ()| {
            let number = number.fetch_add(1, Ordering::Relaxed);
            async move { if number < 4 { Err(StageExit::fail("flaky")) } else { Ok(number) } }
        }),
    );
    let call = stage.intercept(limit.clone()).intercept(Again(5)).inputs(());
    let pipeline = p.build(call).unwrap();
    let started = Instant::now();
    let done = Engine::builder().build().unwrap().run(&pipeline, ()).await.unwrap();
    assert_eq!((*done.output(), started.elapsed()), (4, 300.millis()));
}
