//! What goes wrong in a call, or before it, and whom it concerns.

use stageflow::{
    ErrorClass, Recorder, code,
    interceptors::Retry,
    plus::batch::{Batch, Batcher, RefusedBy},
    prelude::*,
};

use super::{Calls, asks, assert_empty, custom, doubling};
use crate::behaviour::kit::{error_of, idle, within};

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_with_a_code_and_a_reason() {
    let calls = Calls::default();
    let builder = Batcher::builder("model", doubling(&calls)).max_wait(1.secs()).max_queue(2).tenant_queue(1);
    let batcher = builder.build().expect("a batcher");
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).build().expect("an engine");
    let pipeline = asks(&batcher);
    let first = engine.run(&pipeline, 1).tenant("a").start();
    idle().await;
    let same = error_of(engine.run(&pipeline, 2).tenant("a")).await;
    let other = engine.run(&pipeline, 3).tenant("b").start();
    idle().await;
    let full = error_of(engine.run(&pipeline, 4).tenant("c")).await;
    for (error, words) in [
        (same, "the batcher `model` has no place in its queue for another item of this tenant"),
        (full, "the batcher `model` has no place in its queue"),
    ] {
        let failure = error.failure().expect("a failure");
        assert_eq!((failure.code(), failure.class()), (code::BATCH_REFUSED, ErrorClass::Transient));
        assert_eq!(failure.message(), words);
    }
    within(first).await.expect("an answer");
    within(other).await.expect("an answer");
    let refused: Vec<_> = custom(&recorder)
        .iter()
        .filter(|event| event.name() == "batch.refused")
        .map(|event| event.field("reason").expect("a reason").to_string())
        .collect();
    let reasons = [RefusedBy::TenantQueueFull, RefusedBy::QueueFull].map(|by| format!("{:?}", by.as_str()));
    assert_eq!(refused, reasons);
    assert_empty(&batcher);
}

async fn both(what: fn(Batch<u64>) -> StageResult<Vec<StageResult<u64>>>) -> [RunError; 2] {
    let batcher = Batcher::builder("model", move |batch| async move { what(batch) });
    let batcher = batcher.max_size(2).build().expect("a batcher");
    let pipeline = asks(&batcher);
    let runs = [pipeline.run(1).start(), pipeline.run(2).start()];
    let [one, two] = runs.map(error_of);
    let errors = [one.await, two.await];
    assert_empty(&batcher);
    errors
}

#[tokio::test(start_paused = true)]
async fn a_call_fails_the_runs_of_its_batch_alone() {
    for error in both(|_| Ok(vec![Ok(1)])).await {
        assert_eq!(error.code(), code::BATCH_MISMATCH);
        let cause = error.failure().expect("a failure").cause().source().expect("a cause").to_string();
        assert_eq!(cause, "the handler of the batcher `model` gave 1 answers for 2 items");
    }
    for error in both(|_| panic!("out of memory")).await {
        assert_eq!(error.code(), code::PANIC);
        assert!(
            error
                .failure()
                .expect("a failure")
                .cause()
                .source()
                .expect("a cause")
                .to_string()
                .contains("out of memory")
        );
    }
    for error in both(|_| Err(StageExit::cancel("the model is gone"))).await {
        assert_eq!(error.outcome(), Some(stageflow::RunOutcome::Cancelled));
    }
    // One of two, and other batches.
    let odd = |batch: Batch<u64>| async move {
        assert!(!batch.contains(&7), "seven");
        Ok(batch.into_iter().map(|n| if n == 1 { Err(StageExit::fail("one")) } else { Ok(n) }).collect())
    };
    let batcher = Batcher::builder("model", odd).max_size(2).build().expect("a batcher");
    let pipeline = asks(&batcher);
    let runs: Vec<_> = [1, 2, 7, 8, 3, 4].map(|n| pipeline.run(n).start()).into();
    let mut ended = Vec::new();
    for run in runs {
        ended.push(within(run).await.map(|run| *run.output()).map_err(|error| error.code()));
    }
    let (failed, panicked) = (Err(code::STAGE_FAILED), Err(code::PANIC));
    assert_eq!(ended, [failed, Ok(2), panicked, panicked, Ok(3), Ok(4)]);
}

/// A call that hangs is in nobody's way, and its runs end by their own time.
#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_its_own_callers_business() {
    let hangs = |batch: Batch<u64>| async move {
        if batch[0] == 1 {
            std::future::pending::<()>().await;
        }
        Ok(batch.into_iter().map(Ok).collect())
    };
    let batcher = Batcher::builder("model", hangs).max_size(1).build().expect("a batcher");
    let pipeline = asks(&batcher);
    let stuck = pipeline.run(1).deadline(1.secs()).start();
    idle().await;
    assert_eq!(*within(pipeline.run(2)).await.expect("an answer").output(), 2);
    assert_eq!(error_of(stuck).await.outcome(), Some(stageflow::RunOutcome::TimedOut));
    assert_empty(&batcher);
}

/// An attempt that failed comes again with its item, in another batch.
#[tokio::test(start_paused = true)]
async fn a_retry_is_another_item() {
    let calls = Calls::default();
    let counted = std::sync::Arc::clone(&calls);
    let flaky = move |batch: Batch<u64>| {
        let mut calls = counted.lock().expect("calls");
        calls.push((None, batch.to_vec()));
        let is_first = calls.len() == 1;
        async move { if is_first { Err("reset").transient() } else { Ok(batch.into_iter().map(Ok).collect()) } }
    };
    let batcher = Batcher::builder("model", flaky).max_size(2).build().expect("a batcher");
    let mut p = Pipeline::builder("asks");
    let input = p.input();
    let answer = p.stage("ask", batcher.clone()).retry(Retry::constant(1.secs()).no_jitter()).inputs(input);
    let pipeline = p.build(answer).expect("it builds");
    let runs = [1, 2].map(|n| pipeline.run(n).start());
    for (n, run) in (1..).zip(runs) {
        assert_eq!(*within(run).await.expect("the second time").output(), n);
    }
    assert_eq!(calls.lock().expect("calls").len(), 2);
    assert_empty(&batcher);
}
