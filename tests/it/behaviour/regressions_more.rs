//! What was wrong in the Python version must not come back (`upstream-engine.md` §19): W28 and later.

use std::{future::IntoFuture as _, sync::Arc, time::Duration};

use stageflow::{BoxError, EventKind, FailurePolicy, FieldValue, RunOutcome, code, names, prelude::*};

use super::kit::{
    Gauge, Log, error_of, exits, exits_after, gives, idle, logging, naps, never, pipeline, recorded,
    report_of, same, solo, statuses, sum,
};

/// W28: failure policies, conditions and limits are in the scheduler, and reach transitive dependents.
#[tokio::test(start_paused = true)]
async fn w28_policies_conditions_and_limits_are_live() {
    let gauge = Gauge::default();
    let live = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue).max_in_flight(2);
        let all = p.parallel("s", 0..10, |_| gauge.stage(1.millis())).inputs(());
        let bad = p.stage("bad", exits(|| StageExit::fail("x"))).inputs(());
        let b = p.stage("b", same()).inputs(bad);
        let c = p.stage("c", same()).inputs(b);
        p.stage("d", same()).inputs(c);
        let sum = p.stage("sum", sum()).inputs(all);
        p.stage("huge", same()).when(sum, |sum| *sum > 100).inputs(sum);
        p.stage("small", same()).when(sum, |sum| *sum <= 100).inputs(sum)
    });
    let done = live.run(()).await.unwrap();
    assert_eq!((*done.output(), gauge.most(), done.outcome()), (10, 2, RunOutcome::CompletedWithFailures));
    let expected = ["b: blocked by `bad`", "c: blocked by `bad`", "d: blocked by `bad`"];
    assert_eq!(statuses(&done.report())[11..14], expected);
    assert_eq!(
        statuses(&done.report())[15..],
        ["huge: skipped: branch not taken at `sum`", "small: completed"]
    );
}

/// W31: what a stage emits arrives with every field; there is no way to emit that is swallowed.
#[tokio::test(start_paused = true)]
async fn w31_what_is_emitted_arrives() {
    let (engine, recorder) = recorded();
    let emits = stage_fn(|ctx: StageContext, (): ()| async move {
        ctx.emit("bare", Vec::<(String, FieldValue)>::new());
        ctx.emit(
            "full",
            [
                ("text", FieldValue::from("a")),
                ("int", (-1).into()),
                ("float", 1.5.into()),
                ("bool", true.into()),
            ],
        );
        Ok(1_u32)
    });
    engine.run(&solo(emits), ()).await.unwrap();
    let events = recorder.events();
    assert_eq!(recorder.lines()[2..4], ["bare only", "full only"]);
    let EventKind::Custom(full) = events[3].kind() else { panic!("{events:?}") };
    assert_eq!(full.field("int"), Some(&FieldValue::Int(-1)));
    assert_eq!((full.field("float"), full.field("none")), (Some(&FieldValue::Float(1.5)), None));
}

/// W32: a failure is reacted to at once, and not when the slowest has ended.
#[tokio::test(start_paused = true)]
async fn w32_a_failure_is_prompt() {
    let slow = pipeline(|p| {
        let slow = p.stage("slow", naps(3_600.secs(), 1)).inputs(());
        let fails = p.stage("fails", exits_after(1.millis(), || StageExit::fail("x"))).inputs(());
        p.stage("sum", sum()).inputs([slow, fails])
    });
    assert_eq!(report_of(slow.run(())).await.duration(), 1.millis());
}

/// W33: tearing down has a deadline: the grace of a stage, and the budget of the clean-ups.
#[tokio::test(start_paused = true)]
async fn w33_tearing_down_has_an_end() {
    let stubborn = logging(&Log::default(), |_, ctx| async move {
        ctx.on_cleanup(std::future::pending::<()>());
        std::future::pending::<StageResult<u32>>().await
    });
    let stubborn = pipeline(|p| {
        p.cleanup_budget(2.secs());
        p.stage("only", stubborn).grace(1.secs()).inputs(())
    });
    let run = stubborn.start(());
    idle().await;
    run.cancel("x");
    let report = error_of(run).await.report().unwrap();
    assert_eq!(report.duration(), 3.secs() + 1.millis());
    assert_eq!(report.clean_up_failures()[0].code, code::CLEANUP_TIMEOUT);
}

/// W35: no timeout unasked; each stage has its own; a timeout error of the stage's own is no timeout of ours.
#[tokio::test(start_paused = true)]
async fn w35_timeouts_are_per_stage_and_never_unasked() {
    assert_eq!(*solo(naps(86_400.secs(), 1)).run(()).await.unwrap().output(), 1);
    let own = solo(stage_fn(|_, (): ()| async {
        tokio::time::timeout(1.millis(), std::future::pending::<()>()).await?;
        Ok(1_u32)
    }));
    let error = error_of(own.run(())).await;
    assert_eq!((error.code(), error.outcome()), (code::STAGE_FAILED, Some(RunOutcome::Failed)));
    let two = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let long = p.stage("long", naps(20.millis(), 1)).timeout(30.millis()).inputs(());
        p.stage("short", naps(20.millis(), 1)).timeout(10.millis()).inputs(());
        p.stage("out", same()).inputs(long)
    });
    assert_eq!(two.run(()).await.unwrap().report().failures()[0].code(), code::STAGE_TIMEOUT);
}

/// W39: a clean-up has no name to trip over; one that breaks stops no other, and they share no slices.
#[tokio::test(start_paused = true)]
async fn w39_every_clean_up_gets_its_turn() {
    let log = Log::default();
    let tidies = logging(&log, |log, ctx| async move {
        let (one, two) = (log.clone(), log.clone());
        ctx.on_cleanup(Box::pin(async move { one.add("boxed") }));
        ctx.on_cleanup(async { Err::<(), BoxError>("broken".into()) });
        ctx.on_cleanup(async move {
            // More than half of the budget of all.
            tokio::time::sleep(80.millis()).await;
            two.add("slow");
        });
        Ok(1_u32)
    });
    let tidy = pipeline(|p| {
        p.cleanup_budget(100.millis());
        p.stage("only", tidies).inputs(())
    });
    let report = tidy.run(()).await.unwrap().report();
    assert_eq!(log.lines(), ["slow", "boxed"]);
    assert_eq!(
        report.clean_up_failures().iter().map(|it| it.code).collect::<Vec<_>>(),
        [code::CLEANUP_FAILED]
    );
}

/// W42: names twice, empty names and a text in the place of a list are all clear.
#[tokio::test(start_paused = true)]
async fn w42_names_mean_what_they_say() {
    let mut p = Pipeline::builder::<()>("p");
    p.stage("a", gives(1_u32)).inputs(());
    p.stage("a", gives(2_u32)).inputs(());
    let out = p.stage("", gives(3_u32)).inputs(());
    let error = p.build(out).unwrap_err();
    assert!(error.has(code::DUPLICATE) && error.has(code::INVALID_NAME));
    // One name is one name, and not its letters.
    let one = pipeline(|p| {
        p.stage("xyz", gives(1_u32)).inputs(());
        let list =
            |_, inputs: StageInputs| async move { Ok(inputs.names().map(str::to_owned).collect::<Vec<_>>()) };
        p.stage("list", stage_fn(list)).inputs("xyz")
    });
    assert_eq!(one.run(()).await.unwrap().output(), &["xyz"]);
}

/// W43: all problems at once; nothing that was not checked can run; long chains need no stack.
#[tokio::test]
async fn w43_only_what_was_checked_can_run() {
    let mut p = Pipeline::builder::<()>("p");
    p.stage("a", gives(1_u32)).after_name("missing").inputs(());
    p.stage("b", gives(1_u32)).after_name("b").inputs(());
    p.stage("c", gives(1_u32)).after_name("d").inputs(());
    let out = p.stage("d", gives(1_u32)).after_name("c").inputs(());
    let error = p.build(out).unwrap_err();
    let codes: Vec<_> = error.problems().iter().map(stageflow::Problem::code).collect();
    assert_eq!(codes, [code::MISSING_DEP, code::SELF_DEP, code::CYCLE]);
    // In reverse: each stage refers to one that is declared later.
    let mut p = Pipeline::builder::<()>("reverse");
    let first = p.stage("s-0", reads("s-1")).inputs(names(["s-1"]));
    for i in 1..20_000_u32 {
        p.stage(format!("s-{i}"), reads(format!("s-{}", i + 1))).inputs(names([format!("s-{}", i + 1)]));
    }
    p.stage("s-20000", gives(0_u32)).inputs(());
    assert_eq!(*p.build(first).unwrap().run(()).await.unwrap().output(), 20_000);
}

fn reads(name: impl Into<String>) -> impl Stage<Input = StageInputs, Output = u32> {
    let name: Arc<str> = name.into().into();
    stage_fn(move |_, inputs: StageInputs| {
        let name = Arc::clone(&name);
        async move { Ok(*inputs.get_from::<u32>(&name)? + 1) }
    })
}

/// W48: the cost of a stage does not grow with the number of stages, neither to build nor to run.
///
/// No stopwatch: a quadratic engine would need some 10^10 steps here, which no test runner waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w48_cost_is_linear_in_stages_and_edges() {
    let count = 100_000;
    let wide = pipeline(|p| {
        let root = p.stage("root", gives(1_u32)).inputs(());
        let all = p.parallel("s", 0..count, |_| same()).inputs(root);
        p.stage("sum", sum()).inputs(all)
    });
    // sleeps: only if it is quadratic
    let done = tokio::time::timeout(Duration::from_secs(60), wide.run(()).into_future());
    assert_eq!(*done.await.expect("in time").unwrap().output(), 100_000);
    let run = solo(never()).start(());
    run.cancel("done");
    error_of(run).await;
}
