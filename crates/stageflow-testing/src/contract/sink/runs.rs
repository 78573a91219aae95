//! Runs that emit events of every kind.

use std::sync::Arc;

use stageflow_core::{
    Event, EventKind, FailurePolicy, Recorder, StageContext, StageResult,
    event::{EventRecord, NO_STAGE},
    stage_fn,
};
use stageflow_dag::{BuildError, Pipeline};
use stageflow_exec::Engine;

use crate::{fails, hangs, ok, skips};

/// How many runs of each kind there are.
const OF_EACH: u32 = 3;

/// The events of several runs, each in order: a completed one, whose numbers have a gap, comes first.
pub(super) async fn events() -> Result<Vec<Vec<Event>>, BuildError> {
    let recorder = Recorder::new();
    // A recorder needs nothing that could be missing: an engine with one can always be built.
    if let Ok(engine) = Engine::builder().sink(recorder.clone()).build() {
        on(&engine).await?;
    }
    let mut runs: Vec<Vec<Event>> = Vec::new();
    for event in recorder.events() {
        match runs.iter_mut().find(|run| run.first().is_some_and(|first| first.run_id() == event.run_id())) {
            Some(run) => run.push(event),
            None => runs.push(vec![event]),
        }
    }
    if let Some(first) = runs.first_mut() {
        with_gap(first);
    }
    Ok(runs)
}

/// Puts a gap in the place of the second and third event.
fn with_gap(run: &mut Vec<Event>) {
    let Some(event) = run.get(2) else { return };
    let kind = EventKind::Gap { dropped: 2, losses: Arc::default() };
    let record = EventRecord { seq: event.seq(), nanos: 0, stage: NO_STAGE, attempt: 0, kind };
    let gap = Event::new(Arc::clone(event.run()), record);
    run.splice(1..3, [gap]);
}

/// Runs pipelines of every ending at the same time.
pub(super) async fn on(engine: &Engine) -> Result<(), BuildError> {
    let pipelines = [completes()?, fails_in_part()?, ends(fails(1))?, ends(skips("nothing to do"))?];
    let waiting = ends(hangs())?;
    let mut runs = Vec::new();
    for n in 0..OF_EACH {
        runs.extend(pipelines.iter().map(|pipeline| engine.run(pipeline, n).tenant("acme").start()));
        let run = engine.start(&waiting, n);
        // One that never begins, and one that is cancelled on its way.
        if n > 0 {
            tokio::task::yield_now().await;
        }
        run.cancel("checking the contract");
        runs.push(run);
    }
    for run in runs {
        // How they end is not the question.
        let _ended = run.await;
    }
    Ok(())
}

async fn talk(ctx: StageContext, n: Arc<u32>) -> StageResult<u32> {
    ctx.emit("contract.said", [("n", *n)]);
    ctx.on_cleanup(async { Err::<(), stageflow_core::BoxError>("a scripted failure of a clean-up".into()) });
    tokio::task::yield_now().await;
    Ok(*n)
}

/// Completes, with a child run, events of its own, and a clean-up that fails.
fn completes() -> Result<Pipeline<u32, u32>, BuildError> {
    let mut inner = Pipeline::builder("child");
    let n = inner.input();
    let out = inner.stage("talk", stage_fn(talk)).inputs(n);
    let inner: Pipeline<u32, u32> = inner.build(out)?;
    let mut p = Pipeline::builder("completes");
    let n = p.input();
    let out = p.stage("child", inner).inputs(n);
    let out = p.stage("talk", stage_fn(talk)).inputs(out);
    p.build(out)
}

/// Goes on after a failure, which blocks a stage.
fn fails_in_part() -> Result<Pipeline<u32, u32>, BuildError> {
    let mut p = Pipeline::builder("fails in part");
    p.on_failure(FailurePolicy::Continue);
    let n = p.input();
    let failing = p.stage("failing", fails::<Arc<u32>, u32>(1)).inputs(n);
    let blocked = p.stage("blocked", ok(1).takes::<Arc<u32>>()).inputs(failing);
    let out = p.stage("output", ok::<(Arc<u32>, Option<Arc<u32>>), _>(2)).inputs((n, blocked.optional()));
    p.build(out)
}

fn ends(script: crate::Script<Arc<u32>, u32>) -> Result<Pipeline<u32, u32>, BuildError> {
    let mut p = Pipeline::builder("ends");
    let n = p.input();
    let out = p.stage("stage", script).inputs(n);
    p.build(out)
}
