//! Ready-made stages: calls for the items of many runs, and windows.

mod cancelled;
mod failures;
mod shared;
mod windows;

use std::sync::{Arc, Mutex};

use stageflow::{
    CustomEvent, EventKind, Recorder,
    plus::batch::{Batch, Batcher},
    prelude::*,
};

/// The batches that were called: tenant and items.
pub(super) type Calls = Arc<Mutex<Vec<(Option<String>, Vec<u64>)>>>;

type Doubling = std::pin::Pin<Box<dyn Future<Output = StageResult<Vec<StageResult<u64>>>> + Send>>;

/// Doubles what it is given, in ten milliseconds.
fn doubling(calls: &Calls) -> impl Fn(Batch<u64>) -> Doubling + Send + Sync + 'static + use<> {
    let calls = Arc::clone(calls);
    move |batch| {
        let tenant = batch.tenant().map(|tenant| tenant.as_str().to_owned());
        calls.lock().expect("calls").push((tenant, batch.to_vec()));
        Box::pin(async move {
            // sleeps: on paused time
            tokio::time::sleep(10.millis()).await;
            Ok(batch.into_iter().map(|n| Ok(2 * n)).collect())
        })
    }
}

/// A pipeline of one stage, `ask`, which is the batcher.
fn asks(batcher: &Batcher<u64, u64>) -> Pipeline<u64, u64> {
    let mut p = Pipeline::builder("asks");
    let input = p.input();
    let answer = p.stage("ask", batcher.clone()).inputs(input);
    p.build(answer).expect("one stage is a pipeline")
}

fn assert_empty(batcher: &Batcher<u64, u64>) {
    let stats = batcher.stats();
    assert_eq!((stats.queued, stats.tenants, stats.in_flight, stats.flying), (0, 0, 0, 0), "{stats:?}");
    assert_eq!(stats.offered, stats.refused + stats.left + stats.answered);
}

/// The events of stages and policies, in order.
pub(super) fn custom(recorder: &Recorder) -> Vec<CustomEvent> {
    let own = |event: stageflow::Event| match event.kind() {
        EventKind::Custom(custom) => Some((**custom).clone()),
        _ => None,
    };
    recorder.events().into_iter().filter_map(own).collect()
}
