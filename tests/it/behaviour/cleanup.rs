//! Clean-ups: on every ending, once, in reverse order, after every stage has stopped (§18.4; rules S-16, S-17).

use std::sync::Arc;

use stageflow::{BoxError, FailurePolicy, RunOutcome, code, prelude::*};

use super::kit::{
    Log, error_of, exits_after, idle, logging, naps, never, pipeline, recorded, report_of, solo, statuses,
    sum, within,
};

/// A stage that registers three clean-ups and then does as `then` says.
fn tidy(log: &Log, then: fn() -> StageResult<u32>) -> impl Stage<Input = (), Output = u32> + use<> {
    let log = log.clone();
    stage_fn(move |ctx: StageContext, (): ()| {
        for name in ["first", "second", "third"] {
            let log = log.clone();
            ctx.on_cleanup(async move {
                tokio::task::yield_now().await;
                log.add(name);
            });
        }
        std::future::ready(then())
    })
}

/// KEEP 18.4-107, 112, 123, S-17: on success, failure, skip and cancellation alike, last in first out.
#[tokio::test(start_paused = true)]
async fn clean_ups_run_on_every_ending_in_reverse_order() {
    type Ending = (fn() -> StageResult<u32>, RunOutcome);
    let endings: [Ending; 5] = [
        (|| Ok(1), RunOutcome::Completed),
        (|| Err(StageExit::fail("boom")), RunOutcome::Failed),
        (|| Err(StageExit::skip("no")), RunOutcome::Completed),
        (|| Err(StageExit::cancel("no")), RunOutcome::Cancelled),
        (|| panic!("oh"), RunOutcome::Failed),
    ];
    for (then, outcome) in endings {
        let log = Log::default();
        let report = report_of(solo(tidy(&log, then)).run(())).await;
        // They have run before the caller hears of the end.
        assert_eq!(log.lines(), ["third", "second", "first"], "{outcome}");
        assert_eq!((report.outcome(), report.clean_up_failures().len()), (outcome, 0));
    }
}

/// KEEP 18.4-108, 125, S-17: the others still run; failures are listed and replace no outcome.
#[tokio::test(start_paused = true)]
async fn a_clean_up_that_fails_stops_no_other_and_changes_no_outcome() {
    let log = Log::default();
    let failing = logging(&log, |log, ctx| async move {
        let other = log.clone();
        ctx.on_cleanup(async move { log.add("first") });
        ctx.on_cleanup(async { Err::<(), BoxError>("the file is gone".into()) });
        ctx.on_cleanup(async { assert_eq!(1, 2, "oh") });
        ctx.on_cleanup(async move { other.add("last") });
        Ok(1_u32)
    });
    let (engine, recorder) = recorded();
    let done = engine.run(&solo(failing), ()).await.unwrap();
    assert_eq!((log.lines(), done.outcome()), (vec!["last".into(), "first".into()], RunOutcome::Completed));
    let failures = done.report().clean_up_failures();
    let failures: Vec<_> =
        failures.iter().map(|it| (it.stage.as_str(), it.code, it.error.as_str())).collect();
    let expected =
        [("only", code::CLEANUP_FAILED, "panicked"), ("only", code::CLEANUP_FAILED, "the file is gone")];
    assert_eq!(failures, expected);
    assert_eq!(recorder.lines().iter().filter(|line| *line == "pipeline.cleanup_failed only").count(), 2);
}

/// KEEP 18.4-109, 115, 124, W39: one budget for all; what it does not allow is dropped and listed.
#[tokio::test(start_paused = true)]
async fn clean_ups_have_one_budget() {
    let log = Log::default();
    let slow = logging(&log, |log, ctx| async move {
        ctx.on_cleanup({
            let log = log.clone();
            async move { log.add("never reached") }
        });
        ctx.on_cleanup({
            let gone = log.on_drop("slow dropped");
            async move {
                let _gone = gone;
                std::future::pending::<()>().await;
            }
        });
        ctx.on_cleanup(async move {
            tokio::time::sleep(60.millis()).await;
            log.add("in time");
        });
        Ok(1_u32)
    });
    let limited = pipeline(|p| {
        p.cleanup_budget(100.millis());
        p.stage("only", slow).inputs(())
    });
    let done = within(limited.run(())).await.unwrap();
    assert_eq!(log.lines(), ["in time", "slow dropped"]);
    assert_eq!((done.outcome(), done.report().duration()), (RunOutcome::Completed, 100.millis()));
    let failures = done.report().clean_up_failures();
    assert_eq!(failures.iter().map(|it| it.code).collect::<Vec<_>>(), [code::CLEANUP_TIMEOUT; 2]);
    assert!(failures[0].error.contains("100ms"), "{}", failures[0].error);
}

/// KEEP 18.4-106, 113, 114, W1, W2: clean-up begins when every stage of the run has stopped, whatever ended it.
#[tokio::test(start_paused = true)]
async fn clean_up_waits_until_every_stage_has_stopped() {
    let build = |log: &Log, exit: Option<fn() -> StageExit>| {
        let opens = logging(log, |log, ctx| async move {
            ctx.on_cleanup(async move { log.add("closed") });
            Ok(1_u32)
        });
        let log = log.clone();
        let uses = stage_fn(move |ctx: StageContext, _: Arc<u32>| {
            let gone = log.on_drop("user stopped");
            async move {
                let _gone = gone;
                ctx.cancelled().await;
                tokio::time::sleep(20.millis()).await;
                Ok(1_u32)
            }
        });
        pipeline(move |p| {
            let opened = p.stage("opens", opens).inputs(());
            let used = p.stage("uses", uses).grace(1.secs()).inputs(opened);
            let fails = match exit {
                Some(exit) => p.stage("ends", exits_after(5.millis(), exit)).inputs(()),
                None => p.stage("ends", never()).inputs(()),
            };
            p.stage("sum", sum()).inputs([used, fails])
        })
    };
    let ends: [fn() -> StageExit; 3] =
        [|| StageExit::fail("boom"), || StageExit::cancel("enough"), || StageExit::deny("no")];
    for end in ends {
        let log = Log::default();
        let report = error_of(build(&log, Some(end)).run(())).await.report().unwrap();
        assert_eq!(log.lines(), ["user stopped", "closed"]);
        assert_eq!(report.duration(), 25.millis());
    }
    // The deadline, the handle and the drop take the same path.
    let log = Log::default();
    error_of(build(&log, None).run(()).deadline(5.millis())).await;
    assert_eq!(log.lines(), ["user stopped", "closed"]);
    let log = Log::default();
    let run = build(&log, None).start(());
    idle().await;
    drop(run);
    tokio::time::sleep(30.millis()).await;
    assert_eq!(log.lines(), ["user stopped", "closed"]);
}

/// KEEP 18.4-117, S-2, W5.
#[tokio::test(start_paused = true)]
async fn clean_ups_of_two_runs_are_apart() {
    let mut p = Pipeline::builder("both");
    let who = p.input();
    let log = Log::default();
    let spy = log.clone();
    let body = move |ctx: StageContext, who: Arc<&'static str>| {
        let log = spy.clone();
        async move {
            ctx.on_cleanup(async move { log.add(*who) });
            tokio::time::sleep(10.millis()).await;
            Ok(1_u32)
        }
    };
    let out = p.stage("s", stage_fn(body)).inputs(who);
    let both: Pipeline<&'static str, u32> = p.build(out).unwrap();
    let (one, other) = (both.start("one"), both.start("other"));
    idle().await;
    one.cancel("x");
    error_of(one).await;
    assert_eq!(log.lines(), ["one"]);
    other.await.unwrap();
    assert_eq!(log.lines(), ["one", "other"]);
}

/// S-17: a clean-up may register another, and may wait and emit.
#[tokio::test(start_paused = true)]
async fn a_clean_up_may_register_another() {
    let log = Log::default();
    let nested = logging(&log, |log, ctx| async move {
        let inner = ctx.clone();
        ctx.on_cleanup(async move {
            let second = log.clone();
            inner.emit("cleaning", [("n", 1)]);
            inner.on_cleanup(async move {
                tokio::time::sleep(5.millis()).await;
                second.add("inner");
            });
            log.add("outer");
        });
        Ok(1_u32)
    });
    let (engine, recorder) = recorded();
    let done = engine.run(&solo(nested), ()).await.unwrap();
    assert_eq!((log.lines(), done.report().duration()), (vec!["outer".into(), "inner".into()], 5.millis()));
    assert_eq!(recorder.lines()[3..], ["cleaning only", "pipeline.completed"]);
}

/// W5: a context that outlives its run still keeps its word: what it registers is awaited.
#[tokio::test(start_paused = true)]
async fn a_clean_up_registered_after_the_end_is_awaited_at_once() {
    let kept = solo(stage_fn(|ctx: StageContext, (): ()| async move { Ok(ctx) }));
    let done = kept.run(()).await.unwrap();
    let log = Log::default();
    let late = log.clone();
    done.output().on_cleanup(async move {
        tokio::task::yield_now().await;
        late.add("late");
    });
    idle().await;
    assert_eq!(log.lines(), ["late"]);
}

/// S-16, S-17: clean-ups of several stages share one stack, in the order of registration.
#[tokio::test(start_paused = true)]
async fn clean_ups_of_all_stages_share_one_stack() {
    let log = Log::default();
    let named = |after: u64| {
        let log = log.clone();
        stage_fn(move |ctx: StageContext, (): ()| {
            let log = log.clone();
            async move {
                tokio::time::sleep(after.millis()).await;
                ctx.on_cleanup(async move { log.add(format!("{after}")) });
                Ok(1_u32)
            }
        })
    };
    let three = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let all = [30, 10, 20].map(|after| p.stage(format!("s{after}"), named(after)).inputs(()));
        let late = p.stage("late", naps(50.millis(), 1)).inputs(());
        p.stage("sum", sum()).inputs([all[0], all[1], all[2], late])
    });
    let report = report_of(three.run(())).await;
    assert_eq!(log.lines(), ["30", "20", "10"]);
    assert_eq!(statuses(&report).len(), 5);
}
