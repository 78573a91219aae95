//! Series of metrics: bounded in number, added up since the beginning.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
};

use super::{
    names,
    snapshot::{MetricData, MetricValue, MetricsSnapshot, SeriesData},
    table::{METRICS, Metric, MetricKind, MetricSpec},
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
    pub(crate) limits: SeriesLimits,
    series: Vec<HashMap<String, Series>>,
    overflow: Vec<Option<MetricValue>>,
    tenants: HashSet<String>,
    /// For the key of a series.
    key: String,
}

#[derive(Debug)]
struct Series {
    /// In the order of the attributes of the metric; empty for "not known".
    values: Vec<String>,
    value: MetricValue,
}

impl Registry {
    pub(crate) fn new(limits: SeriesLimits) -> Self {
        Self {
            limits,
            series: METRICS.iter().map(|_| HashMap::new()).collect(),
            overflow: METRICS.iter().map(|_| None).collect(),
            tenants: HashSet::new(),
            key: String::new(),
        }
    }

    /// Adds to a number.
    pub(crate) fn add(&mut self, metric: Metric, values: &[&str], amount: i64) {
        if let MetricValue::Number(number) = self.value(metric, values) {
            *number = number.saturating_add(amount);
        }
    }

    /// Sets a number.
    pub(crate) fn set(&mut self, metric: Metric, values: &[&str], to: i64) {
        if let MetricValue::Number(number) = self.value(metric, values) {
            *number = to;
        }
    }

    /// Adds a value to a histogram.
    pub(crate) fn record(&mut self, metric: Metric, values: &[&str], value: f64) {
        let MetricKind::Histogram(bounds) = METRICS[metric as usize].kind else { return };
        if let MetricValue::Histogram { buckets, count, sum, min, max } = self.value(metric, values) {
            buckets[bounds.partition_point(|bound| *bound < value)] += 1;
            *count += 1;
            *sum += value;
            *min = min.min(value);
            *max = max.max(value);
        }
    }

    /// Adds a time, in nanoseconds, to a histogram of seconds.
    #[expect(clippy::cast_precision_loss, reason = "times of many days lose nanoseconds")]
    pub(crate) fn record_nanos(&mut self, metric: Metric, values: &[&str], nanos: u64) {
        self.record(metric, values, nanos as f64 / 1e9);
    }

    fn value(&mut self, metric: Metric, values: &[&str]) -> &mut MetricValue {
        let spec = &METRICS[metric as usize];
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
                return self.overflow[metric as usize].get_or_insert_with(|| MetricValue::zero(spec));
            }
            let values = (0..spec.attributes.len()).map(|at| value(at).to_owned()).collect();
            series.insert(self.key.clone(), Series { values, value: MetricValue::zero(spec) });
        }
        match series.get_mut(&self.key) {
            Some(series) => &mut series.value,
            None => self.overflow[metric as usize].get_or_insert_with(|| MetricValue::zero(spec)),
        }
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

    /// All metrics of which there is something.
    pub(crate) fn snapshot(&self) -> MetricsSnapshot {
        let rows = METRICS.iter().zip(&self.series).zip(&self.overflow);
        let metrics = rows.filter_map(|((spec, series), overflow)| {
            let mut series: Vec<_> = series.values().map(|one| one.data(spec)).collect();
            series.sort_by(|one, other| one.attributes.cmp(&other.attributes));
            series.extend(overflow.iter().map(|value| SeriesData {
                attributes: vec![(names::OVERFLOW, "true".to_owned())],
                value: value.clone(),
            }));
            (!series.is_empty()).then_some(MetricData { spec, series })
        });
        MetricsSnapshot { metrics: metrics.collect() }
    }
}

impl Series {
    fn data(&self, spec: &MetricSpec) -> SeriesData {
        let known = spec.attributes.iter().zip(&self.values).filter(|(_, value)| !value.is_empty());
        SeriesData {
            attributes: known.map(|(key, value)| (*key, value.clone())).collect(),
            value: self.value.clone(),
        }
    }
}
