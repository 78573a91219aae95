//! Ordered tiers, and what a chain of runs has tried.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use stageflow::{
    ErrorClass, code,
    interceptors::Retry,
    plus::router::{FallbackRouter, OnRoute as _},
    prelude::*,
};

use super::{Ticket, each, passes, ticket};
use crate::behaviour::kit::{error_of, recorded};

type Tiers = FallbackRouter<&'static str, Ticket>;

/// Fails with this class while its number is above the calls.
fn fails(class: ErrorClass) -> impl Stage<Input = Arc<Ticket>, Output = String> {
    stage_fn(move |_, _: Arc<Ticket>| async move { Err::<String, _>(StageExit::fail("down").class(class)) })
}

/// Three tiers, of which the first two fail, as a sub-pipeline that is tried again.
fn tiered(router: &Tiers, last: ErrorClass, works: bool) -> Pipeline<Ticket, String> {
    let mut p = Pipeline::builder("tiered");
    let input = p.input();
    let tier = p.stage("tier", router.clone()).inputs(input);
    let large = p.stage("large", fails(ErrorClass::Transient)).on_route(tier, router, "large").inputs(input);
    let small = p.stage("small", fails(ErrorClass::Timeout)).on_route(tier, router, "small").inputs(input);
    let canned = stage_fn(move |_, _: Arc<Ticket>| async move {
        if works { Ok("canned".to_owned()) } else { Err(StageExit::fail("down").class(last)) }
    });
    let canned = p.stage("canned", canned).on_route(tier, router, "canned").inputs(input);
    let output = p.stage("join", passes()).inputs(large.or(small).or(canned));
    let inner = p.build(output).expect("it is right");

    let mut p = Pipeline::builder("outer");
    let input = p.input();
    let retry = Retry::constant(1.millis()).no_jitter().max_attempts(6);
    let output = p.stage("inner", inner).retry(retry).inputs(input);
    p.build(output).expect("it is right")
}

fn tiers() -> Tiers {
    FallbackRouter::new(["large", "small", "canned"])
}

#[tokio::test(start_paused = true)]
async fn each_try_takes_the_next_tier_and_says_what_failed_before() {
    let (engine, recorder) = recorded();
    let pipeline = tiered(&tiers(), ErrorClass::Transient, true);
    for _ in 0..2 {
        // Another run is another chain: it begins with the first tier.
        recorder.clear();
        let done = engine.run(&pipeline, ticket("x")).await.expect("the last tier works");
        assert_eq!(done.output(), "canned");
        assert_eq!(each(&recorder, "route.decided", "route"), ["large", "small", "canned"]);
        assert_eq!(each(&recorder, "route.decided", "reason"), ["primary", "fallback", "fallback"]);
        let skipped = each(&recorder, "route.decided", "skipped");
        let expected = "large: failed before (STAGE_FAILED); small: failed before (STAGE_FAILED)";
        assert_eq!(skipped, ["", "large: failed before (STAGE_FAILED)", expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn no_tier_is_tried_twice_and_with_none_left_it_fails_for_good() {
    let (engine, recorder) = recorded();
    let router = tiers();
    let error = error_of(engine.run(&tiered(&router, ErrorClass::Transient, false), ticket("x"))).await;
    assert_eq!((error.code(), error.recoverable()), (code::NO_ROUTE, false));
    assert_eq!(each(&recorder, "route.decided", "route"), ["large", "small", "canned"]);
    assert_eq!(each(&recorder, "route.refused", "reason"), ["exhausted"]);
}

/// A fault of the caller is an answer: it says nothing about the tier.
#[tokio::test(start_paused = true)]
async fn an_error_of_the_caller_is_no_reason_to_fall_back() {
    let (engine, recorder) = recorded();
    let router: Tiers = FallbackRouter::new(["large", "small"]);
    let mut p = Pipeline::builder("twice");
    p.on_failure(FailurePolicy::Continue);
    let input = p.input();
    let first = p.stage("first", router.clone()).inputs(input);
    let invalid =
        p.stage("invalid", fails(ErrorClass::Invalid)).on_route(first, &router, "large").inputs(input);
    let after =
        stage_fn(|_, (_, input): (Option<Arc<String>>, Arc<Ticket>)| async move { Ok((*input).clone()) });
    let after = p.stage("after", after).inputs((invalid.optional(), input));
    let second = p.stage("second", router.clone().without_report(&"small")).inputs(after);
    let output =
        stage_fn(
            |_, route: Arc<stageflow::plus::router::Route<&'static str>>| async move { Ok(*route.route()) },
        );
    let output = p.stage("output", output).inputs(second);
    let pipeline = p.build(output).expect("it is right");
    assert_eq!(engine.run(&pipeline, ticket("x")).await.expect("it goes on").output(), &"large");
    assert_eq!(each(&recorder, "route.decided", "reason"), ["primary", "primary"]);
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_does_not_suit_the_input_is_passed_over_with_the_reason() {
    let (engine, recorder) = recorded();
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&asked);
    let router = tiers().skip_if(move |tier, ticket| {
        counts.fetch_add(1, Ordering::Relaxed);
        (*tier != "canned" && ticket.text.len() > 10).then(|| "too long for it".into())
    });
    let pipeline = tiered(&router, ErrorClass::Transient, true);
    engine.run(&pipeline, ticket("something long")).await.expect("the last tier suits");
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    let expected = "large: too long for it; small: too long for it";
    assert_eq!(each(&recorder, "route.decided", "skipped"), [expected]);
}

#[tokio::test(start_paused = true)]
async fn what_has_failed_is_forgotten_with_the_run() {
    let (engine, _) = recorded();
    let router = tiers();
    let mut p = Pipeline::builder("alone");
    p.on_failure(FailurePolicy::Continue);
    let input = p.input();
    let tier =
        p.stage("tier", router.clone().without_report(&"small").without_report(&"canned")).inputs(input);
    let large = p.stage("large", fails(ErrorClass::Transient)).on_route(tier, &router, "large").inputs(input);
    let seen = router.clone();
    let looks = stage_fn(move |ctx: StageContext, _: Option<Arc<String>>| {
        let history = seen.history(ctx.snapshot().root_run_id());
        async move { Ok(history.into_iter().map(|tier| tier.route).collect::<Vec<_>>()) }
    });
    let output = p.stage("looks", looks).inputs(large.optional());
    let pipeline = p.build(output).expect("it is right");
    let done = engine.run(&pipeline, ticket("x")).await.expect("it goes on");
    assert_eq!(*done.output(), ["large"]);
    assert!(router.history(done.report().run_id()).is_empty());
}
