//! Routers by the health of what is behind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use stageflow::{
    code,
    interceptors::{BreakerState, CircuitBreaker, Forced, Retry},
    plus::router::{AllOpen, CircuitBreakerRouter, OnRoute as _},
    prelude::*,
    testing::Sim,
};
use tokio::time::{Instant, advance};

use super::{Ticket, causes, each, passes, says, ticket, told};
use crate::behaviour::kit::{error_of, idle, recorded};

type Models = CircuitBreakerRouter<&'static str, Ticket>;

fn breaker(name: &str) -> CircuitBreaker {
    let breaker = CircuitBreaker::builder(name).consecutive(2).open_for(10.secs()).jitter(0.0).probes(1);
    breaker.build().expect("a breaker")
}

fn models() -> Models {
    CircuitBreakerRouter::new([("large", breaker("large")), ("small", breaker("small"))]).named("models")
}

/// Whether each of them is ill, and how often it was called.
#[derive(Clone, Default)]
struct Model {
    ill: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Model {
    fn stage(
        &self,
        name: &'static str,
        takes: Duration,
    ) -> impl Stage<Input = Arc<Ticket>, Output = String> + use<> {
        let model = self.clone();
        stage_fn(move |_, _: Arc<Ticket>| {
            let model = model.clone();
            async move {
                model.calls.fetch_add(1, Ordering::Relaxed);
                // sleeps: on paused time
                tokio::time::sleep(takes).await;
                match model.ill.load(Ordering::Relaxed) {
                    true => Err("503").transient(),
                    false => Ok(name.to_owned()),
                }
            }
        })
    }
}

fn answers(router: &Models, models: [&Model; 2], takes: Duration) -> Pipeline<Ticket, String> {
    let mut p = Pipeline::builder("answers");
    let input = p.input();
    let pick = p.stage("pick", router.clone()).inputs(input);
    let large =
        p.stage("large", models[0].stage("large", takes)).on_route(pick, router, "large").inputs(input);
    let small =
        p.stage("small", models[1].stage("small", takes)).on_route(pick, router, "small").inputs(input);
    let output = p.stage("join", passes()).inputs(large.or(small));
    p.build(output).expect("it is right")
}

#[tokio::test(start_paused = true)]
async fn the_primary_is_left_while_it_is_ill_and_taken_again_when_it_is_well() {
    let (engine, recorder) = recorded();
    let (router, large, small) = (models(), Model::default(), Model::default());
    let pipeline = answers(&router, [&large, &small], 1.millis());
    let run = async || engine.run(&pipeline, ticket("x")).await.map(|done| done.output().clone());
    assert_eq!(run().await.expect("it is well"), "large");
    large.ill.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        assert!(run().await.is_err());
    }
    for _ in 0..3 {
        assert_eq!(run().await.expect("the other is well"), "small");
    }
    assert_eq!(large.calls.load(Ordering::Relaxed), 3, "an ill route is not called");
    let reasons = each(&recorder, "route.decided", "reason");
    assert_eq!(reasons, ["primary", "primary", "primary", "fallback", "fallback", "fallback"]);
    let skipped = each(&recorder, "route.decided", "skipped").pop().expect("there is one");
    assert!(skipped.starts_with("large: the breaker `large` is open for another 9.9"), "{skipped}");

    large.ill.store(false, Ordering::Relaxed);
    advance(10.secs()).await;
    assert_eq!(run().await.expect("the probe"), "large");
    let state = router.breaker(&"large").map(|breaker| breaker.state(&breaker.key(None)));
    assert_eq!(state, Some(BreakerState::Closed));
    let lines: Vec<_> = recorder.lines().into_iter().filter(|line| line.starts_with("breaker.")).collect();
    assert_eq!(lines, ["breaker.opened large", "breaker.half_open pick", "breaker.closed large"]);
}

/// Opens both.
async fn all_open(engine: &Engine, pipeline: &Pipeline<Ticket, String>, models: [&Model; 2]) {
    models.iter().for_each(|model| model.ill.store(true, Ordering::Relaxed));
    for _ in 0..4 {
        assert!(engine.run(pipeline, ticket("x")).await.is_err());
    }
    models.iter().for_each(|model| model.ill.store(false, Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn with_all_open_it_fails_and_says_when_to_come_back() {
    let (engine, recorder) = recorded();
    let (router, large, small) = (models(), Model::default(), Model::default());
    let pipeline = answers(&router, [&large, &small], 1.millis());
    all_open(&engine, &pipeline, [&large, &small]).await;
    let error = error_of(engine.run(&pipeline, ticket("x"))).await;
    assert_eq!((error.code(), error.recoverable()), (code::BREAKER_OPEN, true));
    let failure = causes(&error);
    assert!(
        failure.contains("router `models`: no breaker lets a call through: large: the breaker"),
        "{failure}"
    );
    assert!(failure.contains("; small: the breaker `small` is open"), "{failure}");
    assert_eq!(each(&recorder, "route.refused", "reason"), ["all_open"]);
    assert_eq!((large.calls.load(Ordering::Relaxed), small.calls.load(Ordering::Relaxed)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn with_all_open_the_least_bad_is_taken_and_counts_for_nothing() {
    let (engine, recorder) = recorded();
    let (router, large, small) =
        (models().when_all_open(AllOpen::LeastBad), Model::default(), Model::default());
    let pipeline = answers(&router, [&large, &small], 1.millis());
    all_open(&engine, &pipeline, [&large, &small]).await;
    let done = engine.run(&pipeline, ticket("x")).await.expect("it is well by now");
    assert_eq!(done.output(), "large", "it was the first to open, and is the first to try again");
    assert_eq!(each(&recorder, "route.decided", "reason").pop().as_deref(), Some("least_bad"));
    assert_eq!(each(&recorder, "route.decided", "confidence").pop().as_deref(), Some("0"));
    let open = router.breaker(&"large").map(|breaker| breaker.state(&breaker.key(None)));
    assert!(matches!(open, Some(BreakerState::Open { .. })), "one good answer closes nothing");

    // What an operator has closed is never the least bad.
    router.force(&"large", Some(Forced::Open));
    assert_eq!(engine.run(&pipeline, ticket("x")).await.expect("it is well").output(), "small");
    router.force(&"small", Some(Forced::Open));
    assert_eq!(error_of(engine.run(&pipeline, ticket("x"))).await.code(), code::BREAKER_OPEN);
}

#[tokio::test(start_paused = true)]
async fn with_all_open_it_waits_until_one_tries_again_and_explain_says_so() {
    let (engine, recorder) = recorded();
    let router = models().when_all_open(AllOpen::Queue(30.secs()));
    let (large, small) = (Model::default(), Model::default());
    let pipeline = answers(&router, [&large, &small], 1.millis());
    all_open(&engine, &pipeline, [&large, &small]).await;
    let began = Instant::now();
    let run = engine.start(&pipeline, ticket("x"));
    idle().await;
    let explained = run.explain().expect("it is under way").to_string();
    assert!(explained.contains("waits for the breaker `models`"), "{explained}");
    assert_eq!(run.await.expect("it is well").output(), "large");
    assert!((9_900..=10_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(each(&recorder, "route.decided", "reason").pop().as_deref(), Some("queued"));
}

#[tokio::test(start_paused = true)]
async fn it_does_not_wait_for_what_comes_too_late() {
    let (engine, _) = recorded();
    let (large, small) = (Model::default(), Model::default());
    for (most, deadline) in [(3.secs(), 60.secs()), (60.secs(), 3.secs())] {
        let router = models().when_all_open(AllOpen::Queue(most));
        let pipeline = answers(&router, [&large, &small], 1.millis());
        all_open(&engine, &pipeline, [&large, &small]).await;
        let began = Instant::now();
        let error = error_of(engine.run(&pipeline, ticket("x")).deadline(deadline)).await;
        assert_eq!((error.code(), began.elapsed()), (code::BREAKER_OPEN, Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_ends_the_wait() {
    let (engine, _) = recorded();
    let router = models().when_all_open(AllOpen::Queue(60.secs()));
    let (large, small) = (Model::default(), Model::default());
    let pipeline = answers(&router, [&large, &small], 1.millis());
    router.force(&"large", Some(Forced::Open));
    router.force(&"small", Some(Forced::Open));
    let began = Instant::now();
    let run = engine.start(&pipeline, ticket("x"));
    idle().await;
    router.force(&"small", None);
    assert_eq!(run.await.expect("it is well").output(), "small");
    assert!(began.elapsed() < 1.secs());
}

/// To choose is to be admitted: no more probes go to an ill route than it asks for, and nobody is sent there and refused.
#[tokio::test(start_paused = true)]
async fn half_open_one_of_twenty_runs_is_the_probe_and_the_others_go_elsewhere() {
    let (engine, recorder) = recorded();
    let (router, large, small) = (models(), Model::default(), Model::default());
    let pipeline = answers(&router, [&large, &small], 50.millis());
    large.ill.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        assert!(engine.run(&pipeline, ticket("x")).await.is_err());
    }
    large.ill.store(false, Ordering::Relaxed);
    advance(10.secs()).await;
    let runs: Vec<_> = (0..20).map(|_| engine.start(&pipeline, ticket("x"))).collect();
    let mut to_large = 0;
    for run in runs {
        to_large += u32::from(run.await.expect("all are answered").output() == "large");
    }
    assert_eq!(to_large, 1);
    assert!(told(&recorder, "breaker.rejected").is_empty());
}

/// The stage behind the route is never called: its probe is given back at the end of the run, and that is said.
#[tokio::test(start_paused = true)]
async fn a_decision_nobody_follows_gives_its_probe_back_and_leaves_an_event() {
    let (engine, recorder) = recorded();
    let (router, model) = (models(), Model::default());
    let pipeline = answers(&router, [&model, &model], 1.millis());
    model.ill.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        assert!(engine.run(&pipeline, ticket("x")).await.is_err());
    }
    model.ill.store(false, Ordering::Relaxed);
    advance(10.secs()).await;

    let mut p = Pipeline::builder("in vain");
    let input = p.input();
    let pick = p.stage("pick", router.clone()).inputs(input);
    let never =
        p.stage("never", says("never")).when(input, |_| false).on_route(pick, &router, "large").inputs(input);
    let output = p.stage("join", says("joined")).after(pick).inputs(input);
    let _other = never;
    let in_vain = p.build(output).expect("it is right");
    engine.run(&in_vain, ticket("x")).await.expect("nothing fails");
    assert_eq!(each(&recorder, "route.unreported", "route"), ["large"]);
    assert_eq!(each(&recorder, "route.unreported", "router"), ["models"]);
    assert_eq!(engine.run(&pipeline, ticket("x")).await.expect("the probe is free").output(), "large");
}

/// Attempts after the first are calls of their own, which the breaker refuses once it is open.
#[tokio::test(start_paused = true)]
async fn each_attempt_counts_and_an_open_breaker_refuses_the_next() {
    let (engine, recorder) = recorded();
    let (router, large) = (models(), Model::default());
    large.ill.store(true, Ordering::Relaxed);
    let mut p = Pipeline::builder("again");
    let input = p.input();
    let pick = p.stage("pick", router.clone().without_report(&"small")).inputs(input);
    let retry = Retry::constant(1.millis()).no_jitter().max_attempts(3).cap(1.millis());
    let stage = p.stage("large", large.stage("large", 1.millis())).on_route(pick, &router, "large");
    let output = stage.retry(retry).inputs(input);
    let pipeline = p.build(output).expect("it is right");
    error_of(engine.run(&pipeline, ticket("x"))).await;
    assert_eq!(large.calls.load(Ordering::Relaxed), 2);
    assert!(!told(&recorder, "breaker.rejected").is_empty());
}

#[test]
fn cancelled_at_every_poll_no_probe_is_left() {
    let router = CircuitBreakerRouter::new([("large", breaker("large")), ("small", breaker("small"))]);
    let (large, small) = (Model::default(), Model::default());
    let pipeline = answers(&router, [&large, &small], 5.millis());
    let key = router.breaker(&"large").map(|breaker| breaker.key(None)).expect("it is known");
    let breaker = router.breaker(&"large").expect("it is known").clone();
    let report = Sim::cancel_at_every_poll(&pipeline, ticket("x")).seeds(0..3).assert_clean();
    assert!(report.runs() > 5);
    let totals = breaker.snapshot().into_iter().find(|known| known.key == key).expect("it was asked").totals;
    assert_eq!(totals.admitted, totals.succeeded + totals.failed + totals.neutral, "{totals:?}");
    assert!(totals.neutral > 0 && totals.failed == 0, "{totals:?}");
}
