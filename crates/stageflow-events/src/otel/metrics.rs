//! Metrics as OTLP has them.

#[cfg(test)]
mod tests;

use opentelemetry_proto::tonic::metrics::v1::{
    self as otlp, AggregationTemporality, HistogramDataPoint, NumberDataPoint, metric::Data,
    number_data_point,
};

use crate::{
    metrics::{MetricData, MetricKind, MetricSpec, MetricValue, MetricsSnapshot, SeriesData, names},
    otel::{
        clock,
        spans::{text, truth},
    },
};

/// Metrics added up since `start`, and how many data points that is.
pub(crate) fn otlp(now: &MetricsSnapshot, start: u64) -> (Vec<otlp::Metric>, u64) {
    let times = (start, clock::unix_nanos());
    let points = now.metrics().iter().map(|metric| metric.series.len() as u64).sum();
    (now.metrics().iter().map(|data| metric(data, times)).collect(), points)
}

fn metric(MetricData { spec, series, .. }: &MetricData, times: (u64, u64)) -> otlp::Metric {
    let temporality = AggregationTemporality::Cumulative.into();
    let numbers = || series.iter().filter_map(|one| number(one, times)).collect();
    let sum = |is_monotonic| {
        let data_points = numbers();
        Data::Sum(otlp::Sum { data_points, aggregation_temporality: temporality, is_monotonic })
    };
    let data = match spec.kind {
        MetricKind::Counter => sum(true),
        MetricKind::UpDownCounter => sum(false),
        MetricKind::Gauge => Data::Gauge(otlp::Gauge { data_points: numbers() }),
        MetricKind::Histogram(_) => Data::Histogram(otlp::Histogram {
            data_points: series.iter().filter_map(|one| histogram(spec, one, times)).collect(),
            aggregation_temporality: temporality,
        }),
    };
    otlp::Metric {
        name: spec.name.to_owned(),
        description: spec.description.to_owned(),
        unit: spec.unit.to_owned(),
        data: Some(data),
        ..otlp::Metric::default()
    }
}

fn number(series: &SeriesData, (start, time): (u64, u64)) -> Option<NumberDataPoint> {
    let MetricValue::Number(number) = &series.value else { return None };
    Some(NumberDataPoint {
        attributes: attributes(series),
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(number_data_point::Value::AsInt(*number)),
        ..NumberDataPoint::default()
    })
}

fn histogram(
    spec: &MetricSpec,
    series: &SeriesData,
    (start, time): (u64, u64),
) -> Option<HistogramDataPoint> {
    let MetricValue::Histogram { buckets, count, sum, min, max } = &series.value else { return None };
    Some(HistogramDataPoint {
        attributes: attributes(series),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: *count,
        sum: Some(*sum),
        min: Some(*min),
        max: Some(*max),
        bucket_counts: buckets.clone(),
        explicit_bounds: bounds(spec).to_vec(),
        ..HistogramDataPoint::default()
    })
}

fn attributes(series: &SeriesData) -> Vec<opentelemetry_proto::tonic::common::v1::KeyValue> {
    let attribute = |(key, value): &(&'static str, String)| match *key {
        names::OVERFLOW => truth(key, true),
        key => text(key, value),
    };
    series.attributes.iter().map(attribute).collect()
}

fn bounds(spec: &MetricSpec) -> &'static [f64] {
    if let MetricKind::Histogram(bounds) = spec.kind { bounds } else { &[] }
}
