//! Metrics of events.

mod registry;
mod table;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use opentelemetry_proto::tonic::metrics::v1::Metric as Otlp;
use stageflow_core::{CustomEvent, Event, EventKind, FieldValue, RunInfo, time::nanos};

pub(crate) use self::registry::SeriesLimits;
pub use self::table::{METRICS, MetricKind, MetricSpec};
use self::{registry::Registry, table::Metric};
use super::{
    account::{ExportAccount, Signal},
    runs::{MAX_RUNS, Runs},
};

/// Makes metrics of events.
#[derive(Debug)]
pub(crate) struct Meter {
    registry: Registry,
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
        Self { registry: Registry::new(limits), runs: Runs::new(MAX_RUNS) }
    }

    /// Takes an event; `sampled` says whether the run is recorded.
    pub(crate) fn take(&mut self, event: &Event, sampled: bool) {
        let Self { registry, runs } = self;
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
            registry.record(Metric::RunDuration, &values, nanos(event.elapsed()));
            if let Some(run) = runs.remove(event.run_id()) {
                run.leave(registry);
            }
        }
    }

    /// All metrics, with the accounts of the exporter, and the number of data points.
    pub(crate) fn collect(&mut self, accounts: [(Signal, ExportAccount); 2]) -> (Vec<Otlp>, u64) {
        for (signal, account) in accounts {
            for (result, count) in account.results() {
                self.registry.set_count(Metric::ExportItems, &[signal.as_str(), result], count);
            }
            self.registry.set_count(Metric::ExportQueued, &[signal.as_str()], account.in_flight);
        }
        self.registry.collect()
    }
}

impl RunMeter {
    fn take(&mut self, event: &Event, registry: &mut Registry) {
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

    fn start(&mut self, stage: u32, name: &str, now: u64, registry: &mut Registry) {
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
            registry.record(Metric::StageQueued, &[pipeline, name], now - ready);
        }
    }

    fn end(
        &mut self,
        event: &Event,
        (stage, name, outcome): (u32, &str, &str),
        now: u64,
        registry: &mut Registry,
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
        registry.record(Metric::StageDuration, &[pipeline, name, kind, outcome], took);
    }

    fn custom(&mut self, event: &Event, custom: &CustomEvent, registry: &mut Registry) {
        let (pipeline, stage) = (event.pipeline(), event.stage().unwrap_or_default());
        let key = || text(custom, "key");
        let changed = |registry: &mut Registry, state: &str, number| {
            registry.set(Metric::BreakerState, &[key()], number);
            registry.add(Metric::BreakerChanges, &[key(), state], 1);
        };
        match custom.name() {
            "stage.retry_scheduled" => {
                registry.add(Metric::Retries, &[pipeline, stage], 1);
                let delay = number(custom, "delay_ms").saturating_mul(1_000_000);
                registry.record(Metric::RetryDelay, &[pipeline, stage], delay);
                let meter = event.stage_index().and_then(|index| self.started.get_mut(&index));
                if meter.is_some_and(|meter| std::mem::take(&mut meter.active)) {
                    registry.add(Metric::StageActive, &[pipeline, stage], -1);
                }
            }
            "budget.exhausted" => registry.add(Metric::BudgetExhausted, &[pipeline, text(custom, "kind")], 1),
            "breaker.closed" => changed(registry, "closed", 0),
            "breaker.half_open" => changed(registry, "half_open", 1),
            "breaker.opened" => changed(registry, "open", 2),
            "breaker.rejected" => registry.add(Metric::LimitRejections, &["breaker", pipeline, stage], 1),
            "rate.rejected" => registry.add(Metric::LimitRejections, &["rate", pipeline, stage], 1),
            "bulkhead.rejected" => registry.add(Metric::LimitRejections, &["bulkhead", pipeline, stage], 1),
            "rate.waited" => {
                registry.record(Metric::LimitWait, &["rate", pipeline, stage], number(custom, "waited_ns"));
            }
            "bulkhead.waited" => {
                registry.record(
                    Metric::LimitWait,
                    &["bulkhead", pipeline, stage],
                    number(custom, "waited_ns"),
                );
            }
            "admission.queued" => registry.add(Metric::Admissions, &[pipeline, "queued"], 1),
            "admission.shed" => registry.add(Metric::Admissions, &[pipeline, "shed"], 1),
            "admission.admitted" => {
                registry.add(Metric::Admissions, &[pipeline, "admitted"], 1);
                let waited = number(custom, "waited_ms").saturating_mul(1_000_000);
                registry.record(Metric::AdmissionWait, &[pipeline], waited);
            }
            _ => {}
        }
    }

    /// The run is over, or nothing more is known of it.
    fn leave(self, registry: &mut Registry) {
        let pipeline = self.info.snapshot().pipeline();
        registry.add(Metric::RunActive, &[pipeline], -1);
        for (stage, meter) in self.started.iter().filter(|(_, meter)| meter.active) {
            let _ = meter;
            registry.add(Metric::StageActive, &[pipeline, self.info.stages().stage_name(*stage)], -1);
        }
    }
}

fn text<'a>(event: &'a CustomEvent, key: &str) -> &'a str {
    if let Some(FieldValue::Text(text)) = event.field(key) { text } else { "" }
}

fn number(event: &CustomEvent, key: &str) -> u64 {
    match event.field(key) {
        Some(FieldValue::Int(number)) => u64::try_from(*number).unwrap_or(0),
        Some(FieldValue::Text(text)) => text.parse().unwrap_or(0),
        _ => 0,
    }
}
