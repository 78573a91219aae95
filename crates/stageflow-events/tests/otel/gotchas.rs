//! What silently loses spans elsewhere, one test for each: here it does not happen, or not silently.

use std::time::Duration;

use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use stageflow_core::DurationExt as _;
use stageflow_events::otel::LossReason;

use crate::{
    kit::{SECONDS_5, engine, export_wide, to, until, watched, wide},
    receiver::{Manner, Receiver},
};

/// A queue of 2048 spans loses most of such a burst, with one line in a log. This one holds it, by default.
#[tokio::test]
async fn gotcha_1_a_burst_is_not_lost() {
    let (receiver, endpoint) = Receiver::start_elsewhere(Manner::default());
    let (otel, losses) = watched(to(&endpoint));
    export_wide(&otel, 20_000).await;
    let receipt = otel.shutdown(30.secs()).await;
    assert!(receipt.is_complete(), "{receipt}");
    assert_eq!(receiver.spans().len(), 20_002);
    assert!(losses.lock().unwrap().is_empty());
}

/// With a queue that is too small each lost span is counted, and the loss is told at once.
#[tokio::test]
async fn gotcha_1_a_full_queue_is_counted_and_told_at_once() {
    let (receiver, endpoint) = Receiver::start_elsewhere(Manner { delay: 200.millis(), ..Manner::default() });
    let (otel, losses) = watched(to(&endpoint).queue(2_048));
    export_wide(&otel, 20_000).await;
    until("the loss is told", || !losses.lock().unwrap().is_empty()).await;
    let receipt = otel.shutdown(30.secs()).await;
    assert!(receipt.spans.dropped_full > 1_000, "{receipt}");
    assert_eq!(receipt.spans.offered, receipt.spans.exported + receipt.spans.dropped_full);
    assert_eq!(receiver.spans().len() as u64, receipt.spans.exported);
    let told: u64 = losses.lock().unwrap().iter().map(|loss| loss.count).sum();
    assert_eq!(told, receipt.spans.dropped_full);
}

/// A shutdown on a runtime with one thread ends, and with everything exported; the collector is on that runtime, too.
#[test]
fn gotcha_2_a_shutdown_on_a_current_thread_runtime_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (receiver, endpoint) = Receiver::start(Manner::default()).await;
        let (otel, _) = watched(to(&endpoint));
        export_wide(&otel, 8).await;
        let receipt = otel.shutdown(SECONDS_5).await;
        assert!(receipt.is_complete() && receipt.took < 3.secs(), "{receipt}");
        assert_eq!(receiver.spans().len(), 10);
    });
}

/// A shutdown that blocks the one thread there is ends, too.
#[test]
fn gotcha_2_a_shutdown_that_blocks_ends() {
    let (receiver, endpoint) = Receiver::start_elsewhere(Manner::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (otel, _) = watched(to(&endpoint));
        export_wide(&otel, 8).await;
        let receipt = otel.shutdown_blocking(SECONDS_5);
        assert!(receipt.is_complete() && receipt.took < 3.secs(), "{receipt}");
    });
    assert_eq!(receiver.spans().len(), 10);
}

/// Nobody has called `shutdown`: the last drop does, for a while, and tells what it could not save.
#[test]
fn gotcha_3_the_last_drop_exports_or_tells() {
    for (delay, saved) in [(0.secs(), true), (10.secs(), false)] {
        let (receiver, endpoint) = Receiver::start_elsewhere(Manner { delay, ..Manner::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (otel, losses) = watched(to(&endpoint).drop_budget(if saved { 5.secs() } else { 200.millis() }));
        runtime.block_on(export_wide(&otel, 8));
        drop((runtime, otel));
        assert_eq!(receiver.spans().len(), if saved { 10 } else { 0 });
        let losses = losses.lock().unwrap();
        let told: Vec<_> = losses.iter().map(|loss| (loss.reason, loss.count)).collect();
        assert_eq!(told, if saved { vec![] } else { vec![(LossReason::Shutdown, 10)] });
    }
}

/// A provider that became the global one is never dropped, so it must not be what the export of its spans hangs on.
#[test]
fn gotcha_3_a_provider_that_is_never_dropped_loses_nothing() {
    let (receiver, endpoint) = Receiver::start_elsewhere(Manner::default());
    let (otel, _) = watched(to(&endpoint));
    let provider = otel.tracer_provider();
    provider.tracer("app").start("mine");
    std::mem::forget(provider);
    drop(otel);
    assert_eq!(receiver.spans().len(), 1);
}

/// All is lost, and the shutdown says so, and in time.
#[tokio::test]
async fn gotcha_4_a_shutdown_tells_that_all_was_lost() {
    let (otel, losses) = watched(to("http://127.0.0.1:1"));
    export_wide(&otel, 8).await;
    let receipt = otel.shutdown(500.millis()).await;
    assert!(!receipt.is_complete() && receipt.took < 3.secs(), "{receipt}");
    assert_eq!((receipt.spans.exported, receipt.spans.lost(), receipt.spans.in_flight), (0, 10, 0));
    assert!(receipt.last_error.as_deref().unwrap().starts_with("Unavailable"), "{receipt}");
    assert_eq!(losses.lock().unwrap().iter().map(|loss| loss.count).sum::<u64>(), 10);
}

/// No answer in time is a reason to try again, as the specification has it.
#[tokio::test]
async fn gotcha_5_a_request_without_an_answer_is_sent_again() {
    let (receiver, endpoint) = Receiver::start_elsewhere(Manner { delay: 400.millis(), ..Manner::default() });
    let (otel, _) =
        watched(to(&endpoint).timeout(150.millis()).retry_for(1.secs()).batch(512, Duration::ZERO));
    let engine = engine(&otel);
    engine.run(&wide(8), ()).await.unwrap();
    engine.flush().await;
    until("it is given up", || otel.spans().in_flight == 0 && otel.spans().offered == 10).await;
    assert!(receiver.asked() >= 2, "{}", receiver.asked());
    let receipt = otel.shutdown(SECONDS_5).await;
    assert_eq!(receipt.spans.dropped_unreachable, 10);
    assert_eq!(receipt.last_error.as_deref(), Some("no answer within 150ms"));
}

/// Metrics go out every minute, and with every flush and at the end.
#[tokio::test]
async fn gotcha_7_metrics_need_not_wait_for_their_interval() {
    let (receiver, endpoint) = Receiver::start(Manner::default()).await;
    let otel = stageflow_events::otel::Otel::builder().grpc(&endpoint).build().unwrap();
    let engine = engine(&otel);
    engine.run(&wide(2), ()).await.unwrap();
    engine.flush().await;
    assert!(otel.flush(SECONDS_5).await.is_complete());
    let names: Vec<_> = receiver.metrics().into_iter().map(|metric| metric.name).collect();
    assert!(names.contains(&"stageflow.run.duration".to_owned()), "{names:?}");
}
