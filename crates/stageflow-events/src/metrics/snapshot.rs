//! What metrics say at an instant.

use super::{
    names, prometheus,
    registry::OTHER,
    table::{MetricKind, MetricSpec},
};

/// All metrics of which there is something, as of the instant they were read.
#[derive(Clone, Debug)]
pub struct MetricsSnapshot {
    pub(crate) metrics: Vec<MetricData>,
}

/// One metric with all its series.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MetricData {
    /// What it measures.
    pub spec: &'static MetricSpec,
    /// Its series, by their attributes; last the one that takes what is above the limit, if there is one.
    pub series: Vec<SeriesData>,
}

/// One series.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SeriesData {
    /// Key and value; those that are not known are left out.
    pub attributes: Vec<(&'static str, String)>,
    /// What it says.
    pub value: MetricValue,
}

/// What a series says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetricValue {
    /// Of a counter or a gauge.
    Number(i64),
    /// Of a histogram.
    Histogram {
        /// How many values lie in each bucket; one more than there are bounds.
        buckets: Vec<u64>,
        /// How many there are.
        count: u64,
        /// Their sum.
        sum: f64,
        /// The least of them.
        min: f64,
        /// The greatest of them.
        max: f64,
    },
}

impl MetricValue {
    pub(crate) fn zero(spec: &MetricSpec) -> Self {
        match spec.kind {
            MetricKind::Histogram(bounds) => Self::Histogram {
                buckets: vec![0; bounds.len() + 1],
                count: 0,
                sum: 0.0,
                min: f64::INFINITY,
                max: f64::NEG_INFINITY,
            },
            _ => Self::Number(0),
        }
    }

    /// The number of a counter or gauge, or how many values a histogram has.
    pub fn count(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            Self::Histogram { count, .. } => i64::try_from(*count).unwrap_or(i64::MAX),
        }
    }
}

impl SeriesData {
    /// The value of an attribute, by its key.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str())
    }
}

impl MetricsSnapshot {
    #[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
    pub(crate) fn empty() -> Self {
        Self { metrics: Vec::new() }
    }

    /// All metrics, in the order of [`METRICS`](crate::METRICS).
    pub fn metrics(&self) -> &[MetricData] {
        &self.metrics
    }

    /// The metric `name`, if there is something of it.
    pub fn metric(&self, name: &str) -> Option<&MetricData> {
        self.metrics.iter().find(|metric| metric.spec.name == name)
    }

    /// Adds up the [counts](MetricValue::count) of those series of a metric that have all these attributes.
    pub fn sum(&self, name: &str, attributes: &[(&str, &str)]) -> i64 {
        let has_all =
            |one: &&SeriesData| attributes.iter().all(|(key, value)| one.attribute(key) == Some(value));
        let series = self.metric(name).into_iter().flat_map(|metric| &metric.series);
        series.filter(has_all).map(|one| one.value.count()).sum()
    }

    /// Only the series of one tenant: what may be shown to it. Those of `_other` are of several, and no tenant's.
    #[must_use]
    pub fn of_tenant(&self, tenant: &str) -> Self {
        let metrics = self.metrics.iter().filter_map(|metric| {
            let is_of = |one: &&SeriesData| tenant != OTHER && one.attribute(names::TENANT) == Some(tenant);
            let series: Vec<_> = metric.series.iter().filter(is_of).cloned().collect();
            (!series.is_empty()).then_some(MetricData { spec: metric.spec, series })
        });
        Self { metrics: metrics.collect() }
    }

    /// The text format of Prometheus, version 0.0.4.
    ///
    /// Names follow the rules by which OpenTelemetry's are translated: `_` for what is not allowed, seconds and counters with
    /// `_seconds` and `_total` at the end.
    pub fn to_prometheus(&self) -> String {
        prometheus::text(&self.metrics)
    }
}
