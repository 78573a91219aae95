//! Stopping runs that have children: downwards at once, clean-ups upwards (§18.4, §18.11; rules S-16, S-19).

use std::sync::Arc;

use stageflow::{Call, CancelCause, Interceptor, Next, RunOutcome, Value, WaitReason, prelude::*};

use super::{
    child::parent_of,
    kit::{Log, error_of, exits_after, idle, logging, never, pipeline, recorded, solo, statuses, within},
};

/// KEEP 18.11-250, S-19, W25: the child is told at once, with the reason.
#[tokio::test(start_paused = true)]
async fn cancelling_the_parent_cancels_the_child_at_once() {
    let log = Log::default();
    let watch = logging(&log, |log, ctx| async move {
        ctx.cancelled().await;
        log.add(format!("{:?} at {:?}", ctx.cancel_reason().unwrap(), ctx.elapsed()));
        Ok(1_u32)
    });
    let child = pipeline(|p| p.stage("watch", watch).grace(1.secs()).inputs(()));
    let (engine, recorder) = recorded();
    let run = engine.start(&parent_of(child), ());
    tokio::time::sleep(10.millis()).await;
    run.cancel("shutting down");
    let error = error_of(run).await;
    assert_eq!(log.lines(), ["\"the parent run was cancelled: shutting down\" at 10ms"]);
    assert_eq!(statuses(&error.report().unwrap()), ["kid: cancelled: shutting down"]);
    let ends: Vec<_> = recorder.lines().into_iter().filter(|line| line.starts_with("pipeline.c")).collect();
    assert_eq!(ends, ["pipeline.child_started kid", "pipeline.cancelled", "pipeline.cancelled"]);
}

/// A child that tidies up for a while, in a parent that does so too.
fn tidy_family(log: &Log, child_ends: fn() -> StageResult<u32>) -> Pipeline<(), u32> {
    let child = {
        let log = log.clone();
        solo(stage_fn(move |ctx: StageContext, (): ()| {
            let log = log.clone();
            async move {
                ctx.on_cleanup(async move {
                    tokio::time::sleep(5.millis()).await;
                    log.add("child");
                });
                tokio::time::sleep(10.millis()).await;
                child_ends()
            }
        }))
    };
    let opens = logging(log, |log, ctx| async move {
        ctx.on_cleanup(async move { log.add("parent") });
        Ok(())
    });
    let mut p = Pipeline::builder("parent");
    let opened = p.stage("opens", opens).inputs(());
    let kid = p.stage("kid", child).inputs(opened);
    p.build(kid).expect("the family is right")
}

/// S-16, S-19: the clean-ups of the child have ended before those of the parent start, however it ends.
#[tokio::test(start_paused = true)]
async fn clean_ups_of_a_child_end_before_those_of_the_parent_start() {
    let ends: [fn() -> StageResult<u32>; 4] =
        [|| Ok(1), || Err(StageExit::fail("x")), || Err(StageExit::cancel("x")), || panic!("x")];
    for end in ends {
        let log = Log::default();
        let _either = tidy_family(&log, end).run(()).await;
        assert_eq!(log.lines(), ["child", "parent"]);
    }
    let log = Log::default();
    let run = tidy_family(&log, || Ok(1)).start(());
    idle().await;
    run.cancel("x");
    error_of(run).await;
    assert_eq!(log.lines(), ["child", "parent"]);
    let log = Log::default();
    drop(tidy_family(&log, || Ok(1)).start(()));
    tokio::time::sleep(1.secs()).await;
    assert!(log.lines().is_empty(), "nothing was opened");
    let log = Log::default();
    let run = tidy_family(&log, || Ok(1)).start(());
    idle().await;
    drop(run);
    tokio::time::sleep(1.secs()).await;
    assert_eq!(log.lines(), ["child", "parent"]);
}

/// A stage timeout drops the child, and its clean-up is waited for all the same.
#[tokio::test(start_paused = true)]
async fn a_timeout_around_a_child_stops_it_and_waits_for_its_clean_up() {
    let log = Log::default();
    let child = solo(logging(&log, |log, ctx| async move {
        ctx.on_cleanup(async move {
            tokio::time::sleep(5.millis()).await;
            log.add("child");
        });
        std::future::pending::<StageResult<u32>>().await
    }));
    let mut p = Pipeline::builder("parent");
    let input = p.input();
    let kid = p.stage("kid", child).timeout(10.millis()).inputs(input);
    let parent = p.build(kid).unwrap();
    let error = within(error_of(parent.run(()))).await;
    assert_eq!((log.lines(), error.report().unwrap().duration()), (vec!["child".to_owned()], 15.millis()));
}

/// KEEP 18.11-249: the whole tree is told, and tidies up from the leaves to the root.
#[tokio::test(start_paused = true)]
async fn a_tree_of_runs_is_cancelled_as_one() {
    let log = Log::default();
    let level = |name: &'static str| {
        let log = log.clone();
        move |ctx: StageContext, (): ()| {
            let log = log.clone();
            async move {
                ctx.on_cleanup(async move { log.add(name) });
                std::future::pending::<StageResult<u32>>().await
            }
        }
    };
    let tree = |name: &'static str, inner: Option<Pipeline<(), u32>>| {
        let mut p = Pipeline::builder(name);
        let input = p.input();
        let own = p.stage("own", stage_fn(level(name))).inputs(());
        let out = match inner {
            Some(inner) => {
                let inner = p.stage("inner", inner).inputs(input);
                p.stage("sum", super::kit::sum()).inputs([own, inner])
            }
            None => own,
        };
        p.build(out).unwrap()
    };
    let root = tree("root", Some(tree("child", Some(tree("grandchild", None)))));
    let run = root.start(());
    idle().await;
    run.cancel("x");
    let error = error_of(run).await;
    assert_eq!(log.lines(), ["grandchild", "child", "root"]);
    assert_eq!(error.report().unwrap().duration(), 1.millis());
}

/// KEEP 18.11-246: a child that has ended is not told any more.
#[tokio::test(start_paused = true)]
async fn a_child_that_has_ended_is_left_alone() {
    let engine = Engine::builder().build().unwrap();
    let mut p = Pipeline::builder("parent");
    let input = p.input();
    let kid = p.stage("kid", solo(super::kit::gives(1_u32))).inputs(input);
    let out =
        p.stage("wait", stage_fn(|_, _: Arc<u32>| std::future::pending::<StageResult<u32>>())).inputs(kid);
    let run = engine.start(&p.build(out).unwrap(), ());
    idle().await;
    run.cancel("x");
    let report = error_of(run).await.report().unwrap();
    assert_eq!(statuses(&report), ["kid: completed", "wait: cancelled: x"]);
    assert_eq!(engine.drain(1.secs()).await, 0);
}

struct Wait;

impl Interceptor for Wait {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        tokio::time::sleep(1_000.secs()).await;
        next.run().await
    }
}

/// S-16: an interceptor that waits around a child does not hold the cancellation up.
#[tokio::test(start_paused = true)]
async fn an_interceptor_around_a_child_is_dropped_at_once() {
    let mut p = Pipeline::builder("parent");
    let input = p.input();
    let kid = p.stage("kid", solo(never())).intercept(Wait).inputs(input);
    let run = p.build(kid).unwrap().start(());
    idle().await;
    assert_eq!(run.explain().unwrap().reason("kid"), Some(&WaitReason::Itself));
    run.cancel("x");
    let report = error_of(run).await.report().unwrap();
    assert_eq!((report.duration(), report.cancelled().is_some()), (1.millis(), true));
}

/// S-16, S-19: a failure next to a child cancels the child.
#[tokio::test(start_paused = true)]
async fn a_failure_in_the_parent_cancels_the_child() {
    let log = Log::default();
    let child = solo(logging(&log, |log, ctx| async move {
        let told = ctx.clone();
        ctx.on_cleanup(async move { log.add(told.cancel_reason().unwrap_or_default()) });
        std::future::pending::<StageResult<u32>>().await
    }));
    let mut p = Pipeline::builder("parent");
    let input = p.input();
    let kid = p.stage("kid", child).inputs(input);
    let bad = p.stage("bad", exits_after(3.millis(), || StageExit::fail("boom"))).inputs(());
    let out = p.stage("sum", super::kit::sum()).inputs([kid, bad]);
    let error = within(error_of(p.build(out).unwrap().run(()))).await;
    assert_eq!(error.outcome(), Some(RunOutcome::Failed));
    assert_eq!(log.lines(), ["the parent run was cancelled: `bad` failed"]);
    let cause = CancelCause::Failure { stage: "bad".into() };
    assert_eq!(
        error.report().unwrap().stage("kid").unwrap().outcome,
        stageflow::StageOutcome::Cancelled(cause)
    );
}
