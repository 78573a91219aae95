//! A real collector that others wrote receives the spans, over gRPC and over HTTP, and they are read back from it.

use std::collections::BTreeMap;

use stageflow_core::{DurationExt as _, StageContext, StageExit, StageResult, stage_fn};
use stageflow_dag::Pipeline;
use stageflow_events::otel::{Otel, OtelBuilder};
use stageflow_exec::PipelineExt as _;
use stageflow_interceptors::Retry;

use crate::{
    collector::{self, Collector, Seen},
    kit::{SECONDS_5, engine, flaky},
};

fn start() -> Collector {
    let binary = collector::binary().expect("the collector is not there: `cargo xtask provision` fetches it");
    Collector::start(&binary).unwrap()
}

/// `one -> (two: two attempts, three: fails)`.
fn pipeline() -> Pipeline<u32, u32> {
    let mut p = Pipeline::builder("real");
    let input = p.input();
    let one = p.stage("one", flaky(0)).inputs(input);
    let retry = Retry::constant(1.millis()).max_attempts(3);
    let two = p.stage("two", flaky(1)).retry(retry).inputs(one);
    let fails =
        |_: StageContext, _: std::sync::Arc<u32>| async { StageResult::<u32>::Err(StageExit::fail("no")) };
    p.stage("three", stage_fn(fails)).inputs(one);
    p.on_failure(stageflow_core::FailurePolicy::Continue);
    p.build(two).unwrap()
}

async fn read_back(otel: OtelBuilder, collector: &Collector) -> BTreeMap<String, Seen> {
    let otel = otel.service("real-tests").build().unwrap();
    let engine = engine(&otel);
    let run = engine.run(&pipeline(), 1).tenant("acme").correlation("c-1");
    let done = run.await.unwrap();
    assert_eq!(*done.output(), 1);
    engine.flush().await;
    let receipt = otel.shutdown(SECONDS_5).await;
    assert!(receipt.is_complete(), "{receipt}");
    assert_eq!(receipt.spans.exported, 6);
    let spans = collector.spans(6);
    assert_eq!(spans.len(), 6, "{spans:#?}");
    let run_id = done.run_id().to_string();
    assert!(spans.iter().all(|span| span.attributes["stageflow.run.id"] == run_id));
    spans.into_iter().map(|span| (span.name.clone(), span)).collect()
}

fn check(spans: &BTreeMap<String, Seen>) {
    let shown: Vec<_> = spans.values().map(|span| (&*span.name, &*span.status)).collect();
    assert_eq!(
        shown,
        [
            ("one", ""),
            ("real", ""),
            ("three", "STATUS_CODE_ERROR"),
            ("two", ""),
            ("two #1", "STATUS_CODE_ERROR"),
            ("two #2", ""),
        ]
    );
    let root = &spans["real"];
    assert_eq!((root.parent.as_str(), root.trace.len()), ("", 32));
    for (name, parent) in
        [("one", "real"), ("two", "real"), ("three", "real"), ("two #1", "two"), ("two #2", "two")]
    {
        assert_eq!(spans[name].parent, spans[parent].id, "{name}");
    }
    for span in spans.values() {
        assert_eq!((span.trace.as_str(), span.service.as_str()), (root.trace.as_str(), "real-tests"));
        assert_eq!(span.attributes["stageflow.tenant.id"], "acme");
        assert_eq!(span.attributes["stageflow.correlation.id"], "c-1");
        assert!(root.start <= span.start && span.start <= span.end && span.end <= root.end, "{span:?}");
    }
    assert_eq!(spans["three"].attributes["error.type"], "STAGE_FAILED");
    assert_eq!(spans["three"].events, ["exception"]);
    assert_eq!(spans["two"].attributes["stageflow.stage.attempts"], "2");
    assert_eq!(spans["two #1"].attributes["error.type"], "STAGE_FAILED");
    assert_eq!(spans["real"].attributes["stageflow.run.outcome"], "completed_with_failures");
}

#[tokio::test]
async fn a_real_collector_has_the_spans_that_were_sent_over_grpc() {
    let collector = start();
    check(&read_back(Otel::builder().grpc(&collector.grpc), &collector).await);
}

#[tokio::test]
async fn a_real_collector_has_the_spans_that_were_sent_over_http() {
    let collector = start();
    check(&read_back(Otel::builder().http(&collector.http), &collector).await);
}

#[cfg(feature = "otlp-gzip")]
#[tokio::test]
async fn a_real_collector_has_the_spans_that_were_sent_compressed() {
    use stageflow_events::otel::Compression;
    let collector = start();
    check(&read_back(Otel::builder().http(&collector.http).compression(Compression::Gzip), &collector).await);
    let collector = start();
    check(&read_back(Otel::builder().grpc(&collector.grpc).compression(Compression::Gzip), &collector).await);
}

/// By nothing but the variables; without a sink nobody exports anything.
#[tokio::test]
async fn a_real_collector_is_found_by_the_variables() {
    let collector = start();
    let endpoint = collector.http.clone();
    let vars = move |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some("http/protobuf".to_owned()),
        _ => None,
    };
    pipeline().run(1).await.unwrap();
    check(&read_back(Otel::builder().from_vars(vars), &collector).await);
}
