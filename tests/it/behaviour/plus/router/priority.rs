//! Routes by priority, and who goes next.

use std::sync::Arc;

use stageflow::{
    code,
    plus::router::{ClassWeights, PriorityGate, PriorityRouter},
    prelude::*,
    testing::Sim,
};
use tokio::time::Instant;

use super::{Ticket, branches, each, ticket, told};
use crate::behaviour::kit::{Log, error_of, idle, recorded};

const ALL: [Priority; 5] =
    [Priority::Critical, Priority::High, Priority::Normal, Priority::Low, Priority::Background];

fn lanes() -> PriorityRouter<&'static str, Ticket> {
    PriorityRouter::new([
        (Priority::Normal, "standard"),
        (Priority::Critical, "express"),
        (Priority::High, "fast"),
        (Priority::Background, "batch"),
    ])
}

const LANES: [(&str, &str); 4] =
    [("express", "express"), ("fast", "fast"), ("standard", "standard"), ("batch", "batch")];

/// SEED0-13: 200 cases, forty of each priority, all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seed0_13_two_hundred_runs_take_the_lane_of_their_priority() {
    let (engine, recorder) = recorded();
    let pipeline = branches(lanes(), LANES);
    let expected = ["express", "fast", "standard", "batch", "batch"];
    let runs: Vec<_> = (0..200)
        .map(|run| {
            (
                run % 5,
                tokio::spawn({
                    let (engine, pipeline) = (engine.clone(), pipeline.clone());
                    async move { engine.run(&pipeline, ticket("x")).priority(ALL[run % 5]).await }
                }),
            )
        })
        .collect();
    for (class, run) in runs {
        assert_eq!(run.await.expect("it ends").expect("there is a lane").output(), expected[class]);
    }
    engine.flush().await;
    let mut because = each(&recorder, "route.decided", "because");
    because.sort();
    because.dedup();
    assert_eq!(because, ["background", "critical", "high", "low", "normal"]);
    assert_eq!(told(&recorder, "route.decided").len(), 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_urgent_by_its_time_or_its_input_is_raised_and_says_so() {
    let (engine, recorder) = recorded();
    let router = lanes()
        .escalate_below(5.secs(), Priority::High)
        .escalate_if(|ticket| ticket.text == "outage", Priority::Critical);
    let pipeline = branches(router, LANES);
    let low = |text: &str| engine.run(&pipeline, ticket(text)).priority(Priority::Low);
    assert_eq!(low("x").deadline(60.secs()).await.expect("there is a lane").output(), "batch");
    assert_eq!(low("x").deadline(2.secs()).await.expect("there is a lane").output(), "fast");
    assert_eq!(low("outage").deadline(2.secs()).await.expect("there is a lane").output(), "express");
    // Nothing is lowered.
    let critical = engine.run(&pipeline, ticket("x")).priority(Priority::Critical).deadline(2.secs()).await;
    assert_eq!(critical.expect("there is a lane").output(), "express");
    assert_eq!(
        each(&recorder, "route.decided", "because"),
        [
            "low",
            "low raised to high by the time left (2.0s)",
            "low raised to critical by the input",
            "critical"
        ]
    );
    assert_eq!(
        each(&recorder, "route.decided", "reason"),
        ["priority", "escalated", "escalated", "priority"]
    );
}

/// A stage that takes a second behind a gate, and says whose turn it was.
fn gated(gate: &PriorityGate, log: &Log) -> Pipeline<Ticket, String> {
    let log = log.clone();
    let works = stage_fn(move |ctx: StageContext, _: Arc<Ticket>| {
        log.add(format!("{:?}", ctx.snapshot().priority()));
        async move {
            // sleeps: on paused time
            tokio::time::sleep(1.secs()).await;
            Ok("done".to_owned())
        }
    });
    let mut p = Pipeline::builder("gated");
    let input = p.input();
    let output = p.stage("works", works).intercept(gate.clone()).inputs(input);
    p.build(output).expect("it is right")
}

/// The published bound, in seconds of virtual time: under a flood of every other class, for each class.
#[tokio::test(start_paused = true)]
async fn seed0_20_under_a_flood_each_class_waits_for_fewer_turns_than_its_bound() {
    for class in ALL {
        let (engine, _) = recorded();
        let (gate, log) = (PriorityGate::new("model", 1), Log::default());
        let pipeline = gated(&gate, &log);
        let flood: Vec<_> = ALL
            .into_iter()
            .filter(|other| *other != class)
            .flat_map(|other| [other; 40])
            .map(|other| spawn(&engine, &pipeline, other))
            .collect();
        idle().await;
        let began = Instant::now();
        spawn(&engine, &pipeline, class).await.expect("it ends").expect("it has its turn");
        // One turn is under way when it comes, and its own takes a second as well.
        let others = began.elapsed().as_secs_f64().ceil() as u64 - 1;
        let bound = ClassWeights::default().starvation_bound(class);
        assert!(others < bound + 1, "{class:?} waited for {others}, {bound} is the bound");
        for run in flood {
            run.await.expect("it ends").expect("it has its turn");
        }
        assert_eq!(log.lines().len(), 161);
        assert_eq!((gate.in_use(), gate.waiting()), (0, 0));
    }
}

fn spawn(
    engine: &Engine,
    pipeline: &Pipeline<Ticket, String>,
    class: Priority,
) -> tokio::task::JoinHandle<Result<String, RunError>> {
    let (engine, pipeline) = (engine.clone(), pipeline.clone());
    tokio::spawn(async move {
        engine.run(&pipeline, ticket("x")).priority(class).await.map(|done| done.output().clone())
    })
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_explained_and_recorded_and_who_waits_too_long_goes_next() {
    let (engine, recorder) = recorded();
    let gate = PriorityGate::new("model", 1).max_wait(Priority::Background, 3.secs());
    let pipeline = gated(&gate, &Log::default());
    let first = spawn(&engine, &pipeline, Priority::Critical);
    idle().await;
    let background: Vec<_> = (0..2).map(|_| spawn(&engine, &pipeline, Priority::Background)).collect();
    idle().await;
    let flood: Vec<_> = (0..20).map(|_| spawn(&engine, &pipeline, Priority::Critical)).collect();
    idle().await;
    let explained: String = engine.explain().iter().map(ToString::to_string).collect();
    assert!(explained.contains("waits for a permit of the priority limit"), "{explained}");
    first.await.expect("it ends").expect("it has its turn");
    for run in background {
        run.await.expect("it ends").expect("it has its turn");
    }
    engine.flush().await;
    // By its weight one of them has an early turn, and the other would wait for sixteen others: after three seconds it does not.
    let classes = each(&recorder, "limit.waited", "class");
    assert_eq!(classes[..4], ["critical", "background", "critical", "background"]);
    assert_eq!(each(&recorder, "limit.waited", "promoted")[..4], ["false", "false", "false", "true"]);
    for run in flood {
        run.await.expect("it ends").expect("it has its turn");
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_have_a_turn_in_time_is_refused() {
    let (engine, recorder) = recorded();
    let gate = PriorityGate::new("model", 1).max_queue(1);
    let pipeline = gated(&gate, &Log::default());
    let first = spawn(&engine, &pipeline, Priority::Normal);
    idle().await;
    let mut p = Pipeline::builder("hurried");
    let input = p.input();
    let works = stage_fn(|_, _: Arc<Ticket>| async { Ok("done".to_owned()) });
    let output = p.stage("works", works).min_time(200.millis()).intercept(gate.clone()).inputs(input);
    let hurried = p.build(output).expect("it is right");
    let began = Instant::now();
    let error = error_of(engine.run(&hurried, ticket("x")).deadline(500.millis())).await;
    assert_eq!((error.code(), began.elapsed()), (code::BULKHEAD_FULL, 300.millis()));
    let second = spawn(&engine, &pipeline, Priority::Normal);
    idle().await;
    let error = error_of(engine.run(&pipeline, ticket("x"))).await;
    assert_eq!((error.code(), error.recoverable()), (code::BULKHEAD_FULL, true));
    assert_eq!(each(&recorder, "limit.rejected", "reason"), ["timeout", "full"]);
    first.await.expect("it ends").expect("it has its turn");
    second.await.expect("it ends").expect("it has its turn");
}

/// Tenants of one class share by turns, however many runs one of them has.
#[tokio::test(start_paused = true)]
async fn a_tenant_with_many_runs_does_not_hold_up_another() {
    let (engine, _) = recorded();
    let gate = PriorityGate::new("model", 1);
    let pipeline = gated(&gate, &Log::default());
    let run = |tenant: &'static str| {
        let (engine, pipeline) = (engine.clone(), pipeline.clone());
        tokio::spawn(async move { engine.run(&pipeline, ticket("x")).tenant(tenant).await.is_ok() })
    };
    let flood: Vec<_> = (0..50).map(|_| run("heavy")).collect();
    idle().await;
    let began = Instant::now();
    assert!(run("light").await.expect("it ends"));
    assert!(began.elapsed() <= 4.secs(), "{:?}", began.elapsed());
    for run in flood {
        assert!(run.await.expect("it ends"));
    }
}

#[test]
fn cancelled_at_every_poll_the_place_is_given_back() {
    let gate = PriorityGate::new("model", 1);
    let mut p = Pipeline::builder("two");
    let input = p.input();
    let works = || {
        stage_fn(|_, _: Arc<Ticket>| async {
            // sleeps: on paused time
            tokio::time::sleep(5.millis()).await;
            Ok(1_u32)
        })
    };
    let one = p.stage("one", works()).intercept(gate.clone()).inputs(input);
    let two = p.stage("two", works()).intercept(gate.clone()).inputs(input);
    let sum = stage_fn(|_, (a, b): (Arc<u32>, Arc<u32>)| async move { Ok(*a + *b) });
    let output = p.stage("sum", sum).inputs((one, two));
    let pipeline = p.build(output).expect("it is right");
    let report = Sim::cancel_at_every_poll(&pipeline, ticket("x")).seeds(0..3).assert_clean();
    assert!(report.runs() > 5);
    assert_eq!((gate.in_use(), gate.waiting()), (0, 0));
}
