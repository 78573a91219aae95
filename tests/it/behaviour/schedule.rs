//! When stages start, and what they see (§18.2; rules S-2, S-4, S-13).

use std::{future::IntoFuture as _, sync::Arc};

use stageflow::{RunOutcome, prelude::*};

use super::kit::{Gauge, Log, gives, logging, naps, pipeline, recorded, same, solo, statuses, sum};

/// KEEP 18.2-44, 45.
#[tokio::test(start_paused = true)]
async fn one_stage_gives_its_output() {
    let done = solo(gives(7_u32)).run(()).await.unwrap();
    assert_eq!((*done.output(), done.outcome()), (7, RunOutcome::Completed));
    assert_eq!(statuses(&done.report()), ["only: completed"]);
    assert_eq!(*done.report().output_of::<u32>("only").unwrap(), 7);
    assert_eq!(solo(gives(())).run(()).await.unwrap().output(), &());
}

/// KEEP 18.2-47.
#[tokio::test(start_paused = true)]
async fn independent_stages_overlap() {
    let three = pipeline(|p| {
        let naps = p.parallel("nap", 0..3, |_| naps(100.millis(), 1)).inputs(());
        p.stage("sum", sum()).inputs(naps)
    });
    let done = three.run(()).await.unwrap();
    assert_eq!((*done.output(), done.report().duration()), (3, 100.millis()));
}

/// KEEP 18.2-48, 49: without a limit everything that is ready is in flight.
#[tokio::test(start_paused = true)]
async fn two_hundred_independent_stages_are_in_flight_at_once() {
    let gauge = Gauge::default();
    let wide = pipeline(|p| {
        let all = p.parallel("s", 0..200, |_| gauge.stage(10.millis())).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    let done = wide.run(()).await.unwrap();
    assert_eq!((*done.output(), gauge.most(), gauge.now()), (200, 200, 0));
    assert_eq!(done.report().stages().filter(|stage| stage.outcome.is_completed()).count(), 201);
}

async fn start_order(pipeline: &Pipeline<(), u32>) -> Vec<String> {
    let (engine, recorder) = recorded();
    engine.run(pipeline, ()).await.expect("it completes");
    recorder.lines().iter().filter_map(|line| Some(line.strip_prefix("stage.started ")?.to_owned())).collect()
}

/// KEEP 18.2-50.
#[tokio::test(start_paused = true)]
async fn a_chain_starts_in_its_order() {
    let chain = pipeline(|p| {
        let a = p.stage("a", gives(1_u32)).inputs(());
        let b = p.stage("b", same()).inputs(a);
        p.stage("c", same()).inputs(b)
    });
    assert_eq!(start_order(&chain).await, ["a", "b", "c"]);
}

/// KEEP 18.2-51.
#[tokio::test(start_paused = true)]
async fn a_diamond_runs_each_stage_once_between_its_ends() {
    let diamond = pipeline(|p| {
        let a = p.stage("a", gives(1_u32)).inputs(());
        let b = p.stage("b", same()).inputs(a);
        let c = p.stage("c", same()).inputs(a);
        p.stage("d", sum()).inputs([b, c])
    });
    assert_eq!(start_order(&diamond).await, ["a", "b", "c", "d"]);
}

/// KEEP 18.2-52, S-4.
#[tokio::test(start_paused = true)]
async fn a_stage_starts_when_its_inputs_are_there_and_not_level_by_level() {
    let log = Log::default();
    let child = {
        let log = log.clone();
        stage_fn(move |_, _: Arc<u32>| {
            log.add("child");
            std::future::ready(Ok(1_u32))
        })
    };
    let uneven = pipeline(|p| {
        let fast = p.stage("fast", naps(1.millis(), 1)).inputs(());
        let child = p.stage("child", child).inputs(fast);
        let slow = p
            .stage(
                "slow",
                logging(&log, |log, _| async move {
                    tokio::time::sleep(100.millis()).await;
                    log.add("slow ends");
                    Ok(1_u32)
                }),
            )
            .inputs(());
        p.stage("sum", sum()).inputs([child, slow])
    });
    uneven.run(()).await.unwrap();
    assert_eq!(log.lines(), ["child", "slow ends"]);
}

/// KEEP 18.2-53, S-4.
#[tokio::test(start_paused = true)]
async fn roots_start_in_declaration_order() {
    let roots = pipeline(|p| {
        let all = ["z", "m", "a"].map(|name| p.stage(name, gives(1_u32)).inputs(()));
        p.stage("sum", sum()).inputs(all)
    });
    assert_eq!(start_order(&roots).await, ["z", "m", "a", "sum"]);
}

/// KEEP 18.2-54.
#[tokio::test(start_paused = true)]
async fn long_chains_and_wide_fan_outs_complete() {
    let chain = pipeline(|p| {
        let first = p.stage("first", gives(1_u32)).inputs(());
        (0..99).fold(first, |at, i| p.stage(format!("s{i}"), same()).inputs(at))
    });
    assert_eq!(*chain.run(()).await.unwrap().output(), 1);
    let fan = pipeline(|p| {
        let root = p.stage("root", gives(1_u32)).inputs(());
        let all = p.parallel("s", 0..30, |_| same()).inputs(root);
        p.stage("sum", sum()).inputs(all)
    });
    assert_eq!(*fan.run(()).await.unwrap().output(), 30);
}

/// KEEP 18.2-55, S-13: the very value, shared and not copied.
#[tokio::test(start_paused = true)]
async fn a_stage_sees_exactly_what_the_other_gave() {
    let made = pipeline(|p| {
        let a = p.stage("a", gives(vec![1_u8, 2, 3])).inputs(());
        p.stage("b", stage_fn(|_, seen: Arc<Vec<u8>>| async move { Ok(seen) })).inputs(a)
    });
    let done = made.run(()).await.unwrap();
    let given = done.report().output_of::<Vec<u8>>("a").unwrap();
    assert!(Arc::ptr_eq(&given, done.output()));
}

/// KEEP 18.2-68.
#[tokio::test(start_paused = true)]
async fn what_comes_before_a_guard_that_cancels_has_run() {
    let guarded = pipeline(|p| {
        let a = p.stage("a", gives(1_u32)).inputs(());
        let b = p.stage("b", same()).inputs(a);
        let refuse = |_, _: Arc<u32>| async { StageResult::<u32>::Err(StageExit::cancel("no")) };
        p.stage("guard", stage_fn(refuse)).kind(StageKind::Guard).inputs(b)
    });
    let error = super::kit::error_of(guarded.run(())).await;
    let expected = ["a: completed", "b: completed", "guard: cancelled: `guard` ended the run: no"];
    assert_eq!(statuses(&error.report().unwrap()), expected);
}

/// KEEP 18.2-71, 83: one snapshot and one clock for all stages of a run.
#[tokio::test(start_paused = true)]
async fn all_stages_of_a_run_share_snapshot_and_clock() {
    let look = || {
        stage_fn(|ctx: StageContext, (): ()| async move {
            Ok((std::ptr::from_ref(ctx.snapshot()) as usize, ctx.elapsed()))
        })
    };
    let both = pipeline(|p| {
        let nap = p.stage("nap", naps(30.millis(), 1)).inputs(());
        let a = p.stage("a", look()).inputs(());
        let b = p.stage("b", look()).after(nap).inputs(());
        p.stage(
            "both",
            stage_fn(|_, pair: (Arc<(usize, _)>, Arc<(usize, _)>)| async move { Ok((*pair.0, *pair.1)) }),
        )
        .inputs((a, b))
    });
    let ((one, start), (other, later)) = *both.run(()).await.unwrap().output();
    assert_eq!((one, later - start), (other, 30.millis()));
}

/// KEEP 18.2-72: and to the nanosecond, on virtual time.
#[tokio::test(start_paused = true)]
async fn the_report_says_how_long_a_stage_was_queued_and_ran() {
    let chain = pipeline(|p| {
        let a = p.stage("a", naps(250.millis(), 1)).inputs(());
        p.stage("b", same()).inputs(a)
    });
    let report = chain.run(()).await.unwrap().report();
    let a = report.stage("a").unwrap();
    assert_eq!((a.queued, a.ran, a.attempts), (Some(0.millis()), Some(250.millis()), 1));
    assert_eq!(report.duration(), 250.millis());
}

/// KEEP 18.2-78, 79.
#[tokio::test(start_paused = true)]
async fn a_run_needs_no_options_and_stages_see_input_and_pipeline() {
    let mut p = Pipeline::builder("demo");
    let text = p.input();
    let look = |ctx: StageContext, text: Arc<String>| async move {
        Ok(format!("{text} in {} at {}", ctx.snapshot().pipeline(), ctx.stage_name()))
    };
    let seen = p.stage("look", stage_fn(look)).inputs(text);
    let demo = p.build(seen).unwrap();
    let done = demo.run("hello".to_owned()).await.unwrap();
    assert_eq!(done.output(), "hello in demo at look");
}

/// KEEP 18.2-84, S-2: the stage is shared by all runs; what must not be shared belongs into the future.
#[tokio::test(start_paused = true)]
async fn one_stage_value_serves_all_runs() {
    let log = Log::default();
    let counted = solo(logging(&log, |log, _| async move {
        let mut own = 0;
        own += 1;
        log.add("called");
        tokio::task::yield_now().await;
        Ok(own)
    }));
    let (a, b) = tokio::join!(counted.run(()).into_future(), counted.clone().run(()).into_future());
    assert_eq!((*a.unwrap().output(), *b.unwrap().output(), log.lines().len()), (1, 1, 2));
}

/// KEEP 18.2-86.
#[tokio::test(start_paused = true)]
async fn reading_the_report_by_name_has_no_silent_default() {
    let report = solo(gives(1_u32)).run(()).await.unwrap().report();
    assert!(report.stage("typo").is_none());
    assert!(report.output_of::<u32>("typo").is_none());
    assert!(report.output_of::<String>("only").is_none());
    assert_eq!(report.stages().count(), 1);
}
