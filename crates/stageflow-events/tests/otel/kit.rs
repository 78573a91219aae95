//! Pipelines to export, and short ways to say what is expected.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use stageflow_core::{DurationExt as _, ErrorClass, StageContext, StageExit, StageResult, stage_fn};
use stageflow_dag::Pipeline;
use stageflow_events::otel::{Loss, Otel, OtelBuilder};
use stageflow_exec::Engine;

pub(crate) const SECONDS_5: Duration = Duration::from_secs(5);

/// An exporter whose losses are collected.
pub(crate) fn watched(builder: OtelBuilder) -> (Otel, Arc<Mutex<Vec<Loss>>>) {
    let losses = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&losses);
    let otel = builder.on_loss(move |loss| seen.lock().unwrap().push(loss.clone())).build().unwrap();
    (otel, losses)
}

/// Exports to this address; a flush of the engine does not wait for that.
pub(crate) fn to(endpoint: &str) -> OtelBuilder {
    Otel::builder().grpc(endpoint).without_metrics().service("tests").flush_budget(Duration::ZERO)
}

pub(crate) fn engine(otel: &Otel) -> Engine {
    Engine::builder().sink(otel.clone()).build().unwrap()
}

/// A pipeline of `count` stages side by side: so many spans and one.
pub(crate) fn wide(count: u32) -> Pipeline<(), usize> {
    let mut p = Pipeline::builder("wide");
    let all = p.parallel("one", 0..count as usize, |n| {
        stage_fn(move |_: StageContext, (): ()| async move { Ok(n) })
    });
    let all = all.inputs(());
    let sum =
        p.stage("sum", stage_fn(|_, all: Vec<Arc<usize>>| async move { Ok(all.iter().map(|n| **n).sum()) }));
    let sum = sum.inputs(all);
    p.build(sum).unwrap()
}

/// A stage that fails so often and then gives what it was given.
pub(crate) fn flaky(failures: u32) -> impl stageflow_core::Stage<Input = Arc<u32>, Output = u32> {
    stage_fn(move |ctx: StageContext, n: Arc<u32>| async move {
        if ctx.attempt() <= failures {
            return StageResult::Err(
                StageExit::fail("a secret that was in the payload").class(ErrorClass::Transient),
            );
        }
        Ok(*n)
    })
}

/// Exports the spans of `wide(count)` and gives what has been offered.
pub(crate) async fn export_wide(otel: &Otel, count: u32) {
    let engine = engine(otel);
    engine.run(&wide(count), ()).await.unwrap();
    engine.flush().await;
    assert_eq!(otel.spans().offered, u64::from(count) + 2);
}

/// Waits until `ready`, for a few seconds at most.
pub(crate) async fn until(what: &str, ready: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if ready() {
            return;
        }
        // sleeps: until a thread has done what it does, on real time
        tokio::time::sleep(5.millis()).await;
    }
    panic!("{what}: not within ten seconds");
}
