//! The table of metrics, and series on their own.

use std::collections::HashSet;

use crate::support::{event, run};

use super::{
    registry::{OTHER, Registry, SeriesLimits},
    table::{METRICS, Metric, MetricKind},
};

const LIMITS: SeriesLimits = SeriesLimits { series: 3, tenants: 2 };

#[test]
fn series_and_tenants_are_bounded_and_nothing_is_lost() {
    let mut registry = Registry::new(LIMITS);
    for n in 0..10 {
        registry.add(Metric::RunActive, &["p", &format!("t{n}")], 1);
        registry.add(Metric::Retries, &["p", &format!("s{n}"), "t0"], 1);
    }
    let now = registry.snapshot();
    assert_eq!(now.sum("stageflow.run.active", &[("stageflow.tenant.id", OTHER)]), 8);
    assert_eq!(now.metric("stageflow.stage.retries").map(|metric| metric.series.len()), Some(4));
    assert_eq!(now.sum("stageflow.stage.retries", &[("otel.metric.overflow", "true")]), 7);
    for name in ["stageflow.run.active", "stageflow.stage.retries"] {
        assert_eq!(now.sum(name, &[]), 10);
    }
    for n in 0..10 {
        registry.add(Metric::RunActive, &["p", &format!("t{n}")], -1);
    }
    let left = registry.snapshot();
    let series = &left.metric("stageflow.run.active").expect("it is there").series;
    assert!(series.iter().all(|one| one.value.count() == 0), "{series:?}");
}

/// Values that look like two must not pass for others.
#[test]
fn names_with_separators_are_told_apart() {
    let mut registry = Registry::new(SeriesLimits { series: 100, tenants: 100 });
    for values in [["a", "1:b", "c"], ["a1:", "b", "c"], ["a", "", "1:bc"], ["a1:b", "", "c"]] {
        registry.add(Metric::Retries, &values, 1);
    }
    let now = registry.snapshot();
    assert_eq!(now.metric("stageflow.stage.retries").map(|metric| metric.series.len()), Some(4));
}

/// A bound belongs to its bucket.
#[test]
fn buckets_include_their_upper_bound() {
    let mut registry = Registry::new(LIMITS);
    for value in [0.000_25, 0.001, 0.001_1, 1_000.0] {
        registry.record(Metric::RunDuration, &["p", "completed", "t"], value);
    }
    let text = registry.snapshot().to_prometheus();
    for (bound, below) in [("0.00025", 1), ("0.001", 2), ("0.0025", 3), ("600", 3), ("+Inf", 4)] {
        assert!(text.contains(&format!("le=\"{bound}\"}} {below}\n")), "{bound}: {text}");
    }
}

/// Names, units and buckets are as the conventions want them, and no metric has a series for each run.
#[test]
fn the_table_follows_the_conventions() {
    let names: HashSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!((names.len(), Metric::ALL.len()), (METRICS.len(), METRICS.len()));
    for metric in METRICS {
        assert!(metric.name.starts_with("stageflow.") && !metric.name.ends_with("_total"), "{}", metric.name);
        let is_allowed = |b: u8| b.is_ascii_lowercase() || b == b'.' || b == b'_';
        assert!(metric.name.bytes().all(is_allowed), "{}", metric.name);
        assert!(metric.description.ends_with('.') && !metric.attributes.is_empty(), "{}", metric.name);
        if let MetricKind::Histogram(bounds) = metric.kind {
            assert!(bounds.is_sorted(), "{}", metric.name);
        }
        // Ids of runs and requests would make a series of each run.
        assert!(metric.attributes.iter().all(|key| !key.ends_with("run.id")), "{}", metric.name);
    }
}

/// What is of no tenant in particular is shown to none, whatever its name is.
#[test]
fn a_tenant_that_is_called_as_all_others_are_sees_nothing_of_them() {
    let metrics = crate::Metrics::new().max_tenants(0);
    stageflow_core::EventSink::on_event(
        &metrics,
        &event(&run(), 1, stageflow_core::EventKind::PipelineStarted),
    );
    assert_eq!(metrics.read().sum("stageflow.run.active", &[("stageflow.tenant.id", "_other")]), 1);
    assert!(metrics.read().of_tenant("_other").metrics().is_empty());
}
