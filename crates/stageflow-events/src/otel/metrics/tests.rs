//! The table of metrics, their limits, and what is measured.

use std::collections::HashSet;

use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};

use super::*;

fn registry(series: usize, tenants: usize) -> Registry<Metric> {
    Registry::new(SeriesLimits { series, tenants })
}

/// `attributes = value` of each series of the only metric.
fn rows(registry: &Registry<Metric>) -> Vec<(String, i64)> {
    let (metrics, points) = otlp(&registry.snapshot(), 0);
    let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("a sum") };
    assert_eq!(points, sum.data_points.len() as u64);
    let mut rows: Vec<_> = sum
        .data_points
        .iter()
        .map(|point| {
            let values = point.attributes.iter().map(|one| format!("{}={:?}", one.key, one.value));
            let Some(Value::AsInt(number)) = point.value else { panic!("a whole number") };
            (values.collect::<Vec<_>>().join(","), number)
        })
        .collect();
    rows.sort();
    rows
}

#[test]
fn the_table_follows_the_conventions() {
    let names: HashSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len());
    for metric in METRICS {
        assert!(metric.name.starts_with("stageflow.") && !metric.name.ends_with("_total"), "{}", metric.name);
        assert!(
            metric.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_'),
            "{}",
            metric.name
        );
        assert!(metric.description.ends_with('.') && !metric.attributes.is_empty(), "{}", metric.name);
        if let MetricKind::Histogram(bounds) = metric.kind {
            assert!(bounds.is_sorted() && metric.unit == "s", "{}", metric.name);
        }
        // Ids of runs and requests would make a series of each run.
        assert!(metric.attributes.iter().all(|key| !key.ends_with("run.id")), "{}", metric.name);
    }
}

#[test]
fn what_is_above_the_limit_of_a_metric_is_one_series() {
    let mut registry = registry(3, 100);
    for stage in 0..10 {
        registry.add(Metric::Retries, &["p", &format!("s{stage}")], 1);
    }
    registry.add(Metric::Retries, &["p", "s0"], 1);
    let rows = rows(&registry);
    let overflow: Vec<_> = rows.iter().filter(|(row, _)| row.contains("otel.metric.overflow")).collect();
    assert_eq!((rows.len(), overflow.len(), overflow[0].1), (4, 1, 7));
    assert_eq!(rows.iter().map(|(_, number)| number).sum::<i64>(), 11, "nothing is lost");
}

#[test]
fn tenants_are_told_apart_up_to_a_limit() {
    let mut registry = registry(1_000, 2);
    for tenant in ["a", "b", "c", "d", "a", ""] {
        registry.add(Metric::StageFailures, &["p", "s", "X", tenant], 1);
    }
    let rows = rows(&registry);
    let of = |tenant: &str| {
        rows.iter().filter(|(row, _)| row.contains(&format!("\"{tenant}\""))).map(|(_, n)| n).sum::<i64>()
    };
    assert_eq!((rows.len(), of("a"), of("b"), of("_other"), of("c")), (4, 2, 1, 2, 0));
    assert!(
        rows.iter().any(|(row, _)| !row.contains("tenant")),
        "without a tenant the attribute is left out"
    );
}

#[test]
fn values_do_not_run_into_each_other() {
    let mut registry = registry(100, 100);
    registry.add(Metric::Retries, &["a1:", "b"], 1);
    registry.add(Metric::Retries, &["a", "1:b"], 1);
    registry.add(Metric::Retries, &["a", "1:b"], 1);
    assert_eq!(rows(&registry).iter().map(|(_, number)| *number).collect::<Vec<_>>().len(), 2);
}

#[test]
fn a_time_on_a_bound_is_in_the_bucket_below_it() {
    let mut registry = registry(100, 100);
    for nanos in [0, 250_000, 250_001, 1_000_000, 600_000_000_000, 600_000_000_001] {
        registry.record_nanos(Metric::StageQueued, &["p", "s"], nanos);
    }
    let (metrics, _) = otlp(&registry.snapshot(), 0);
    let Some(Data::Histogram(histogram)) = &metrics[0].data else { panic!("a histogram") };
    let point = &histogram.data_points[0];
    let filled: Vec<_> = point.bucket_counts.iter().enumerate().filter(|(_, count)| **count > 0).collect();
    assert_eq!(filled, [(0, &2), (1, &2), (18, &1), (19, &1)]);
    assert_eq!((point.count, point.explicit_bounds.len()), (6, point.bucket_counts.len() - 1));
    assert!(point.min == Some(0.0) && point.max.is_some_and(|max| max > 600.0));
}
