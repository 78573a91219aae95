//! Collectors that are dead, slow, rejecting or back again: every span is accounted for.

use std::time::Duration;

use stageflow_core::DurationExt as _;
use stageflow_events::{
    SinkExt as _,
    otel::{LossReason, Otel, Sampler, Signal},
};
use stageflow_exec::Engine;
use tokio::net::TcpListener;
use tonic::Code;

use crate::{
    kit::{SECONDS_5, engine, export_wide, to, until, watched, wide},
    receiver::{Manner, Receiver},
};

#[tokio::test]
async fn what_arrives_is_counted_as_exported() {
    let (receiver, endpoint) = Receiver::start(Manner::default()).await;
    let (otel, losses) = watched(to(&endpoint).header("authorization", "Bearer t").batch(10, 1.secs()));
    export_wide(&otel, 48).await;
    let receipt = otel.shutdown(SECONDS_5).await;
    assert!(receipt.is_complete(), "{receipt}");
    assert_eq!((receipt.spans.exported, receiver.spans().len()), (50, 50));
    assert!(receiver.requests().len() >= 5, "batches of ten");
    assert!(receiver.tokens().iter().all(|token| token.as_deref() == Some("Bearer t")));
    assert!(losses.lock().unwrap().is_empty());
}

#[tokio::test]
async fn spans_that_the_collector_rejects_are_counted_and_told() {
    let (receiver, endpoint) = Receiver::start(Manner { reject: 3, ..Manner::default() }).await;
    let (otel, losses) = watched(to(&endpoint));
    export_wide(&otel, 8).await;
    let receipt = otel.shutdown(SECONDS_5).await;
    assert!(!receipt.is_complete());
    assert_eq!((receipt.spans.exported, receipt.spans.rejected), (7, 3));
    assert_eq!((receiver.asked(), receipt.last_error.as_deref()), (1, Some("too old")));
    let losses = losses.lock().unwrap();
    assert_eq!(
        (losses.len(), losses[0].signal, losses[0].reason, losses[0].count),
        (1, Signal::Traces, LossReason::Rejected, 3)
    );
}

#[tokio::test]
async fn a_request_that_is_refused_for_good_is_not_sent_again() {
    let refuse = Some((u64::MAX, Code::Unauthenticated));
    let (receiver, endpoint) = Receiver::start(Manner { refuse, ..Manner::default() }).await;
    let (otel, losses) = watched(to(&endpoint));
    export_wide(&otel, 8).await;
    let receipt = otel.shutdown(SECONDS_5).await;
    assert_eq!((receipt.spans.dropped_refused, receipt.spans.lost(), receiver.asked()), (10, 10, 1));
    assert_eq!(losses.lock().unwrap()[0].reason, LossReason::Refused);
    assert_eq!(receipt.last_error.as_deref(), Some("Unauthenticated: not now"));
}

#[tokio::test]
async fn a_request_that_is_refused_for_now_is_sent_again() {
    let refuse = Some((2, Code::Unavailable));
    let (receiver, endpoint) = Receiver::start(Manner { refuse, ..Manner::default() }).await;
    let (otel, losses) = watched(to(&endpoint));
    export_wide(&otel, 8).await;
    let receipt = otel.shutdown(SECONDS_5).await;
    assert!(receipt.is_complete(), "{receipt}");
    assert_eq!((receiver.asked(), receiver.spans().len()), (3, 10));
    assert!(losses.lock().unwrap().is_empty(), "nothing was lost in the end");
}

#[tokio::test]
async fn spans_wait_for_a_collector_that_comes_back() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (otel, _) = watched(to(&format!("http://{address}")).batch(512, Duration::ZERO));
    export_wide(&otel, 8).await;
    until("an attempt has failed", || otel.last_error().is_some()).await;
    assert_eq!((otel.spans().in_flight, otel.spans().lost()), (10, 0));
    let receiver = Receiver::start_at(address).await;
    let receipt = otel.shutdown(SECONDS_5).await;
    assert!(receipt.is_complete(), "{receipt}");
    assert_eq!(receiver.spans().len(), 10);
}

#[tokio::test]
async fn a_dead_collector_costs_spans_and_no_run_and_is_told() {
    let (otel, losses) = watched(to("http://127.0.0.1:1").retry_for(300.millis()).batch(512, Duration::ZERO));
    export_wide(&otel, 8).await;
    until("it has given up", || otel.spans().in_flight == 0).await;
    let receipt = otel.shutdown(SECONDS_5).await;
    assert_eq!((receipt.spans.dropped_unreachable, receipt.spans.lost()), (10, 10));
    let losses = losses.lock().unwrap();
    assert_eq!(losses.iter().map(|loss| loss.count).sum::<u64>(), 10);
    assert_eq!(losses[0].reason, LossReason::Unreachable);
    let told = losses[0].to_string();
    assert!(told.contains("spans lost on the way to the collector (unreachable): Unavailable"), "{told}");
}

#[tokio::test]
async fn spans_that_end_after_the_exporter_are_counted_and_told() {
    let (_receiver, endpoint) = Receiver::start(Manner::default()).await;
    let (otel, losses) = watched(to(&endpoint));
    let engine = engine(&otel);
    assert!(otel.shutdown(SECONDS_5).await.is_complete());
    engine.run(&wide(8), ()).await.unwrap();
    engine.flush().await;
    let receipt = otel.shutdown(SECONDS_5).await;
    assert_eq!((receipt.spans.offered, receipt.spans.dropped_shutdown), (10, 10));
    assert_eq!(losses.lock().unwrap()[0].reason, LossReason::Shutdown);
}

/// A run whose end never came here, as it was lost or is yet to come, is no silent loss.
#[tokio::test]
async fn what_is_known_of_open_runs_is_exported_at_the_end() {
    let (receiver, endpoint) = Receiver::start(Manner::default()).await;
    let (otel, losses) = watched(to(&endpoint));
    let open = otel.clone().filter(|event| !event.name().starts_with("pipeline.completed"));
    Engine::builder().sink(open).build().unwrap().run(&wide(2), ()).await.unwrap();
    until("the stages have ended", || otel.spans().offered == 3).await;
    let receipt = otel.shutdown(SECONDS_5).await;
    assert!(receipt.is_complete() && receipt.spans.exported == 4, "{receipt}");
    let run = receiver.spans().into_iter().find(|span| span.name == "wide").unwrap();
    assert!(run.attributes.iter().any(|one| one.key == "stageflow.incomplete"));
    assert!(losses.lock().unwrap().is_empty());
}

/// A collector that asks for more time than there is, after it has let us wait, is given up like any other.
#[tokio::test]
async fn a_collector_that_never_wants_to_be_asked_again_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let later = hyper::service::service_fn(|_: hyper::Request<hyper::body::Incoming>| async {
                // sleeps: a collector that takes its time
                tokio::time::sleep(1_100.millis()).await;
                let answer = hyper::Response::builder().status(503).header("retry-after", u64::MAX);
                answer.body(String::new())
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, later));
        }
    });
    let (otel, losses) =
        watched(Otel::builder().http(endpoint).without_metrics().flush_budget(Duration::ZERO));
    export_wide(&otel, 8).await;
    until("it has given up", || otel.spans().in_flight == 0).await;
    assert_eq!((otel.spans().dropped_unreachable, losses.lock().unwrap().len()), (10, 1));
    assert!(otel.shutdown(SECONDS_5).await.took < SECONDS_5, "nothing is left to wait for");
}

/// The accounts add up at every instant, whatever the collector does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_account_adds_up_at_every_instant() {
    let manner = Manner { delay: 2.millis(), refuse: Some((20, Code::Unavailable)), reject: 1 };
    let (_receiver, endpoint) = Receiver::start_elsewhere(manner);
    let (otel, _) = watched(to(&endpoint).queue(300).batch(16, Duration::ZERO));
    let engine = engine(&otel);
    let watching = {
        let otel = otel.clone();
        std::thread::spawn(move || {
            let mut looks = 0_u32;
            while otel.spans().offered < 5_020 {
                let account = otel.spans();
                let sum = account.exported + account.lost() + account.in_flight;
                assert_eq!(account.offered, sum, "{account:?}");
                assert!(account.in_flight <= 300, "{account:?}");
                looks += 1;
            }
            looks
        })
    };
    for _ in 0..10 {
        engine.run(&wide(500), ()).await.unwrap();
    }
    engine.flush().await;
    assert!(watching.join().unwrap() > 100);
    let receipt = otel.shutdown(SECONDS_5).await;
    assert!(receipt.spans.dropped_full > 0 && receipt.spans.rejected > 0, "{receipt}");
    assert_eq!(receipt.spans.in_flight, 0);
    assert_eq!(receipt.spans.offered, receipt.spans.exported + receipt.spans.lost());
}

#[tokio::test]
async fn what_is_switched_off_starts_nothing() {
    let otel = Otel::builder().without_traces().without_metrics().build().unwrap();
    assert!(otel.is_disabled());
    engine(&otel).run(&wide(2), ()).await.unwrap();
    assert!(otel.shutdown(Duration::ZERO).await.is_complete());
    let (receiver, endpoint) = Receiver::start(Manner::default()).await;
    let (otel, _) = watched(to(&endpoint).sampler(Sampler::AlwaysOff));
    let engine = engine(&otel);
    engine.run(&wide(2), ()).await.unwrap();
    engine.flush().await;
    assert_eq!((otel.shutdown(SECONDS_5).await.spans.offered, receiver.asked()), (0, 0));
}

/// Spans are made on the thread behind the engine's queue: a stage pays for the event alone.
#[tokio::test]
async fn no_span_is_made_by_the_worker_that_runs_the_stages() {
    use stageflow_core::{Delivery, EventSink as _};
    let otel = to("http://127.0.0.1:1").retry_for(0.secs()).on_loss(|_| {}).build().unwrap();
    assert!(matches!(otel.delivery(), Delivery::Queued { .. }));
}
