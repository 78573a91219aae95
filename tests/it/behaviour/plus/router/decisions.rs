//! Routers by function, by phrases and by split: the cases of the seeds.

use std::sync::Arc;

use stageflow::{
    code,
    plus::router::{Otherwise, Phrases, Route, Router, Split},
    prelude::*,
};

use super::{Ticket, branches, causes, each, says, ticket, told};
use crate::behaviour::kit::{error_of, recorded};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Path {
    Standard,
    Fast,
    Premium,
    Escalation,
}

const PATHS: [(Path, &str); 4] = [
    (Path::Standard, "standard"),
    (Path::Fast, "fast"),
    (Path::Premium, "premium"),
    (Path::Escalation, "escalation"),
];

fn triage() -> Router<Path, Ticket> {
    let phrases = Phrases::otherwise(Path::Standard)
        .rule(Path::Escalation, ["completely broken", "emergency"])
        .rule(Path::Premium, ["enterprise upgrade", "enterprise"])
        .rule(Path::Fast, ["weather"]);
    let routes = PATHS.map(|(path, _)| path);
    Router::new(routes, move |ticket: &Ticket| Some(phrases.decide(&ticket.text)))
        .on_empty(|ticket| ticket.text.trim().is_empty(), Otherwise::To(Path::Fast))
        .named("triage")
        .version("3")
}

/// SEED0-2 … 5: eight of eight, the empty input where the policy says.
#[tokio::test(start_paused = true)]
async fn seed0_2_the_eight_cases_take_their_routes_and_each_leaves_an_event() {
    let long = "x".repeat(10_000);
    let cases = [
        ("I cannot log in", "standard", "phrase"),
        ("What is the weather today?", "fast", "phrase"),
        ("We want an enterprise upgrade", "premium", "phrase"),
        ("This is completely broken!", "escalation", "phrase"),
        ("", "fast", "empty"),
        (long.as_str(), "standard", "phrase"),
        ("log\u{0}in", "standard", "phrase"),
        ("héllo wörld 你好 🌦 مرحبا", "standard", "phrase"),
    ];
    let (engine, recorder) = recorded();
    let pipeline = branches(triage(), PATHS);
    for (text, route, reason) in cases {
        recorder.clear();
        let done = engine.run(&pipeline, ticket(text)).await.expect("there is a route");
        assert_eq!(done.output(), route, "{text:.40}");
        assert_eq!(each(&recorder, "route.decided", "route").len(), 1);
        assert_eq!(each(&recorder, "route.decided", "route")[0].to_lowercase(), route);
        assert_eq!(each(&recorder, "route.decided", "reason"), [reason]);
        assert_eq!(each(&recorder, "route.decided", "confidence"), ["1"]);
        assert_eq!(each(&recorder, "route.decided", "version"), ["3"]);
        assert_eq!(each(&recorder, "route.decided", "router"), ["triage"]);
    }
}

/// SEED0-6, 7, 14: the same decisions and the same words for them at any concurrency, each with its event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seed0_6_decisions_are_identical_for_20_to_1000_at_a_time() {
    let mut p = Pipeline::builder("decide");
    let input = p.input();
    let route = p.stage("pick", triage()).inputs(input);
    let words = stage_fn(|_, route: Arc<Route<Path>>| async move { Ok(route.to_string()) });
    let words = p.stage("words", words).inputs(route);
    let pipeline = p.build(words).expect("it is right");
    let texts = ["log in", "the weather in an enterprise", "completely broken weather", " "];
    let expected = [
        "Standard (phrase: no phrase found, confidence 1.00)",
        "Premium (phrase: enterprise, confidence 0.50), not Fast: a later rule (weather)",
        "Escalation (phrase: completely broken, confidence 0.50), not Fast: a later rule (weather)",
        "Fast (empty, confidence 1.00)",
    ];
    for concurrent in [20, 50, 100, 200, 1_000] {
        let (engine, recorder) = recorded();
        let runs: Vec<_> =
            (0..concurrent).map(|run| engine.start(&pipeline, ticket(texts[run % 4]))).collect();
        for (run, handle) in runs.into_iter().enumerate() {
            let done = handle.await.expect("there is a route");
            assert_eq!(done.output(), expected[run % 4]);
        }
        engine.flush().await;
        assert_eq!(told(&recorder, "route.decided").len(), concurrent);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_unknown_fails_is_skipped_or_goes_elsewhere_as_the_policy_says() {
    let none = || Router::new([Path::Fast], |_: &Ticket| Some(Route::to(Path::Premium)));
    let (engine, recorder) = recorded();
    let error = error_of(engine.run(&branches(none(), PATHS), ticket("x"))).await;
    let failure = causes(&error);
    assert_eq!((error.code(), error.recoverable()), (code::NO_ROUTE, false));
    assert!(
        failure.contains("router `Router`: no declared route was decided for: Premium: not declared"),
        "{failure}"
    );
    assert_eq!(each(&recorder, "route.refused", "reason"), ["unknown"]);
    assert_eq!(each(&recorder, "route.refused", "skipped"), ["Premium: not declared"]);

    let error = error_of(branches(none().on_unknown(Otherwise::Skip), PATHS).run(ticket("x"))).await;
    assert_eq!(error.code(), code::NO_OUTPUT);
    let elsewhere = branches(none().on_unknown(Otherwise::To(Path::Fast)), PATHS);
    assert_eq!(elsewhere.run(ticket("x")).await.expect("there is a route").output(), "fast");
}

/// Whoever writes the text cannot choose a route by it where it is not asked.
#[tokio::test(start_paused = true)]
async fn bug_053_an_injected_keyword_chooses_nothing_where_the_text_is_not_asked() {
    let router = Router::new([Path::Standard, Path::Escalation], |ticket: &Ticket| {
        Some(Route::to(if ticket.user == 0 { Path::Escalation } else { Path::Standard }))
    });
    let pipeline = branches(router, PATHS);
    let done = pipeline.run(ticket("ignore all rules: ESCALATION, completely broken")).await;
    assert_eq!(done.expect("there is a route").output(), "standard");
}

#[tokio::test(start_paused = true)]
async fn a_router_that_panics_fails_its_stage_and_nothing_else() {
    let router = Router::new([Path::Fast], |_: &Ticket| panic!("no idea"));
    let error = error_of(branches(router, PATHS).run(ticket("x"))).await;
    assert_eq!(error.code(), code::PANIC);
}

#[tokio::test(start_paused = true)]
async fn a_split_gives_each_user_the_same_variant_in_every_run_and_per_tenant() {
    let split = || Split::new("greeting", [("old", 1), ("new", 1)], |t: &Ticket| t.user);
    let (engine, recorder) = recorded();
    let of = async |tenant: &str, user| {
        // Another pipeline each time: nothing is stored.
        let pipeline = branches(split(), [("old", "old"), ("new", "new")]);
        let done = engine.run(&pipeline, Ticket { user, ..Ticket::default() }).tenant(tenant).await;
        done.expect("there is a variant").output().clone()
    };
    let mut differ = 0;
    for user in 0..40 {
        let first = of("acme", user).await;
        assert_eq!(of("acme", user).await, first);
        differ += u32::from(of("globex", user).await != first);
    }
    assert!((8..=32).contains(&differ), "{differ} of 40 differ between tenants");
    assert!(each(&recorder, "route.decided", "reason").iter().all(|reason| reason == "split"));
}

/// A decision is a value like any other: the router's own branch, and a stage that reads it.
#[tokio::test(start_paused = true)]
async fn a_decision_is_read_by_conditions_and_as_an_input() {
    let mut p = Pipeline::builder("read");
    let input = p.input();
    let decision = p.stage("pick", triage()).inputs(input);
    let urgent = p.stage("urgent", says("urgent")).when(decision, |d| d.is(Path::Escalation)).inputs(input);
    let others = p.stage("others", says("others")).when(decision, |d| !d.is(Path::Escalation)).inputs(input);
    let both = stage_fn(|_, (said, route): (Arc<String>, Arc<Route<Path>>)| async move {
        Ok(format!("{said}, {}", route.words()))
    });
    let output = p.stage("both", both).inputs((urgent.or(others), decision));
    let pipeline = p.build(output).expect("it is right");
    let done = pipeline.run(ticket("an emergency")).await.expect("there is a route");
    assert_eq!(done.output(), "urgent, emergency");
    assert_eq!(pipeline.stages().next().map(|stage| stage.kind()), Some(StageKind::Route));
}
