//! What the engine's flush and shutdown do to the exporter: everything leaves or is accounted for, in the time there is, on any runtime.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use stageflow_core::{DurationExt as _, EventSink};
use stageflow_events::{
    FanOut, SinkExt as _,
    otel::{LossReason, Otel},
};
use stageflow_exec::Engine;
use tokio::runtime::{Builder, Runtime};

use crate::{
    kit::{SECONDS_5, engine, until, watched, wide},
    receiver::{Manner, Receiver},
};

/// One of each kind.
fn runtimes() -> [Runtime; 2] {
    let current = Builder::new_current_thread().enable_all().build().unwrap();
    [current, Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()]
}

/// How long it took, in real time.
async fn timed(what: impl Future) -> Duration {
    let began = now();
    what.await;
    began.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "the exporter lives in real time")]
fn now() -> Instant {
    Instant::now()
}

fn names(receiver: &Receiver) -> Vec<String> {
    receiver.metrics().into_iter().map(|metric| metric.name).collect()
}

/// Metrics every minute and spans every minute: only a flush can have sent them.
fn lazy(endpoint: &str) -> stageflow_events::otel::OtelBuilder {
    Otel::builder().grpc(endpoint).batch(512, 1.mins()).metrics_every(1.mins()).drop_budget(100.millis())
}

/// The collector is on the same runtime, which therefore must not be blocked meanwhile.
#[test]
fn a_flush_of_the_engine_exports_everything_and_has_a_receipt() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let (receiver, endpoint) = Receiver::start(Manner::default()).await;
            let (otel, losses) = watched(lazy(&endpoint));
            let engine = engine(&otel);
            assert_eq!(otel.last_receipt(), None);
            engine.run(&wide(8), ()).await.unwrap();
            engine.flush().await;
            let receipt = otel.last_receipt().unwrap();
            assert!(receipt.is_complete() && receipt.took < 3.secs(), "{receipt}");
            assert_eq!((receipt.spans.exported, receiver.spans().len()), (10, 10));
            assert!(
                receipt.metrics.exported > 0 && names(&receiver).contains(&"stageflow.run.duration".into())
            );
            // The next one is about what has come since.
            engine.run(&wide(2), ()).await.unwrap();
            assert!(engine.shutdown(SECONDS_5).await.abandoned().is_empty());
            let receipt = otel.last_receipt().unwrap();
            assert!(receipt.is_complete(), "{receipt}");
            assert_eq!((receipt.spans.exported, receiver.spans().len()), (14, 14));
            assert!(losses.lock().unwrap().is_empty());
        });
    }
}

/// Behind a queue of its own, and as one of several sinks.
#[tokio::test]
async fn a_flush_reaches_an_exporter_that_is_wrapped() {
    let (receiver, endpoint) = Receiver::start(Manner::default()).await;
    let (bounded, _) = watched(lazy(&endpoint).without_metrics());
    let (fanned, _) = watched(lazy(&endpoint).without_metrics());
    let sinks = FanOut::new().to(fanned.clone()).to(stageflow_events::sink_fn(|_| {}));
    let engine = Engine::builder().sink(bounded.clone().bounded(1_000)).sink(sinks).build().unwrap();
    engine.run(&wide(8), ()).await.unwrap();
    engine.flush().await;
    for otel in [bounded, fanned] {
        let receipt = otel.last_receipt().unwrap();
        assert!(receipt.is_complete() && receipt.spans.exported == 10, "{receipt}");
    }
    assert_eq!(receiver.spans().len(), 20);
}

/// The flush waits for as long as it may, and the receipt says what is still on its way.
#[test]
fn a_dead_collector_holds_a_flush_up_for_its_budget_only() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let (otel, losses) = watched(lazy("http://127.0.0.1:1").flush_budget(300.millis()));
            let engine = engine(&otel);
            engine.run(&wide(8), ()).await.unwrap();
            let took = timed(engine.flush()).await;
            assert!((250.millis()..3.secs()).contains(&took), "{took:?}");
            let receipt = otel.last_receipt().unwrap();
            assert!(!receipt.is_complete() && receipt.last_error.is_some(), "{receipt}");
            assert_eq!((receipt.spans.in_flight, receipt.spans.exported, receipt.spans.lost()), (10, 0, 0));
            let took = timed(engine.shutdown(SECONDS_5)).await;
            assert!(took < 3.secs(), "{took:?}");
            let receipt = otel.shutdown(Duration::ZERO).await;
            assert_eq!(receipt.spans.dropped_shutdown, 10);
            assert_eq!(
                losses.lock().unwrap().iter().map(|loss| loss.reason).next(),
                Some(LossReason::Shutdown)
            );
            // There is nobody left to ask.
            let took = timed(engine.flush()).await;
            assert!(took < 250.millis(), "{took:?}");
        });
    }
}

/// What is given up meanwhile is in the receipt by its reason.
#[tokio::test]
async fn the_receipt_of_a_flush_has_losses_by_reason() {
    let (otel, _) = watched(lazy("http://127.0.0.1:1").without_metrics().retry_for(0.secs()));
    let engine = engine(&otel);
    engine.run(&wide(8), ()).await.unwrap();
    let took = timed(engine.flush()).await;
    assert!(took < 4.secs(), "it need not wait for its budget: {took:?}");
    let receipt = otel.last_receipt().unwrap();
    assert_eq!((receipt.spans.dropped_unreachable, receipt.spans.in_flight), (10, 0));

    let (_receiver, endpoint) = Receiver::start(Manner { reject: 3, ..Manner::default() }).await;
    let (otel, _) = watched(lazy(&endpoint));
    let engine = crate::kit::engine(&otel);
    engine.run(&wide(8), ()).await.unwrap();
    engine.flush().await;
    let receipt = otel.last_receipt().unwrap();
    assert_eq!((receipt.spans.rejected, receipt.spans.exported), (3, 7));
}

/// The budget of the engine's shutdown counts, though the flush might take longer; and the exporter's own shutdown after it does not
/// wait for that flush.
#[test]
fn a_slow_collector_holds_no_shutdown_up() {
    for runtime in runtimes() {
        let (_receiver, endpoint) =
            Receiver::start_elsewhere(Manner { delay: 1.mins(), ..Manner::default() });
        let took = runtime.block_on(timed(async {
            let (otel, losses) = watched(lazy(&endpoint).timeout(1.mins()).flush_budget(1.mins()));
            let engine = engine(&otel);
            engine.run(&wide(8), ()).await.unwrap();
            let took = timed(engine.shutdown(300.millis())).await;
            assert!((250.millis()..3.secs()).contains(&took), "{took:?}");
            assert_eq!(otel.last_receipt(), None, "that flush goes on");
            let receipt = otel.shutdown(200.millis()).await;
            assert!(receipt.took < 3.secs(), "{receipt}");
            assert_eq!(receipt.spans.dropped_shutdown, 10);
            assert_eq!(losses.lock().unwrap().len(), 1);
        }));
        assert!(took < 10.secs(), "{took:?}");
        // The thread of the flush is free again, or this would wait for it.
        let began = now();
        drop(runtime);
        assert!(began.elapsed() < 10.secs(), "{:?}", began.elapsed());
    }
}

/// Each of several who wait at a time has its own time.
#[tokio::test]
async fn who_wants_to_wait_less_waits_less() {
    let (_receiver, endpoint) = Receiver::start_elsewhere(Manner { delay: 1.secs(), ..Manner::default() });
    let (otel, _) = watched(lazy(&endpoint).without_metrics().flush_budget(Duration::ZERO));
    let engine = engine(&otel);
    engine.run(&wide(8), ()).await.unwrap();
    engine.flush().await;
    let (long, short) = tokio::join!(otel.flush(SECONDS_5), otel.flush(200.millis()));
    assert!(short.took < 900.millis() && !short.is_complete(), "{short}");
    assert!(long.is_complete() && long.spans.exported == 10, "{long}");
}

/// Spans that come all the time are no reason to wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_ends_under_load() {
    let (_receiver, endpoint) = Receiver::start_elsewhere(Manner { delay: 20.millis(), ..Manner::default() });
    let (otel, _) =
        watched(lazy(&endpoint).without_metrics().batch(10, 1.mins()).flush_budget(Duration::ZERO));
    let loaded = engine(&otel);
    let load = tokio::spawn(async move {
        loop {
            loaded.run(&wide(8), ()).await.unwrap();
            // sleeps: so that there is always something on its way, and not ever more
            tokio::time::sleep(5.millis()).await;
        }
    });
    until("there is load", || otel.spans().exported > 50).await;
    let receipt = otel.flush(30.secs()).await;
    assert!(receipt.took < 10.secs(), "{receipt}");
    load.abort();
}

/// A hook that never returns has the exporter's thread, and no other.
#[tokio::test]
async fn a_hook_that_does_not_return_holds_no_flush_up() {
    let (open, closed) = std::sync::mpsc::channel::<()>();
    let closed = Mutex::new(closed);
    let lazy = lazy("http://127.0.0.1:1").retry_for(0.secs()).flush_budget(200.millis());
    let otel = lazy
        .drop_budget(100.millis())
        .on_loss(move |_| assert!(closed.lock().unwrap().recv().is_err()))
        .build()
        .unwrap();
    let engine = engine(&otel);
    engine.run(&wide(8), ()).await.unwrap();
    let took = timed(engine.flush()).await;
    assert!(took < 5.secs(), "{took:?}");
    otel.on_flush();
    let waits = tokio::time::timeout(10.secs(), otel.shutdown(100.millis()));
    let receipt = waits.await.expect("it has its budget and no more");
    assert!(!receipt.is_complete(), "{receipt}");
    drop(open);
}
