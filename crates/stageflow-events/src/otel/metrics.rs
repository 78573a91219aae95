//! Metrics of events.

mod otlp;
mod table;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use opentelemetry_proto::tonic::metrics::v1::Metric as Otlp;
use stageflow_core::{CustomEvent, Event, EventKind, RunInfo, time::nanos};

pub use self::table::METRICS;
use self::{otlp::otlp, table::Metric};
use super::account::{ExportAccount, Signal};
pub(crate) use crate::metrics::registry::SeriesLimits;
pub use crate::metrics::{MetricKind, MetricSpec};
use crate::{
    metrics::registry::Registry,
    otel::clock,
    runs::{MAX_RUNS, Runs},
    words::{number, text},
};

/// Makes metrics of events.
#[derive(Debug)]
pub(crate) struct Meter {
    registry: Registry<Metric>,
    /// Since when it is added up.
    start: u64,
    runs: Runs<RunMeter>,
}

/// What is known of an open run.
#[derive(Debug)]
struct RunMeter {
    info: Arc<RunInfo>,
    /// When stages that have ended did, in nanoseconds of the run.
    ended: HashMap<u32, u64>,
    started: HashMap<u32, StageMeter>,
}

#[derive(Clone, Copy, Debug)]
struct StageMeter {
    first: u64,
    /// Whether an attempt is counted as active.
    active: bool,
}

impl Meter {
    pub(crate) fn new(limits: SeriesLimits) -> Self {
        Self { registry: Registry::new(limits), start: clock::unix_nanos(), runs: Runs::new(MAX_RUNS) }
    }

    /// Takes an event; `sampled` says whether the run is recorded.
    pub(crate) fn take(&mut self, event: &Event, sampled: bool) {
        let Self { registry, runs, .. } = self;
        if let EventKind::Gap { dropped, .. } = event.kind() {
            // It may come after the end of its run.
            let dropped = i64::try_from(*dropped).unwrap_or(i64::MAX);
            return registry.add(Metric::EventsDropped, &[event.pipeline()], dropped);
        }
        let mut is_new = false;
        let (run, given_way) = runs.of(event.run_id(), || {
            is_new = true;
            RunMeter { info: Arc::clone(event.run()), ended: HashMap::new(), started: HashMap::new() }
        });
        if is_new {
            registry.add(Metric::RunActive, &[event.pipeline()], 1);
            if !sampled {
                registry.add(Metric::Unsampled, &[event.pipeline()], 1);
            }
        }
        run.take(event, registry);
        if let Some(other) = given_way {
            other.leave(registry);
        }
        if let EventKind::PipelineEnded { outcome, .. } = event.kind() {
            let values = [event.pipeline(), outcome.as_str(), event.tenant().unwrap_or_default()];
            registry.record_nanos(Metric::RunDuration, &values, nanos(event.elapsed()));
            if let Some(run) = runs.remove(event.run_id()) {
                run.leave(registry);
            }
        }
    }

    /// All metrics, with the accounts of the exporter, and the number of data points.
    pub(crate) fn collect(&mut self, accounts: [(Signal, ExportAccount); 2]) -> (Vec<Otlp>, u64) {
        for (signal, account) in accounts {
            for (result, count) in account.results() {
                self.count(Metric::ExportItems, &[signal.as_str(), result], count);
            }
            self.count(Metric::ExportQueued, &[signal.as_str()], account.in_flight);
        }
        otlp(&self.registry.snapshot(), self.start)
    }

    /// Takes over a number that was counted elsewhere.
    fn count(&mut self, metric: Metric, values: &[&str], to: u64) {
        self.registry.set(metric, values, i64::try_from(to).unwrap_or(i64::MAX));
    }
}

impl RunMeter {
    fn take(&mut self, event: &Event, registry: &mut Registry<Metric>) {
        let (pipeline, now) = (event.pipeline(), nanos(event.elapsed()));
        match event.kind() {
            EventKind::Custom(custom) => self.custom(event, custom, registry),
            kind => {
                let (Some(stage), Some(name)) = (event.stage_index(), event.stage()) else { return };
                let outcome = match kind {
                    EventKind::StageStarted => return self.start(stage, name, now, registry),
                    EventKind::StageCompleted => "completed",
                    EventKind::StageFailed(failure) => {
                        let tenant = event.tenant().unwrap_or_default();
                        let values = [pipeline, name, failure.code().as_str(), tenant];
                        registry.add(Metric::StageFailures, &values, 1);
                        "failed"
                    }
                    EventKind::StageSkipped(_) => "skipped",
                    EventKind::StageCancelled(_) => "cancelled",
                    EventKind::StageBlocked { .. } => "blocked",
                    _ => return,
                };
                self.end(event, (stage, name, outcome), now, registry);
            }
        }
    }

    fn start(&mut self, stage: u32, name: &str, now: u64, registry: &mut Registry<Metric>) {
        let pipeline = self.info.snapshot().pipeline();
        let is_first = !self.started.contains_key(&stage);
        let meter = self.started.entry(stage).or_insert(StageMeter { first: now, active: false });
        if !std::mem::replace(&mut meter.active, true) {
            registry.add(Metric::StageActive, &[pipeline, name], 1);
        }
        if is_first {
            let mut ready = 0;
            let ended = &self.ended;
            self.info.stages().for_each_source(stage, &mut |source| {
                ready = ready.max(ended.get(&source).copied().filter(|end| *end <= now).unwrap_or(0));
            });
            registry.record_nanos(Metric::StageQueued, &[pipeline, name], now - ready);
        }
    }

    fn end(
        &mut self,
        event: &Event,
        (stage, name, outcome): (u32, &str, &str),
        now: u64,
        registry: &mut Registry<Metric>,
    ) {
        self.ended.insert(stage, now);
        let pipeline = event.pipeline();
        let Some(meter) = self.started.remove(&stage) else {
            // With an attempt it did run, and the event of its start was lost.
            if event.attempt().is_none() {
                registry.add(Metric::StageNotRun, &[pipeline, name, outcome], 1);
            }
            return;
        };
        if meter.active {
            registry.add(Metric::StageActive, &[pipeline, name], -1);
        }
        let kind = self.info.stages().stage_kind(stage).as_str();
        let took = now.saturating_sub(meter.first);
        registry.record_nanos(Metric::StageDuration, &[pipeline, name, kind, outcome], took);
    }

    fn custom(&mut self, event: &Event, custom: &CustomEvent, registry: &mut Registry<Metric>) {
        let (pipeline, stage) = (event.pipeline(), event.stage().unwrap_or_default());
        let key = || text(custom.field("key")).unwrap_or_default();
        let changed = |registry: &mut Registry<Metric>, state: &str, number| {
            registry.set(Metric::BreakerState, &[key()], number);
            registry.add(Metric::BreakerChanges, &[key(), state], 1);
        };
        match custom.name() {
            "stage.retry_scheduled" => {
                registry.add(Metric::Retries, &[pipeline, stage], 1);
                let delay = number(custom.field("delay_ms")).unwrap_or_default().saturating_mul(1_000_000);
                registry.record_nanos(Metric::RetryDelay, &[pipeline, stage], delay);
                let meter = event.stage_index().and_then(|index| self.started.get_mut(&index));
                if meter.is_some_and(|meter| std::mem::take(&mut meter.active)) {
                    registry.add(Metric::StageActive, &[pipeline, stage], -1);
                }
            }
            "budget.exhausted" => registry.add(
                Metric::BudgetExhausted,
                &[pipeline, text(custom.field("kind")).unwrap_or_default()],
                1,
            ),
            "breaker.closed" => changed(registry, "closed", 0),
            "breaker.half_open" => changed(registry, "half_open", 1),
            "breaker.opened" => changed(registry, "open", 2),
            "breaker.rejected" => registry.add(Metric::LimitRejections, &["breaker", pipeline, stage], 1),
            "rate.rejected" => registry.add(Metric::LimitRejections, &["rate", pipeline, stage], 1),
            "bulkhead.rejected" => registry.add(Metric::LimitRejections, &["bulkhead", pipeline, stage], 1),
            "rate.waited" => {
                registry.record_nanos(
                    Metric::LimitWait,
                    &["rate", pipeline, stage],
                    number(custom.field("waited_ns")).unwrap_or_default(),
                );
            }
            "bulkhead.waited" => {
                registry.record_nanos(
                    Metric::LimitWait,
                    &["bulkhead", pipeline, stage],
                    number(custom.field("waited_ns")).unwrap_or_default(),
                );
            }
            "admission.queued" => registry.add(Metric::Admissions, &[pipeline, "queued"], 1),
            "admission.shed" => registry.add(Metric::Admissions, &[pipeline, "shed"], 1),
            "admission.admitted" => {
                registry.add(Metric::Admissions, &[pipeline, "admitted"], 1);
                let waited = number(custom.field("waited_ms")).unwrap_or_default().saturating_mul(1_000_000);
                registry.record_nanos(Metric::AdmissionWait, &[pipeline], waited);
            }
            _ => {}
        }
    }

    /// The run is over, or nothing more is known of it.
    fn leave(self, registry: &mut Registry<Metric>) {
        let pipeline = self.info.snapshot().pipeline();
        registry.add(Metric::RunActive, &[pipeline], -1);
        for (stage, _) in self.started.iter().filter(|(_, meter)| meter.active) {
            registry.add(Metric::StageActive, &[pipeline, self.info.stages().stage_name(*stage)], -1);
        }
    }
}
