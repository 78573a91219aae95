//! What a snapshot of metrics becomes in OTLP.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, any_value::Value as Any},
    metrics::v1::{Metric, number_data_point::Value},
};

use super::*;
use crate::{
    METRICS, Metrics,
    metrics::table::{Metric as Id, MetricKind},
};

fn of(fill: impl FnOnce(&mut crate::metrics::meter::Meter), metrics: &Metrics) -> (Vec<Metric>, u64) {
    fill(&mut metrics.lock());
    otlp(&metrics.read(), 7)
}

fn points(metric: &Metric) -> Vec<(String, i64)> {
    let number = |point: &NumberDataPoint| {
        let values = point.attributes.iter().map(|one| format!("{}={:?}", one.key, one.value));
        let Some(Value::AsInt(number)) = point.value else { panic!("a whole number") };
        assert!(point.start_time_unix_nano == 7 && point.time_unix_nano > 7);
        (values.collect::<Vec<_>>().join(","), number)
    };
    match metric.data.as_ref().expect("there is some") {
        Data::Sum(sum) => sum.data_points.iter().map(number).collect(),
        Data::Gauge(gauge) => gauge.data_points.iter().map(number).collect(),
        other => panic!("{other:?}"),
    }
}

/// Each metric of the table is what it says it is, with its unit and its description, and all its attributes.
#[test]
fn each_metric_of_the_table_can_be_sent() {
    let fill = |meter: &mut crate::metrics::meter::Meter| {
        for id in Id::ALL {
            let values: Vec<_> = METRICS[*id as usize].attributes.to_vec();
            meter.registry.add(*id, &values, 1);
            meter.registry.record(*id, &values, 1.0);
        }
    };
    let (sent, count) = of(fill, &Metrics::new());
    assert_eq!((sent.len(), count), (METRICS.len(), METRICS.len() as u64));
    for (spec, metric) in METRICS.iter().zip(&sent) {
        assert_eq!(
            (spec.name, spec.unit, spec.description),
            (&*metric.name, &*metric.unit, &*metric.description)
        );
        let data = metric.data.as_ref().expect("there is some");
        let cumulative = AggregationTemporality::Cumulative as i32;
        let (kind, attributes) = match data {
            Data::Sum(sum) => {
                assert_eq!(sum.aggregation_temporality, cumulative);
                let kind = if sum.is_monotonic { MetricKind::Counter } else { MetricKind::UpDownCounter };
                (kind, &sum.data_points[0].attributes)
            }
            Data::Gauge(gauge) => (MetricKind::Gauge, &gauge.data_points[0].attributes),
            Data::Histogram(one) => {
                assert_eq!(one.aggregation_temporality, cumulative);
                let MetricKind::Histogram(bounds) = spec.kind else { panic!("{}", spec.name) };
                assert_eq!(one.data_points[0].explicit_bounds, bounds);
                (spec.kind, &one.data_points[0].attributes)
            }
            other => panic!("{other:?}"),
        };
        let keys: Vec<_> = attributes.iter().map(|one| one.key.as_str()).collect();
        assert_eq!((spec.kind, spec.attributes), (kind, &*keys), "{}", spec.name);
    }
}

#[test]
fn what_is_above_the_limit_is_one_point_that_says_so() {
    let fill = |meter: &mut crate::metrics::meter::Meter| {
        for stage in 0..10 {
            meter.registry.add(Id::Retries, &["p", &format!("s{stage}"), ""], 1);
        }
    };
    let (sent, count) = of(fill, &Metrics::new().max_series(3));
    let points = points(&sent[0]);
    assert_eq!((count, points.len(), points.iter().map(|(_, number)| number).sum::<i64>()), (4, 4, 10));
    let truth = AnyValue { value: Some(Any::BoolValue(true)) };
    assert_eq!(points[3], (format!("otel.metric.overflow={:?}", Some(truth)), 7));
    assert!(points.iter().all(|(row, _)| !row.contains("tenant")), "what is not known is left out");
}

#[test]
fn a_time_on_a_bound_is_in_the_bucket_below_it() {
    let fill = |meter: &mut crate::metrics::meter::Meter| {
        for nanos in [0, 250_000, 250_001, 1_000_000, 600_000_000_000, 600_000_000_001] {
            meter.registry.record_nanos(Id::StageQueued, &["p", "s", "t"], nanos);
        }
    };
    let (sent, _) = of(fill, &Metrics::new());
    let Some(Data::Histogram(histogram)) = &sent[0].data else { panic!("a histogram") };
    let point = &histogram.data_points[0];
    let filled: Vec<_> = point.bucket_counts.iter().enumerate().filter(|(_, count)| **count > 0).collect();
    assert_eq!(filled, [(0, &2), (1, &2), (18, &1), (19, &1)]);
    assert_eq!((point.count, point.explicit_bounds.len()), (6, point.bucket_counts.len() - 1));
    assert!(point.min == Some(0.0) && point.max.is_some_and(|max| max > 600.0));
}
