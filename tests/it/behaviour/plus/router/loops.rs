//! Chains of runs that go round.

use stageflow::{
    code,
    interceptors::Retry,
    plus::router::{Route, Router},
    prelude::*,
};

use super::{Ticket, branches, causes, each, says, ticket, told};
use crate::behaviour::kit::{error_of, recorded};

/// A pipeline with the router in it that fails each time, tried again as a stage of another.
fn goes_round(limit: u32, attempts: u32) -> Pipeline<Ticket, String> {
    let router =
        Router::new(["draft"], |_: &Ticket| Some(Route::to("draft"))).named("writer").max_times(limit);
    let mut p = Pipeline::builder("inner");
    let input = p.input();
    let decision = p.stage("pick", router).inputs(input);
    let draft = stage_fn(|_, _: std::sync::Arc<Ticket>| async {
        Err::<String, _>(StageExit::fail("not good enough").class(stageflow::ErrorClass::Transient))
    });
    let draft = p.stage("draft", draft).when(decision, |d| d.is("draft")).inputs(input);
    let inner = p.build(draft).expect("it is right");

    let mut p = Pipeline::builder("outer");
    let input = p.input();
    let retry = Retry::constant(1.millis()).no_jitter().max_attempts(attempts);
    let output = p.stage("inner", inner).retry(retry).inputs(input);
    p.build(output).expect("it is right")
}

#[tokio::test(start_paused = true)]
async fn a_route_taken_too_often_by_the_child_runs_of_one_run_ends_with_the_path() {
    let (engine, recorder) = recorded();
    let pipeline = goes_round(3, 10);
    for _ in 0..2 {
        // Each root run is a chain of its own.
        recorder.clear();
        let error = error_of(engine.run(&pipeline, ticket("x"))).await;
        assert_eq!((error.code(), error.recoverable()), (code::ROUTE_LOOP, false));
        let failure = causes(&error);
        let path = "route `draft` was taken 4 times, and 3 is the limit: draft → draft → draft → draft";
        assert!(failure.contains(path), "{failure}");
        assert_eq!(each(&recorder, "route.looped", "path"), ["draft → draft → draft → draft"]);
        assert_eq!(each(&recorder, "route.looped", "times"), ["4"]);
        assert_eq!(told(&recorder, "route.decided").len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn what_stays_within_the_limit_is_no_loop() {
    let error = error_of(goes_round(4, 4).run(ticket("x"))).await;
    assert_ne!(error.code(), code::ROUTE_LOOP);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_runs_of_one_router_are_a_thousand_chains() {
    let router = Router::new(["a"], |_: &Ticket| Some(Route::to("a"))).max_times(1);
    let pipeline = branches(router, [("a", "a")]);
    for _ in 0..1_000 {
        assert!(pipeline.run(ticket("x")).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn two_routers_that_are_clones_count_together_in_one_run() {
    let router = Router::new(["a"], |_: &Ticket| Some(Route::to("a"))).max_times(1);
    let mut p = Pipeline::builder("twice");
    let input = p.input();
    let first = p.stage("first", router.clone()).inputs(input);
    let second = p.stage("second", router).after(first).inputs(input);
    let output = p.stage("a", says("a")).when(second, |d| d.is("a")).inputs(input);
    let error = error_of(p.build(output).expect("it is right").run(ticket("x"))).await;
    assert_eq!(error.code(), code::ROUTE_LOOP);
}
