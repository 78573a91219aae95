//! The bulkhead around the stages of a run, in paused time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use stageflow_core::{
    Code, DurationExt, FailurePolicy, Recorder, RunOutcome, StageContext, StageOutcome, StageResult,
    WaitReason, code, stage_fn,
};
use stageflow_dag::Pipeline;
use stageflow_exec::Engine;
use tokio::time::Instant;

use crate::{Bulkhead, BulkheadBuilder, WhenFull};

/// How many stages are inside, and the most that ever were.
#[derive(Clone, Default)]
struct Inside(Arc<(AtomicUsize, AtomicUsize)>);

impl Inside {
    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

/// A pipeline of so many independent stages of a second each.
fn calls(count: usize, inside: &Inside, limit: Option<&Bulkhead>) -> Pipeline<(), Vec<Arc<u32>>> {
    let mut p = Pipeline::builder("calls");
    p.on_failure(FailurePolicy::Continue);
    let inside = inside.clone();
    let call = move |_: StageContext, (): ()| {
        let inside = inside.clone();
        async move {
            let (now, most) = &*inside.0;
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(1.secs()).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(1_u32)
        }
    };
    let ports: Vec<_> = (0..count)
        .map(|number| {
            let stage = p.stage(format!("call-{number}"), stage_fn(call.clone()));
            match limit {
                Some(limit) => stage.intercept(limit.clone()).inputs(()),
                None => stage.inputs(()),
            }
        })
        .collect();
    let all = p.stage("all", stage_fn(gather)).inputs(ports);
    p.build(all).unwrap()
}

async fn gather(_ctx: StageContext, all: Vec<Arc<u32>>) -> StageResult<Vec<Arc<u32>>> {
    Ok(all)
}

fn db() -> BulkheadBuilder {
    Bulkhead::builder("db").max_concurrent(2)
}

#[tokio::test(start_paused = true)]
async fn so_many_run_at_a_time_and_the_others_wait() {
    let limit = db().build().unwrap();
    for (limit, most, time) in [(Some(&limit), 2, 3.secs()), (None, 6, 1.secs())] {
        let inside = Inside::default();
        let pipeline = calls(6, &inside, limit);
        let recorder = Recorder::new();
        let engine = Engine::builder().sink(recorder.clone()).build().unwrap();
        let started = Instant::now();
        assert_eq!(engine.run(&pipeline, ()).await.unwrap().outcome(), RunOutcome::Completed);
        assert_eq!((inside.most(), started.elapsed()), (most, time));
        let waited = recorder.events().iter().filter(|event| event.name() == "bulkhead.waited").count();
        assert_eq!(waited, if limit.is_some() { 4 } else { 0 });
    }
    assert_eq!((limit.in_flight(), limit.queued()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_explained_and_a_cancelled_run_leaves_nothing() {
    let limit = db().build().unwrap();
    let run = Engine::builder().build().unwrap().start(&calls(6, &Inside::default(), Some(&limit)), ());
    tokio::time::sleep(500.millis()).await;
    assert_eq!((limit.in_flight(), limit.queued()), (2, 4));
    let explained = run.explain().unwrap();
    let expected = WaitReason::Permit { limit: "bulkhead", key: Some("db".to_owned()) };
    assert_eq!(explained.waits().iter().filter(|wait| wait.reason == expected).count(), 4);
    run.cancel("seen enough");
    assert_eq!(run.await.unwrap_err().outcome(), Some(RunOutcome::Cancelled));
    assert_eq!((limit.in_flight(), limit.queued()), (0, 0));
}

/// How the third of three calls ends when two have no room for it, and when.
async fn third(limit: &Bulkhead, timeout: Option<Duration>) -> (&'static str, Option<Code>, Duration) {
    let _held = (limit.try_acquire(None).unwrap(), limit.try_acquire(None).unwrap());
    let mut p = Pipeline::builder("third");
    let mut stage =
        p.stage("call", stage_fn(async |_: StageContext, (): ()| Ok(1_u32))).intercept(limit.clone());
    if let Some(timeout) = timeout {
        stage = stage.timeout(timeout);
    }
    let call = stage.inputs(());
    let pipeline = p.build(call).unwrap();
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).build().unwrap();
    let started = Instant::now();
    let error = engine.run(&pipeline, ()).await.unwrap_err();
    let rejected = recorder.events().iter().any(|event| event.name() == "bulkhead.rejected");
    let report = error.report().unwrap();
    let outcome = match &report.stage("call").unwrap().outcome {
        StageOutcome::Skipped(_) => "skipped",
        StageOutcome::Failed(_) => "failed",
        _ => "other",
    };
    let code = error.failure().map(|failure| failure.code());
    assert_eq!(rejected, code != Some(code::STAGE_TIMEOUT));
    (outcome, code, started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn without_room_it_waits_fails_or_skips() {
    let full = Some(code::BULKHEAD_FULL);
    let of = |limit: BulkheadBuilder| limit.build().unwrap();
    let reject = of(db().when_full(WhenFull::Reject));
    assert_eq!(third(&reject, None).await, ("failed", full, Duration::ZERO));
    let skip = of(db().when_full(WhenFull::Skip));
    assert_eq!(third(&skip, None).await, ("skipped", None, Duration::ZERO));
    assert_eq!(third(&of(db().max_queue(0)), None).await, ("failed", full, Duration::ZERO));
    let waits = of(db().queue_timeout(2.secs()));
    assert_eq!(third(&waits, None).await, ("failed", full, 2.secs()));
    assert_eq!(third(&waits, Some(3.secs())).await, ("failed", full, 2.secs()));
    // The time of the stage is up first, and that is what it says.
    let (outcome, _, time) = third(&waits, Some(1.secs())).await;
    assert_eq!((outcome, time), ("failed", 1.secs()));
    assert_eq!((waits.in_flight(), waits.queued()), (0, 0));
}
