//! Series of metrics: bounded in number, added up since the beginning, given out as OTLP has them.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
};

use opentelemetry_proto::tonic::metrics::v1::{
    self as otlp, AggregationTemporality, HistogramDataPoint, NumberDataPoint, metric::Data,
    number_data_point,
};

use super::table::{METRICS, Metric, MetricKind, MetricSpec};
use crate::otel::{
    clock, conventions as names,
    spans::{text, truth},
};

/// What limits the number of series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeriesLimits {
    /// Series of one metric. Further ones go into one that says so.
    pub(crate) series: usize,
    /// Tenants that are told apart. Further ones are [`OTHER`].
    pub(crate) tenants: usize,
}

/// The tenant of what is above the limit.
pub(crate) const OTHER: &str = "_other";

/// All series of all metrics.
#[derive(Debug)]
pub(crate) struct Registry {
    limits: SeriesLimits,
    series: Vec<HashMap<String, Series>>,
    overflow: Vec<Option<Point>>,
    tenants: HashSet<String>,
    start: u64,
    /// For the key of a series.
    key: String,
}

#[derive(Debug)]
struct Series {
    /// In the order of the attributes of the metric; empty for "not known".
    values: Vec<String>,
    point: Point,
}

#[derive(Clone, Debug)]
enum Point {
    Number(i64),
    Histogram { counts: Vec<u64>, sum: f64, min: f64, max: f64 },
}

impl Registry {
    pub(crate) fn new(limits: SeriesLimits) -> Self {
        Self {
            limits,
            series: METRICS.iter().map(|_| HashMap::new()).collect(),
            overflow: METRICS.iter().map(|_| None).collect(),
            tenants: HashSet::new(),
            start: clock::unix_nanos(),
            key: String::new(),
        }
    }

    /// Adds to a number.
    pub(crate) fn add(&mut self, metric: Metric, values: &[&str], amount: i64) {
        if let Point::Number(number) = self.point(metric, values) {
            *number = number.saturating_add(amount);
        }
    }

    /// Sets a number.
    pub(crate) fn set(&mut self, metric: Metric, values: &[&str], to: i64) {
        if let Point::Number(number) = self.point(metric, values) {
            *number = to;
        }
    }

    /// Sets a number that was counted elsewhere.
    pub(crate) fn set_count(&mut self, metric: Metric, values: &[&str], to: u64) {
        self.set(metric, values, i64::try_from(to).unwrap_or(i64::MAX));
    }

    /// Adds a time to a histogram of seconds.
    #[expect(clippy::cast_precision_loss, reason = "times of many days lose nanoseconds")]
    pub(crate) fn record(&mut self, metric: Metric, values: &[&str], nanos: u64) {
        let bounds = bounds(METRICS[metric as usize]);
        let Point::Histogram { counts, sum, min, max } = self.point(metric, values) else { return };
        let seconds = nanos as f64 / 1e9;
        counts[bounds.partition_point(|bound| *bound < seconds)] += 1;
        *sum += seconds;
        *min = min.min(seconds);
        *max = max.max(seconds);
    }

    fn point(&mut self, metric: Metric, values: &[&str]) -> &mut Point {
        let spec = METRICS[metric as usize];
        let tenant_at = spec.attributes.iter().position(|key| *key == names::TENANT);
        let is_other = tenant_at.and_then(|at| values.get(at)).is_some_and(|tenant| self.is_beyond(tenant));
        let value = |at: usize| match values.get(at) {
            Some(_) if is_other && tenant_at == Some(at) => OTHER,
            value => value.copied().unwrap_or(""),
        };
        self.key.clear();
        for at in 0..spec.attributes.len() {
            // With its length before it, no value can pass for two.
            let _infallible = write!(self.key, "{}:{}", value(at).len(), value(at));
        }
        let series = &mut self.series[metric as usize];
        if !series.contains_key(&self.key) {
            if series.len() >= self.limits.series {
                return self.overflow[metric as usize].get_or_insert_with(|| Point::new(spec));
            }
            let values = (0..spec.attributes.len()).map(|at| value(at).to_owned()).collect();
            series.insert(self.key.clone(), Series { values, point: Point::new(spec) });
        }
        let found = series.get_mut(&self.key).map(|series| &mut series.point);
        found.unwrap_or_else(|| self.overflow[metric as usize].get_or_insert_with(|| Point::new(spec)))
    }

    /// Whether there are too many tenants for this one to be told apart.
    fn is_beyond(&mut self, tenant: &str) -> bool {
        if tenant.is_empty() || self.tenants.contains(tenant) {
            return false;
        }
        if self.tenants.len() < self.limits.tenants {
            self.tenants.insert(tenant.to_owned());
            return false;
        }
        true
    }

    /// All metrics of which there is something, and how many data points that is.
    pub(crate) fn collect(&self) -> (Vec<otlp::Metric>, u64) {
        let (start, time) = (self.start, clock::unix_nanos());
        let mut points = 0;
        let metrics =
            METRICS.iter().zip(&self.series).zip(&self.overflow).filter_map(|((spec, series), overflow)| {
                let mut rows: Vec<_> = series.values().map(|one| (Some(&one.values), &one.point)).collect();
                rows.extend(overflow.iter().map(|point| (None, point)));
                points += rows.len() as u64;
                (!rows.is_empty()).then(|| metric(spec, &rows, (start, time)))
            });
        let metrics = metrics.collect();
        (metrics, points)
    }
}

impl Point {
    fn new(spec: MetricSpec) -> Self {
        match spec.kind {
            MetricKind::Histogram(bounds) => Self::Histogram {
                counts: vec![0; bounds.len() + 1],
                sum: 0.0,
                min: f64::INFINITY,
                max: f64::NEG_INFINITY,
            },
            _ => Self::Number(0),
        }
    }
}

type Row<'a> = (Option<&'a Vec<String>>, &'a Point);

fn metric(spec: &MetricSpec, rows: &[Row<'_>], times: (u64, u64)) -> otlp::Metric {
    let temporality = AggregationTemporality::Cumulative.into();
    let numbers = || rows.iter().filter_map(|row| number(spec, *row, times)).collect();
    let sum = |is_monotonic| {
        let data_points = numbers();
        Data::Sum(otlp::Sum { data_points, aggregation_temporality: temporality, is_monotonic })
    };
    let data = match spec.kind {
        MetricKind::Counter => sum(true),
        MetricKind::UpDownCounter => sum(false),
        MetricKind::Gauge => Data::Gauge(otlp::Gauge { data_points: numbers() }),
        MetricKind::Histogram(_) => Data::Histogram(otlp::Histogram {
            data_points: rows.iter().filter_map(|row| histogram(spec, *row, times)).collect(),
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

fn number(spec: &MetricSpec, (values, point): Row<'_>, (start, time): (u64, u64)) -> Option<NumberDataPoint> {
    let Point::Number(number) = point else { return None };
    Some(NumberDataPoint {
        attributes: attributes(spec, values),
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(number_data_point::Value::AsInt(*number)),
        ..NumberDataPoint::default()
    })
}

fn histogram(
    spec: &MetricSpec,
    (values, point): Row<'_>,
    (start, time): (u64, u64),
) -> Option<HistogramDataPoint> {
    let Point::Histogram { counts, sum, min, max } = point else { return None };
    Some(HistogramDataPoint {
        attributes: attributes(spec, values),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: counts.iter().sum(),
        sum: Some(*sum),
        min: Some(*min),
        max: Some(*max),
        bucket_counts: counts.clone(),
        explicit_bounds: bounds(*spec).to_vec(),
        ..HistogramDataPoint::default()
    })
}

fn attributes(
    spec: &MetricSpec,
    values: Option<&Vec<String>>,
) -> Vec<opentelemetry_proto::tonic::common::v1::KeyValue> {
    let Some(values) = values else { return vec![truth(names::OVERFLOW, true)] };
    let known = spec.attributes.iter().zip(values).filter(|(_, value)| !value.is_empty());
    known.map(|(key, value)| text(key, value)).collect()
}

fn bounds(spec: MetricSpec) -> &'static [f64] {
    if let MetricKind::Histogram(bounds) = spec.kind { bounds } else { &[] }
}
