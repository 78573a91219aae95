//! Metrics of running pipelines, as a collector has them.

use std::sync::Arc;

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{Metric, metric::Data, number_data_point::Value},
};
use stageflow_core::{DurationExt as _, StageContext, StageKind, stage_fn};
use stageflow_dag::Pipeline;
use stageflow_events::{METRICS, MetricSource, otel::Otel};
use stageflow_interceptors::Retry;

use crate::{
    kit::{SECONDS_5, engine, flaky, watched},
    receiver::{Manner, Receiver},
    tree::get,
};

/// `key=value` of those attributes that are given, and the number or the count of each point.
fn points(metrics: &[Metric], name: &str, keys: &[&str]) -> Vec<(String, i64)> {
    let metric = metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"));
    let show = |attributes: &[KeyValue]| {
        keys.iter().map(|key| get(attributes, key).unwrap_or_default()).collect::<Vec<_>>().join(" ")
    };
    let number = |point: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| {
        let Some(Value::AsInt(number)) = point.value else { panic!("a whole number") };
        (show(&point.attributes), number)
    };
    let mut all: Vec<_> = match metric.data.as_ref().unwrap() {
        Data::Sum(sum) => sum.data_points.iter().map(number).collect(),
        Data::Gauge(gauge) => gauge.data_points.iter().map(number).collect(),
        Data::Histogram(one) => one
            .data_points
            .iter()
            .map(|point| (show(&point.attributes), i64::try_from(point.count).unwrap()))
            .collect(),
        other => panic!("{other:?}"),
    };
    all.sort();
    all
}

fn sum_of(metrics: &[Metric], name: &str) -> f64 {
    let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
    let Some(Data::Histogram(histogram)) = &metric.data else { panic!("a histogram") };
    histogram.data_points.iter().filter_map(|point| point.sum).sum()
}

fn pipeline() -> Pipeline<u32, u32> {
    let mut p = Pipeline::builder("measured");
    let input = p.input();
    let naps = |_: StageContext, n: Arc<u32>| async move {
        // sleeps: on paused time
        tokio::time::sleep(250.millis()).await;
        Ok(*n)
    };
    let first = p.stage("first", stage_fn(naps)).kind(StageKind::Enrich).inputs(input);
    let retry = Retry::constant(2.secs()).no_jitter().max_attempts(3);
    let second = p.stage("second", flaky(2)).retry(retry).inputs(first);
    p.build(second).unwrap()
}

/// On paused time, so that every duration is known; the exporter has a clock of its own.
#[tokio::test(start_paused = true)]
async fn a_run_is_measured() {
    let (receiver, endpoint) = Receiver::start_elsewhere(Manner::default());
    let (otel, _) = watched(Otel::builder().grpc(&endpoint).metrics_every(3_600.secs()));
    let engine = engine(&otel);
    for tenant in ["acme", "umbrella"] {
        engine.run(&pipeline(), 1).tenant(tenant).await.unwrap();
    }
    engine.flush().await;
    let receipt = otel.shutdown(SECONDS_5).await;
    assert!(receipt.is_complete(), "{receipt}");
    let metrics = receiver.metrics();
    let tenants =
        points(&metrics, "stageflow.run.duration", &["stageflow.tenant.id", "stageflow.run.outcome"]);
    assert_eq!(tenants, [("acme completed".to_owned(), 1), ("umbrella completed".to_owned(), 1)]);
    let keys = ["stageflow.tenant.id", "stageflow.stage.name", "stageflow.stage.kind"];
    let stages = points(&metrics, "stageflow.stage.duration", &keys);
    let each =
        ["acme first enrich", "acme second transform", "umbrella first enrich", "umbrella second transform"];
    assert_eq!(stages, each.map(|one| (one.to_owned(), 1)));
    let took = sum_of(&metrics, "stageflow.run.duration");
    assert!((took - 8.5).abs() < 0.1, "{took}");
    assert!((sum_of(&metrics, "stageflow.stage.duration") - 8.5).abs() < 0.1);
    assert!(sum_of(&metrics, "stageflow.stage.queue_time") < 0.1, "it does not count the stage before");
    assert_eq!(
        points(&metrics, "stageflow.stage.retries", &["stageflow.tenant.id", "stageflow.stage.name"]),
        [("acme second".to_owned(), 2), ("umbrella second".to_owned(), 2)]
    );
    assert!((sum_of(&metrics, "stageflow.stage.retry_delay") - 8.0).abs() < 0.1);
    for name in ["stageflow.run.active", "stageflow.stage.active"] {
        assert!(points(&metrics, name, &[]).iter().all(|(_, number)| *number == 0), "{name}");
    }
    // The exporter's own: the spans that left before.
    let keys = ["stageflow.export.signal", "stageflow.export.result"];
    let items = points(&metrics, "stageflow.export.items", &keys);
    let spans = i64::try_from(receipt.spans.exported).unwrap();
    assert!(items.contains(&("traces exported".to_owned(), spans)), "{items:?}");
    for metric in &metrics {
        let spec = METRICS.iter().find(|spec| spec.name == metric.name).expect("it is in the table");
        assert_eq!((spec.unit, spec.description), (&*metric.unit, &*metric.description));
    }
}

/// What the exporter loses is a metric: with the collector back, it tells what it could not send.
#[tokio::test]
async fn losses_are_a_metric() {
    let (receiver, endpoint) = Receiver::start(Manner { reject: 2, ..Manner::default() }).await;
    let (otel, _) = watched(Otel::builder().grpc(&endpoint));
    let engine = engine(&otel);
    engine.run(&crate::kit::wide(2), ()).await.unwrap();
    engine.flush().await;
    assert!(!otel.shutdown(SECONDS_5).await.is_complete());
    let keys = ["stageflow.export.signal", "stageflow.export.result"];
    let items = points(&receiver.metrics(), "stageflow.export.items", &keys);
    assert!(items.contains(&("traces rejected".to_owned(), 2)), "{items:?}");
}

/// A run that the sampler leaves out is in all metrics, and counted as left out.
#[tokio::test]
async fn metrics_of_runs_that_are_not_sampled_are_complete() {
    let (receiver, endpoint) = Receiver::start(Manner::default()).await;
    let sampler = stageflow_events::otel::Sampler::AlwaysOff;
    let otel = Otel::builder().grpc(&endpoint).sampler(sampler).build().unwrap();
    let engine = engine(&otel);
    engine.run(&crate::kit::wide(2), ()).tenant("acme").await.unwrap();
    engine.flush().await;
    assert!(otel.shutdown(SECONDS_5).await.is_complete());
    let metrics = receiver.metrics();
    assert_eq!(points(&metrics, "stageflow.stage.duration", &["stageflow.stage.name"]).len(), 3);
    let keys = ["stageflow.pipeline.name", "stageflow.tenant.id"];
    assert_eq!(points(&metrics, "stageflow.export.unsampled", &keys), [("wide acme".to_owned(), 1)]);
    assert!(receiver.spans().is_empty());
}

/// What is read in the process is what a collector is sent, sinks and the exporter's own included; without metrics there is nothing.
#[tokio::test]
async fn what_is_read_in_the_process_is_what_is_sent() {
    let (receiver, endpoint) = Receiver::start(Manner::default()).await;
    let (otel, _) = watched(Otel::builder().grpc(&endpoint).batch(512, 60.secs()).flush_budget(0.secs()));
    let engine = engine(&otel);
    engine.run(&crate::kit::wide(4), ()).tenant("acme").await.unwrap();
    engine.flush().await;
    let account = engine.sink_accounts()[0];
    otel.set_sink("otel", &account);
    let before = otel.read_metrics();
    let queued = [("stageflow.export.signal", "traces")];
    let spans = i64::try_from(otel.spans().offered).unwrap();
    assert_eq!((before.sum("stageflow.export.queued", &queued), spans > 3), (spans, true));
    assert!(otel.shutdown(SECONDS_5).await.is_complete());
    let sent = receiver.metrics();
    assert_eq!(
        points(&sent, "stageflow.export.queued", &["stageflow.export.signal"])[1],
        ("traces".to_owned(), 0)
    );
    let delivered = ("otel delivered".to_owned(), i64::try_from(account.delivered).unwrap());
    let keys = ["stageflow.sink", "stageflow.sink.result"];
    assert!(points(&sent, "stageflow.sink.events", &keys).contains(&delivered));
    let now = otel.read_metrics();
    assert_eq!(now.metrics().len(), sent.len());
    for metric in now.metrics().iter().filter(|metric| metric.spec.source != MetricSource::Exporter) {
        let sum: i64 = points(&sent, metric.spec.name, &[]).iter().map(|(_, number)| number).sum();
        assert_eq!(now.sum(metric.spec.name, &[]), sum, "{}", metric.spec.name);
    }
    assert!(now.to_prometheus().contains("stageflow_export_items_total{stageflow_export_signal=\"traces\""));
    assert_eq!(now.of_tenant("acme").sum("stageflow.run.duration", &[]), 1);

    let (otel, _) = watched(Otel::builder().grpc(&endpoint).without_metrics());
    crate::kit::engine(&otel).run(&crate::kit::wide(4), ()).await.unwrap();
    assert!(otel.read_metrics().metrics().is_empty());
}

/// The metrics of the exporter itself; all others are looked at in the tests of running pipelines. A new one needs a test.
#[test]
fn the_metrics_of_the_exporter_are_those_that_are_looked_at_here() {
    let own = METRICS.iter().filter(|spec| spec.source == MetricSource::Exporter);
    let looked = ["stageflow.export.unsampled", "stageflow.export.items", "stageflow.export.queued"];
    assert_eq!(own.map(|spec| spec.name).collect::<Vec<_>>(), looked);
    let source = include_str!("metrics.rs");
    for name in looked {
        assert!(
            source.matches(&format!("points(&metrics, \"{name}\"")).count()
                + source.matches(&format!("points(&sent, \"{name}\"")).count()
                > 0,
            "{name}"
        );
    }
}
