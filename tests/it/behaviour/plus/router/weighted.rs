//! Routers by weight.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use stageflow::{
    code,
    plus::router::{OnRoute as _, WeightedRouter},
    prelude::*,
    testing::Sim,
};

use super::{Ticket, branches, causes, each, passes, says, ticket, told};
use crate::behaviour::kit::{error_of, idle, recorded};

const AB: [(&str, &str); 2] = [("a", "a"), ("b", "b")];

async fn outputs(engine: &Engine, pipeline: &Pipeline<Ticket, String>, runs: u64) -> Vec<String> {
    let mut all = Vec::new();
    for user in 0..runs {
        let done = engine.run(pipeline, Ticket { user, ..Ticket::default() }).tenant("acme").await;
        all.push(done.expect("there is a route").output().clone());
    }
    all
}

fn count(outputs: &[String]) -> BTreeMap<&str, usize> {
    outputs.iter().fold(BTreeMap::new(), |mut counts, output| {
        *counts.entry(output.as_str()).or_insert(0) += 1;
        counts
    })
}

#[tokio::test(start_paused = true)]
async fn turns_are_exact_over_pipelines_that_share_a_router() {
    let (engine, recorder) = recorded();
    let router = WeightedRouter::new([("a", 9), ("b", 1)]);
    let (one, other) = (branches(router.clone(), AB), branches(router, AB));
    let mut all = outputs(&engine, &one, 5).await;
    all.extend(outputs(&engine, &other, 5).await);
    assert_eq!(count(&all), BTreeMap::from([("a", 9), ("b", 1)]));
    assert_eq!(told(&recorder, "route.decided").len(), 10);
    assert!(each(&recorder, "route.decided", "reason").iter().all(|reason| reason == "weight"));
}

/// Runs on threads, all at once: the same multiset as one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_at_the_same_time_keep_the_weights_exactly() {
    let (engine, _) = recorded();
    let pipeline = branches(WeightedRouter::new([("a", 3), ("b", 2)]), AB);
    let runs: Vec<_> = (0..500).map(|_| engine.start(&pipeline, ticket("x"))).collect();
    let mut all = Vec::new();
    for run in runs {
        all.push(run.await.expect("there is a route").output().clone());
    }
    assert_eq!(count(&all), BTreeMap::from([("a", 300), ("b", 200)]));
}

/// Chance comes from the run's seed: the same seed, the same routes.
#[test]
fn in_a_simulation_the_seed_decides_what_chance_chooses() {
    let report = Sim::seeds(0..20).twice().run(|sim| async move {
        let pipeline = branches(WeightedRouter::new([("a", 1), ("b", 1)]).random(), AB);
        for _ in 0..10 {
            sim.run(&pipeline, ticket("x")).await.expect("there is a route");
        }
    });
    assert_eq!(report.seeds(), 20);
}

#[tokio::test(start_paused = true)]
async fn the_same_user_stays_with_a_route_and_the_tenant_is_part_of_the_key() {
    let (engine, recorder) = recorded();
    let router = WeightedRouter::new([("a", 1), ("b", 1)]).sticky_by(|t: &Ticket| t.user);
    let pipeline = branches(router.clone(), AB);
    let first = outputs(&engine, &pipeline, 40).await;
    // Another router of the same routes in another order: as in another process.
    let again = branches(WeightedRouter::new([("b", 1), ("a", 1)]).sticky_by(|t: &Ticket| t.user), AB);
    assert_eq!(outputs(&engine, &again, 40).await, first);
    let mut differ = 0;
    for user in 0..40 {
        let done = engine.run(&pipeline, Ticket { user, ..Ticket::default() }).tenant("globex").await;
        differ += u32::from(*done.expect("there is a route").output() != first[user as usize]);
    }
    assert!((8..=32).contains(&differ), "{differ} of 40");
    assert!(each(&recorder, "route.decided", "reason").iter().all(|reason| reason == "sticky"));

    // A drained route loses its users, and the others stay.
    router.table().set_weight(&"a", 0);
    assert_eq!(count(&outputs(&engine, &pipeline, 40).await), BTreeMap::from([("b", 40)]));
    let last = each(&recorder, "route.decided", "skipped").pop();
    assert_eq!(last.as_deref(), Some("a: drained"));
}

#[tokio::test(start_paused = true)]
async fn ejected_routes_are_passed_over_and_said_so_and_without_any_route_it_fails() {
    let (engine, recorder) = recorded();
    let router = WeightedRouter::new([("a", 1), ("b", 1)]);
    let pipeline = branches(router.clone(), AB);
    assert!(router.table().eject(&"a", 5.secs(), "maintenance"));
    assert_eq!(count(&outputs(&engine, &pipeline, 6).await), BTreeMap::from([("b", 6)]));
    assert_eq!(each(&recorder, "route.decided", "skipped").pop().as_deref(), Some("a: ejected: maintenance"));
    tokio::time::advance(40.secs()).await;
    assert_eq!(count(&outputs(&engine, &pipeline, 6).await), BTreeMap::from([("a", 3), ("b", 3)]));

    router.table().set_weight(&"a", 0);
    router.table().set_weight(&"b", 0);
    let error = error_of(engine.run(&pipeline, ticket("x"))).await;
    assert_eq!(error.code(), code::NO_ROUTE);
    assert_eq!(each(&recorder, "route.refused", "reason"), ["drained"]);
}

/// `quick` takes 10 ms, `slow` a second.
fn loaded(router: &WeightedRouter<&'static str, Ticket>) -> Pipeline<Ticket, String> {
    let takes = |name: &'static str, time: Duration| {
        stage_fn(move |_, _: Arc<Ticket>| async move {
            // sleeps: on paused time
            tokio::time::sleep(time).await;
            Ok(name.to_owned())
        })
    };
    let mut p = Pipeline::builder("loaded");
    let input = p.input();
    let pick = p.stage("pick", router.clone()).inputs(input);
    let quick = p.stage("quick", takes("quick", 10.millis())).on_route(pick, router, "quick").inputs(input);
    let slow = p.stage("slow", takes("slow", 1.secs())).on_route(pick, router, "slow").inputs(input);
    let output = p.stage("join", passes()).inputs(quick.or(slow));
    p.build(output).expect("it is right")
}

#[tokio::test(start_paused = true)]
async fn the_slow_route_is_avoided_once_it_is_known_and_loads_go_back_to_zero() {
    let engine = Engine::builder().seed(1).build().expect("an engine");
    let router = WeightedRouter::new([("quick", 1), ("slow", 1)]).least_loaded();
    let pipeline = loaded(&router);
    let first = outputs(&engine, &pipeline, 10).await;
    assert!(count(&first).get("slow").is_some_and(|slow| *slow <= 2), "{first:?}");
    // 30 at a time: of 100 times the latency, it gets none.
    let runs: Vec<_> = (0..30).map(|_| engine.start(&pipeline, ticket("x"))).collect();
    let mut all = Vec::new();
    for run in runs {
        all.push(run.await.expect("there is a route").output().clone());
    }
    assert!(count(&all).get("quick").is_some_and(|quick| *quick >= 29), "{all:?}");
    assert_eq!(["quick", "slow"].map(|route| router.table().in_flight(&route)), [Some(0); 2]);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_nobody_reports_about_fails_the_first_run() {
    let (engine, recorder) = recorded();
    let router = WeightedRouter::new([("a", 1), ("b", 1)]).least_loaded().named("models");
    let forgotten = |router: &WeightedRouter<_, Ticket>| {
        let mut p = Pipeline::builder("forgotten");
        let input = p.input();
        let pick = p.stage("pick", router.clone()).inputs(input);
        let a = p.stage("a", says("a")).on_route(pick, router, "a").inputs(input);
        let b = p.stage("b", says("b")).when(pick, |d| d.is("b")).inputs(input);
        let output = p.stage("join", passes()).inputs(a.or(b));
        p.build(output).expect("it is right")
    };
    let error = error_of(engine.run(&forgotten(&router), ticket("x"))).await;
    assert_eq!(error.code(), code::INVALID_POLICY);
    let failure = causes(&error);
    assert!(failure.contains("router `models`: no stage tells it how `b` ends"), "{failure}");
    assert_eq!(each(&recorder, "route.refused", "reason"), ["unreported"]);
    assert!(engine.run(&forgotten(&router.without_report(&"b")), ticket("x")).await.is_ok());
}

/// From the decision to the end of the call, one run is one call under way.
#[tokio::test(start_paused = true)]
async fn a_run_counts_once_as_long_as_its_call_goes_on() {
    let engine = Engine::builder().seed(1).build().expect("an engine");
    let router = WeightedRouter::new([("quick", 1), ("slow", 1)]).least_loaded();
    let pipeline = loaded(&router);
    let run = engine.start(&pipeline, ticket("x"));
    idle().await;
    let loads = ["quick", "slow"].map(|route| router.table().in_flight(&route));
    assert!([[Some(1), Some(0)], [Some(0), Some(1)]].contains(&loads), "{loads:?}");
    run.await.expect("there is a route");
}

#[test]
fn cancelled_at_every_poll_no_load_is_left() {
    let router = WeightedRouter::new([("quick", 1), ("slow", 1)]).least_loaded();
    let report = Sim::cancel_at_every_poll(&loaded(&router), ticket("x")).seeds(0..3).assert_clean();
    assert!(report.runs() > 5);
    assert_eq!(["quick", "slow"].map(|route| router.table().in_flight(&route)), [Some(0); 2]);
}
