//! Metrics of events, in the process: bounded in number, readable at any instant.

mod dashboard;
pub(crate) mod meter;
pub(crate) mod names;
mod prometheus;
mod registry;
mod snapshot;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stageflow_core::{Event, EventSink, SinkAccount, event::Taken};

pub use self::{
    dashboard::grafana_dashboard,
    snapshot::{MetricData, MetricValue, MetricsSnapshot, SeriesData},
    table::{METRICS, MetricKind, MetricSource, MetricSpec},
};
use self::{meter::Meter, registry::SeriesLimits};

/// Counts and measures what happens: [`METRICS`] says what. Clones share everything.
///
/// The number of series is bounded: 2000 for each metric, further ones go into one with the attribute `otel.metric.overflow`; and
/// 100 tenants are told apart, further ones are `_other`. No other attribute is made of what users send: stages, pipelines, codes and
/// breakers are named by the program.
///
/// ```
/// use stageflow_events::Metrics;
///
/// let metrics = Metrics::new();
/// let sink = metrics.clone(); // goes to `Engine::builder().sink(…)`
/// # drop(sink);
/// let now = metrics.read();
/// assert_eq!(now.sum("stageflow.run.duration", &[("stageflow.tenant.id", "acme")]), 0);
/// println!("{}", now.to_prometheus());
/// ```
#[derive(Clone)]
pub struct Metrics {
    meter: Arc<Mutex<Meter>>,
}

impl Metrics {
    /// Nothing was counted yet.
    pub fn new() -> Self {
        Self { meter: Arc::new(Mutex::new(Meter::new(SeriesLimits { series: 2_000, tenants: 100 }))) }
    }

    /// How many series of a metric are told apart; 2000 by default.
    #[must_use]
    pub fn max_series(self, max: usize) -> Self {
        self.lock().registry.limits.series = max;
        self
    }

    /// How many tenants are told apart; 100 by default.
    #[must_use]
    pub fn max_tenants(self, max: usize) -> Self {
        self.lock().registry.limits.tenants = max;
        self
    }

    /// Takes over the account of a sink, under a name of yours: call it before reading, for each sink that is to be shown.
    pub fn set_sink(&self, name: &str, account: &SinkAccount) {
        self.lock().account(name, account);
    }

    /// What they say now.
    pub fn read(&self) -> MetricsSnapshot {
        self.lock().registry.snapshot()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl EventSink for Metrics {
    fn on_event(&self, event: &Event) {
        self.lock().take(event);
    }

    fn take_all(&self, events: Vec<Event>) -> Taken {
        let mut meter = self.lock();
        events.iter().for_each(|event| meter.take(event));
        Taken::all(&events)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("metrics", &self.read().metrics().len()).finish()
    }
}
