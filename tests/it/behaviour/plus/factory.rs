//! Many stages in one call, in running pipelines.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use stageflow::{
    FailurePolicy, RunOutcome, code, configured,
    interceptors::Retry,
    plus::{
        factory::{FactoryExt as _, Fluent, ParallelConfig, ParallelPipelineFactory, linear, map_reduce},
        retry_stage::RetryStage,
    },
    prelude::*,
    testing::fails,
};

use crate::behaviour::kit::{Gauge, error_of, gives, naps, recorded, report_of, same, sum, within};

type Numbers = Pipeline<u32, u32>;

/// Adds one.
fn next(_: usize) -> impl Stage<Input = Arc<u32>, Output = u32> {
    stage_fn(|_, n: Arc<u32>| async move { Ok(*n + 1) })
}

/// Waits, and gives 1.
fn nap(time: Duration) -> impl Stage<Input = Arc<u32>, Output = u32> {
    stage_fn(move |_, _: Arc<u32>| async move {
        // sleeps: on paused time
        tokio::time::sleep(time).await;
        Ok(1)
    })
}

/// Is inside for a second, and gives 1.
fn inside(gauge: &Gauge) -> impl Stage<Input = Arc<u32>, Output = u32> + use<> {
    let gauge = gauge.clone();
    stage_fn(move |_, _: Arc<u32>| {
        let inside = gauge.enter();
        async move {
            // sleeps: on paused time
            tokio::time::sleep(1.secs()).await;
            drop(inside);
            Ok(1)
        }
    })
}

#[tokio::test(start_paused = true)]
async fn five_hundred_stages_one_behind_the_other_and_side_by_side() {
    let chain = linear("chain", "step", 0..500, next).expect("it is right");
    let run = within(chain.run(1)).await.expect("it works");
    assert_eq!(*run.output(), 501);
    let names: Vec<_> = run.report().stages().map(|stage| stage.name.clone()).collect();
    assert_eq!((names.len(), names[0].as_str(), names[499].as_str()), (500, "step-000", "step-499"));

    let wide: Numbers = map_reduce("shard", 0..500, next, sum()).expect("it is right");
    let run = within(wide.run(1)).await.expect("it works");
    assert_eq!((*run.output(), run.report().stages().count()), (1_000, 501));
    assert!(run.report().stages().all(|stage| stage.attempts == 1));
    let deep = linear("deep", "step", 0..10_000, next).expect("it is right");
    assert_eq!(*within(deep.run(0)).await.expect("it works").output(), 10_000);
}

/// Each stage of a diamond runs once: the first before all others, the last behind all others; in many runs at a time.
#[tokio::test(start_paused = true)]
async fn each_stage_of_a_diamond_runs_once_and_in_its_turn() {
    let mut p = Pipeline::builder("diamond");
    let input = p.input();
    let pair = stage_fn(|_, (a, b): (Arc<u32>, Arc<u32>)| async move { Ok(*a * 100 + *b) });
    let (left, right) = (("left", configured(next(0))), ("right", configured(next(0))));
    let port =
        p.diamond(("top", configured(next(0))), left, right, ("bottom", configured(pair))).inputs(input);
    let diamond: Numbers = p.build(port).expect("it is right");
    let (engine, recorder) = recorded();
    let runs: Vec<_> = (0..100).map(|n| engine.start(&diamond, n)).collect();
    for (n, run) in (0..).zip(runs) {
        let done = run.await.expect("it works");
        assert_eq!(*done.output(), (n + 2) * 100 + n + 2);
        let of_run = recorder.events().into_iter().filter(|event| event.run_id() == done.report().run_id());
        let stages: Vec<_> = of_run
            .filter(|event| event.name() == "stage.started")
            .filter_map(|event| event.stage().map(str::to_owned))
            .collect();
        assert_eq!((stages.len(), &*stages[0], &*stages[3]), (4, "top", "bottom"), "{stages:?}");
    }
}

/// 10 of 500 fail: 490 outputs and 10 failures, and what needs them all is blocked.
#[tokio::test(start_paused = true)]
async fn failures_of_some_of_many_are_told_one_by_one() {
    let shard = |index: usize| {
        stage_fn(move |_, n: Arc<u32>| async move {
            if index % 50 == 7 { Err(StageExit::fail(format!("no {index}"))) } else { Ok(*n) }
        })
    };
    let pipeline: Numbers = Fluent::pipeline("wide")
        .settings(|p| p.on_failure(FailurePolicy::Continue))
        .parallel("shard", 0..500, shard)
        .reduce("sum", sum())
        .build()
        .expect("it is right");
    let report = report_of(pipeline.run(1)).await;
    let count =
        |status: &str| report.stages().filter(|stage| stage.outcome.to_string().starts_with(status)).count();
    assert_eq!((count("completed"), count("failed"), count("blocked")), (490, 10, 1), "{report}");
    assert_eq!(report.stage("shard-457").expect("it is there").outcome.to_string().lines().count(), 1);
}

/// The limit of a configuration is that of the run.
#[tokio::test(start_paused = true)]
async fn no_more_are_in_flight_than_the_configuration_says() {
    let gauge = Gauge::default();
    let of = |config: ParallelConfig<()>| {
        let factory = ParallelPipelineFactory::new(config).expect("it is right");
        factory.pipeline::<u32, _, _, _>("wide", |_, ()| inside(&gauge), ("sum", sum())).expect("it is right")
    };
    let limited = of(ParallelConfig::new("shard", 40).max_in_flight(7));
    assert_eq!(*within(limited.run(1)).await.expect("it works").output(), 40);
    assert_eq!(gauge.most(), 7);
    within(of(ParallelConfig::new("shard", 40)).run(1)).await.expect("it works");
    assert_eq!(gauge.most(), 40);
}

/// The time of one stage of a configuration strikes that one.
#[tokio::test(start_paused = true)]
async fn the_time_of_one_stage_is_that_of_the_configuration() {
    let json =
        r#"{ "prefix": "nap", "count": 3, "timeout_ms": 5000, "only": { "1": { "timeout_ms": 500 } } }"#;
    let config: ParallelConfig<()> = serde_json::from_str(json).expect("it can be read");
    let factory = ParallelPipelineFactory::new(config).expect("it is right");
    let pipeline =
        factory.pipeline::<u32, _, _, _>("naps", |_, ()| nap(1.secs()), ("sum", sum())).expect("it is right");
    let error = error_of(pipeline.run(1)).await;
    let failure = error.failure().expect("a stage has failed");
    assert_eq!((failure.stage(), failure.code()), ("nap-001", code::STAGE_TIMEOUT));
}

/// Stages of factories are whatever a builder takes: retry stages, stages with settings, pipelines.
#[tokio::test(start_paused = true)]
async fn factories_take_whatever_a_builder_takes() {
    let calls = Arc::new(AtomicUsize::new(0));
    let flaky = |_| fails::<Arc<u32>, u32>(1).then_ok(2);
    let counted = {
        let calls = Arc::clone(&calls);
        move |_| {
            let calls = Arc::clone(&calls);
            stage_fn(move |_, n: Arc<u32>| {
                calls.fetch_add(1, Ordering::Relaxed);
                async move { Ok(*n) }
            })
        }
    };
    let inner = linear("inner", "step", 0..3, next).expect("it is right");
    let pipeline: Numbers = Fluent::pipeline("all")
        .then("pipeline", RetryStage::new(inner, Retry::default()))
        .chain("same", 0..2, counted)
        .parallel("flaky", 0..4, RetryStage::each(Retry::constant(1.secs()), flaky))
        .each("then", |_| configured(same()).timeout(1.secs()))
        .reduce("sum", sum())
        .build()
        .expect("it is right");
    let run = within(pipeline.run(1)).await.expect("the second attempts work");
    assert_eq!((*run.output(), calls.load(Ordering::Relaxed)), (8, 2));
    let attempts = |name: &str| run.report().stage(name).expect("it is there").attempts;
    assert_eq!((attempts("flaky-003"), attempts("then-003"), attempts("pipeline")), (2, 1, 1));
}

/// Behind each other is behind each other: a failure on the way ends the chain, and says where.
#[tokio::test(start_paused = true)]
async fn a_failure_in_a_chain_names_its_link() {
    let step = |index: usize| {
        stage_fn(
            move |_, n: Arc<u32>| async move { if index == 3 { Err(StageExit::fail("no")) } else { Ok(*n) } },
        )
    };
    let chain = linear("chain", "step", 0..6, step).expect("it is right");
    let error = error_of(chain.run(1)).await;
    assert_eq!(error.outcome(), Some(RunOutcome::Failed));
    assert_eq!(error.failure().map(|failure| failure.stage().to_owned()).as_deref(), Some("step-003"));
    let report = error.report().expect("it ran");
    assert_eq!(report.stages().filter(|stage| stage.attempts > 0).count(), 4);
}

/// A fan-in waits for the slowest, and keeps the order of its branches.
#[tokio::test(start_paused = true)]
async fn a_fan_in_keeps_the_order_of_its_branches() {
    let list =
        stage_fn(|_, all: Vec<Arc<u32>>| async move { Ok(all.iter().map(|n| **n).collect::<Vec<u32>>()) });
    let mut p = Pipeline::builder("ordered");
    let times = [3_u32, 1, 2];
    let branches = times.map(|n| (format!("nap {n}"), naps(u64::from(n).secs(), n)));
    let port = p.fan_in(branches, ("list", list)).inputs(());
    let ordered: Pipeline<(), Vec<u32>> = p.build(port).expect("it is right");
    assert_eq!(*within(ordered.run(())).await.expect("it works").output(), [3, 1, 2]);
    let none: [(&str, _); 0] = [];
    let mut p = Pipeline::builder::<()>("none");
    let branches = none.map(|(name, ())| (name, gives(1_u32)));
    let port = p.fan_in(branches, ("sum", sum())).inputs(());
    assert_eq!(*p.build(port).expect("a stage is a pipeline").run(()).await.expect("it works").output(), 0);
}
