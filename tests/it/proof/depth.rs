//! S-1, S-4: pipelines of any length are built, run, skipped, blocked, cancelled and dropped without deep recursion.
//!
//! Everything here happens on a stack of 512 KiB, the workers of the runtime included: a frame per stage would need far more.

use std::{sync::Arc, thread, time::Duration};

use stageflow::{
    FailurePolicy, Keep, Pipeline, PipelineExt as _, Port, RunOutcome, RunReport, StageContext, StageExit,
    StageOutcome, StageResult, stage_fn,
};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

const STACK: usize = 512 * 1024;

/// The length of the chain that is built and run.
const MILLION: u32 = 1_000_000;

/// The length of cascades of stages that do not run.
const CASCADE: u32 = 100_000;

async fn next(_: StageContext, n: Arc<u32>) -> StageResult<u32> {
    Ok(*n + 1)
}

async fn fail(_: StageContext, _: Arc<u32>) -> StageResult<u32> {
    Err(StageExit::fail(super::ON_PURPOSE))
}

/// How a chain goes on after its first stage.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    Runs,
    IsNotTaken,
    Fails,
}

fn chain(length: u32, head: Head, keep: Keep) -> Pipeline<u32, u32> {
    let mut p = Pipeline::builder("chain");
    p.on_failure(FailurePolicy::Continue).keep(keep);
    let input = p.input();
    let mut last: Port<u32> = match head {
        Head::Runs => p.stage("head", stage_fn(next)).inputs(input),
        Head::IsNotTaken => p.stage("head", stage_fn(next)).when(input, |_| false).inputs(input),
        Head::Fails => p.stage("head", stage_fn(fail)).inputs(input),
    };
    for link in 1..length {
        last = p.stage(format!("link-{link}"), stage_fn(next)).inputs(last);
    }
    p.build(last).expect("a pipeline")
}

/// Runs `test` on a small stack, with a runtime whose workers have small stacks too.
fn on_a_small_stack(threads: bool, test: impl FnOnce(&Runtime) + Send + 'static) {
    let test = move || {
        let mut runtime = if threads { Builder::new_multi_thread() } else { Builder::new_current_thread() };
        let runtime =
            runtime.worker_threads(2).thread_stack_size(STACK).enable_time().build().expect("a runtime");
        test(&runtime);
    };
    thread::Builder::new()
        .stack_size(STACK)
        .spawn(test)
        .expect("a thread")
        .join()
        .expect("no panic and no overflow");
}

#[test]
fn s_1_a_chain_of_a_million_stages_is_built_and_runs() {
    on_a_small_stack(false, |runtime| {
        let pipeline = chain(MILLION, Head::Runs, Keep::Output);
        assert_eq!(pipeline.len(), MILLION as usize);
        let run = runtime.block_on(async { pipeline.run(0).await }).expect("it completes");
        assert_eq!(*run.output(), MILLION);
        drop(pipeline);
        drop(run);
    });
}

#[test]
fn s_1_a_long_chain_runs_on_two_threads_and_keeps_everything() {
    on_a_small_stack(true, |runtime| {
        let pipeline = chain(CASCADE, Head::Runs, Keep::All);
        let run = runtime.block_on(async { pipeline.start(0).await }).expect("it completes");
        assert_eq!(*run.output(), CASCADE);
        assert_eq!(run.report().output_of::<u32>("link-50000").as_deref(), Some(&50_001));
        drop(pipeline);
        drop(run);
    });
}

/// The report of a run without output.
fn report(runtime: &Runtime, pipeline: &Pipeline<u32, u32>) -> RunReport {
    let run = runtime.block_on(async { pipeline.run(0).await });
    run.expect_err("it has no output").report().expect("it ran")
}

#[test]
fn s_6_a_long_cascade_of_skips() {
    on_a_small_stack(false, |runtime| {
        let pipeline = chain(CASCADE, Head::IsNotTaken, Keep::All);
        let report = report(runtime, &pipeline);
        assert_eq!(report.outcome(), RunOutcome::Completed);
        let skipped =
            report.stages().filter(|stage| matches!(stage.outcome, StageOutcome::Skipped(_))).count();
        assert_eq!(skipped, CASCADE as usize);
    });
}

#[test]
fn s_6_a_long_cascade_of_blocked_stages() {
    on_a_small_stack(true, |runtime| {
        let pipeline = chain(CASCADE, Head::Fails, Keep::All);
        let report = report(runtime, &pipeline);
        assert_eq!(report.outcome(), RunOutcome::Failed);
        let root = |by: &str| by == "head";
        let blocked = |outcome: &StageOutcome| matches!(outcome, StageOutcome::Blocked { by } if root(by));
        assert_eq!(report.stages().filter(|stage| blocked(&stage.outcome)).count(), CASCADE as usize - 1);
    });
}

/// A chain of conditions: each stage is decided by the one before, and none runs.
#[test]
fn s_6_a_long_cascade_of_conditions() {
    on_a_small_stack(false, |runtime| {
        let mut p = Pipeline::builder("conditions");
        p.on_failure(FailurePolicy::Continue);
        let input = p.input();
        let mut last: Port<u32> = p.stage("head", stage_fn(next)).inputs(input);
        for link in 1..CASCADE {
            // Only the first of these is asked: the others have no value to ask about.
            last = p.stage(format!("link-{link}"), stage_fn(next)).when(last, |_| false).inputs(input);
        }
        let pipeline = p.build(last).expect("a pipeline");
        let report = report(runtime, &pipeline);
        let completed = report.stages().filter(|stage| stage.outcome.is_completed()).count();
        assert_eq!(completed, 1, "the head alone runs");
    });
}

#[test]
fn s_18_a_long_chain_is_dropped_on_its_way() {
    on_a_small_stack(true, |runtime| {
        let pipeline = chain(CASCADE, Head::Runs, Keep::All);
        runtime.block_on(async {
            // A run that is never polled, one that is dropped at its first pause, and one that nobody waits for.
            drop(pipeline.run(0).into_future());
            let _given_up = timeout(Duration::ZERO, pipeline.run(0).into_future()).await;
            drop(pipeline.start(0));
        });
    });
}
