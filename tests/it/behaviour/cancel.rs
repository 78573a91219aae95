//! Cancellation: one path for every cause (§18.4; rules S-8, S-16).

use std::sync::Arc;

use stageflow::{CancelCause, RunOutcome, code, prelude::*};

use super::kit::{
    Log, Switch, error_of, exits, exits_after, gives, idle, logging, naps, never, pipeline, recorded, same,
    solo, statuses, sum,
};

fn requested(reason: &str) -> Option<CancelCause> {
    Some(CancelCause::Requested { reason: reason.into() })
}

/// KEEP 18.4-98: no stage executes, and the cause is the caller's.
#[tokio::test(start_paused = true)]
async fn a_run_cancelled_before_it_starts_runs_nothing() {
    let log = Log::default();
    let (engine, recorder) = recorded();
    let pipeline = pipeline(|p| {
        let a = p
            .stage(
                "a",
                logging(&log, |log, _| async move {
                    log.add("ran");
                    Ok(1_u32)
                }),
            )
            .inputs(());
        p.stage("b", same()).inputs(a)
    });
    let run = engine.start(&pipeline, ());
    run.cancel("never mind");
    let error = error_of(run).await;
    assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Cancelled), code::CANCELLED));
    let report = error.report().unwrap();
    assert_eq!(report.cancelled(), requested("never mind"));
    assert_eq!(statuses(&report), ["a: cancelled: never mind", "b: cancelled: never mind"]);
    assert!(log.lines().is_empty());
    let expected = ["pipeline.started", "stage.cancelled a", "stage.cancelled b", "pipeline.cancelled"];
    assert_eq!(recorder.lines(), expected);
}

/// KEEP 18.4-99, 100, 101: a cancel takes effect at once, also in the last stage.
#[tokio::test(start_paused = true)]
async fn a_cancel_takes_effect_at_once() {
    let chain = pipeline(|p| {
        let a = p.stage("a", naps(400.millis(), 1)).inputs(());
        p.stage("b", same()).inputs(a)
    });
    for pipeline in [chain, solo(naps(400.millis(), 1))] {
        let run = pipeline.start(());
        tokio::time::sleep(10.millis()).await;
        run.cancel("shutting down");
        let error = error_of(run).await;
        let report = error.report().unwrap();
        assert_eq!((report.duration(), report.cancelled()), (10.millis(), requested("shutting down")));
        assert!(error.to_string().ends_with("was cancelled: shutting down"), "{error}");
    }
}

/// KEEP 18.4-102, 104: a stage with a grace sees the signal and the reason, and `checkpoint` leaves with it.
#[tokio::test(start_paused = true)]
async fn a_stage_sees_the_signal_and_the_reason() {
    let log = Log::default();
    let watch = logging(&log, |log, ctx| async move {
        log.add(format!("{} {:?}", ctx.is_cancelled(), ctx.cancel_reason()));
        ctx.checkpoint()?;
        ctx.cancelled().await;
        log.add(format!("{} {:?}", ctx.is_cancelled(), ctx.cancel_reason()));
        ctx.checkpoint()?;
        Ok(1_u32)
    });
    let failing = pipeline(|p| {
        let watch = p.stage("watch", watch).grace(1.secs()).inputs(());
        let fails = p.stage("fails", exits_after(5.millis(), || StageExit::fail("boom"))).inputs(());
        p.stage("sum", sum()).inputs([watch, fails])
    });
    let report = error_of(failing.run(())).await.report().unwrap();
    assert_eq!(log.lines(), ["false None", "true Some(\"`fails` failed\")"]);
    assert_eq!(statuses(&report)[0], "watch: cancelled: `fails` failed");
    assert_eq!((report.outcome(), report.duration()), (RunOutcome::Failed, 5.millis()));
}

/// KEEP 18.4-103: a cancellation by a stage is no failure.
#[tokio::test(start_paused = true)]
async fn leaving_with_cancel_is_no_failure() {
    let error = error_of(solo(exits(|| StageExit::cancel("user hung up"))).run(())).await;
    assert_eq!((error.outcome(), error.failure().is_none()), (Some(RunOutcome::Cancelled), true));
}

/// KEEP 18.4-105, 118.
#[tokio::test(start_paused = true)]
async fn the_first_reason_is_kept() {
    let run = solo(never()).start(());
    idle().await;
    run.cancel("first");
    run.cancel("second");
    let report = error_of(run).await.report().unwrap();
    assert_eq!(report.cancelled(), requested("first"));
}

/// KEEP 18.4-119: waiting for the signal works before and after it, and any number of times.
#[tokio::test(start_paused = true)]
async fn the_signal_can_be_awaited_before_and_after() {
    let log = Log::default();
    let waits = logging(&log, |log, ctx| async move {
        tokio::join!(ctx.cancelled(), ctx.cancelled());
        ctx.cancelled().await;
        log.add("told");
        Ok(1_u32)
    });
    let run = pipeline(|p| p.stage("only", waits).grace(1.secs()).inputs(())).start(());
    idle().await;
    run.cancel("x");
    // It ended by itself within its grace, but the run was cancelled all the same.
    let report = error_of(run).await.report().unwrap();
    assert_eq!(
        (log.lines(), statuses(&report)),
        (vec!["told".to_owned()], vec!["only: completed".to_owned()])
    );
    assert_eq!(report.outcome(), RunOutcome::Cancelled);
}

/// KEEP 18.4-126, W33: who ignores the cancellation is dropped when the grace is over; without one, at once.
#[tokio::test(start_paused = true)]
async fn who_ignores_a_cancellation_is_dropped_after_the_grace() {
    for (grace, ends_after) in [(None, 0), (Some(300.millis()), 300)] {
        let log = Log::default();
        let gone = log.clone();
        let deaf = stage_fn(move |_, (): ()| {
            let gone = gone.on_drop("dropped");
            async move {
                let _gone = gone;
                loop {
                    tokio::time::sleep(7.millis()).await;
                }
                #[expect(unreachable_code, reason = "gives the type")]
                Ok(1_u32)
            }
        });
        let one = pipeline(|p| match grace {
            Some(grace) => p.stage("deaf", deaf).grace(grace).inputs(()),
            None => p.stage("deaf", deaf).inputs(()),
        });
        let run = one.start(());
        tokio::time::sleep(10.millis()).await;
        run.cancel("enough");
        let report = error_of(run).await.report().unwrap();
        assert_eq!(report.duration(), 10.millis() + ends_after.millis());
        assert_eq!(log.lines(), ["dropped"]);
    }
}

/// S-16: each stage has its own grace.
#[tokio::test(start_paused = true)]
async fn each_stage_has_its_own_grace() {
    let log = Log::default();
    let lasting = |name: &'static str| {
        let log = log.clone();
        stage_fn(move |ctx: StageContext, (): ()| {
            let gone = log.on_drop(name);
            async move {
                let _gone = gone;
                ctx.cancelled().await;
                std::future::pending::<StageResult<u32>>().await
            }
        })
    };
    let three = pipeline(|p| {
        let a = p.stage("a", lasting("a")).grace(200.millis()).inputs(());
        let b = p.stage("b", lasting("b")).grace(100.millis()).inputs(());
        let c = p.stage("c", lasting("c")).inputs(());
        p.stage("sum", sum()).inputs([a, b, c])
    });
    let run = three.start(());
    idle().await;
    run.cancel("x");
    let report = error_of(run).await.report().unwrap();
    assert_eq!(log.lines(), ["c", "b", "a"]);
    assert_eq!(report.duration(), 201.millis());
    let ran: Vec<_> = report.stages().filter_map(|stage| stage.ran).collect();
    assert_eq!(ran, [201.millis(), 101.millis(), 1.millis()]);
}

/// S-16, S-10: a stage that does not yield cannot be stopped; the run waits for it, and starts nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_does_not_yield_is_waited_for() {
    let (switch, log) = (Switch::default(), Log::default());
    let spinning = {
        let (switch, log) = (switch.clone(), log.clone());
        stage_fn(move |_, (): ()| {
            let (switch, log) = (switch.clone(), log.clone());
            async move {
                switch.spin();
                log.add("yields");
                Ok(1_u32)
            }
        })
    };
    let after = log.clone();
    let chain = pipeline(|p| {
        let a = p.stage("spinning", spinning).inputs(());
        p.stage(
            "after",
            stage_fn(move |ctx: StageContext, n: Arc<u32>| {
                after.add("started");
                ctx.on_cleanup(async {});
                std::future::ready(Ok(*n))
            }),
        )
        .inputs(a)
    });
    let run = chain.start(());
    switch.reached().await;
    run.cancel("stop");
    assert!(!run.is_ended());
    switch.open();
    let report = error_of(run).await.report().unwrap();
    assert_eq!(log.lines(), ["yields"]);
    assert_eq!(statuses(&report), ["spinning: completed", "after: cancelled: stop"]);
}

/// Cancelling a run that has ended changes nothing.
#[tokio::test(start_paused = true)]
async fn cancelling_what_has_ended_has_no_effect() {
    let run = solo(gives(1_u32)).start(());
    idle().await;
    assert!(run.is_ended());
    run.cancel("too late");
    assert_eq!(run.await.unwrap().outcome(), RunOutcome::Completed);
}

/// S-2: cancelling one run of a pipeline leaves the others alone.
#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_one_run_only() {
    let nap = solo(naps(10.millis(), 1));
    let (one, other) = (nap.start(()), nap.start(()));
    idle().await;
    one.cancel("x");
    assert_eq!(error_of(one).await.outcome(), Some(RunOutcome::Cancelled));
    assert_eq!(*other.await.unwrap().output(), 1);
}
