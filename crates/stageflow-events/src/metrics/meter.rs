//! Makes metrics of events.

use std::sync::Arc;

use stageflow_core::{CustomEvent, DropReason, Event, EventKind, FieldValue, SinkAccount, WaitKind};

use super::{
    registry::{Registry, SeriesLimits},
    table::Metric,
};
use crate::{
    runs::MAX_RUNS,
    wide::{Seen, Tracker, WideIds, WideRecord, WideRun, WideStage},
    words::{number, text},
};

#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) registry: Registry,
    tracker: Tracker,
    seen: Vec<Seen>,
}

impl Meter {
    pub(crate) fn new(limits: SeriesLimits) -> Self {
        Self { registry: Registry::new(limits), tracker: Tracker::new(MAX_RUNS), seen: Vec::new() }
    }

    pub(crate) fn take(&mut self, event: &Event) {
        self.take_of(event, true);
    }

    /// Takes an event; `sampled` says whether spans are made of its run, where they are made at all.
    pub(crate) fn take_of(&mut self, event: &Event, sampled: bool) {
        let mut seen = std::mem::take(&mut self.seen);
        self.tracker.take(event, &mut seen);
        for one in seen.drain(..) {
            if let Seen::Opened(ids) = &one
                && !sampled
            {
                self.registry.add(Metric::Unsampled, &[&ids.pipeline, tenant(ids)], 1);
            }
            self.seen(&one);
        }
        self.seen = seen;
        match event.kind() {
            EventKind::Custom(custom) => self.custom(event, custom),
            EventKind::CleanUpFailed { .. } => self.count(Metric::CleanUpFailures, event, &[]),
            _ => {}
        }
    }

    /// Takes over what became of the events of a sink.
    pub(crate) fn account(&mut self, sink: &str, account: &SinkAccount) {
        self.set(Metric::SinkEvents, &[sink, "delivered"], account.delivered);
        for reason in DropReason::ALL {
            self.set(Metric::SinkEvents, &[sink, reason.as_str()], account.dropped_by(reason));
        }
        self.set(Metric::SinkInFlight, &[sink], account.in_flight);
    }

    /// Takes over a number that was counted elsewhere.
    pub(crate) fn set(&mut self, metric: Metric, values: &[&str], to: u64) {
        self.registry.set(metric, values, i64::try_from(to).unwrap_or(i64::MAX));
    }

    fn seen(&mut self, seen: &Seen) {
        let registry = &mut self.registry;
        let mut active = |ids: &Arc<WideIds>, amount| {
            registry.add(Metric::RunActive, &[&ids.pipeline, tenant(ids)], amount);
        };
        match seen {
            Seen::Opened(ids) => active(ids, 1),
            Seen::Closed(ids) => active(ids, -1),
            Seen::Active(ids, stage, is_active) => {
                let amount = if *is_active { 1 } else { -1 };
                registry.add(Metric::StageActive, &[&ids.pipeline, stage, tenant(ids)], amount);
            }
            Seen::Ended(WideRecord::Stage(stage)) => self.stage_ended(stage),
            Seen::Ended(WideRecord::Run(run)) => self.run_ended(run),
        }
    }

    fn stage_ended(&mut self, stage: &WideStage) {
        let registry = &mut self.registry;
        let (pipeline, name, tenant) =
            (stage.run.pipeline.as_str(), stage.stage.as_str(), tenant(&stage.run));
        if stage.attempts == 0 {
            registry.add(Metric::StageNotRun, &[pipeline, name, stage.outcome, tenant], 1);
        } else {
            let values = [pipeline, name, stage.outcome, tenant];
            registry.record(Metric::StageAttempts, &values, f64::from(stage.attempts));
        }
        if let Some(ran) = stage.ran_ns {
            let values = [pipeline, name, stage.kind.as_str(), stage.outcome, tenant];
            registry.record_nanos(Metric::StageDuration, &values, ran);
        }
        if let Some(queued) = stage.queued_ns {
            registry.record_nanos(Metric::StageQueued, &[pipeline, name, tenant], queued);
        }
        for wait in &stage.waits {
            let values = [pipeline, name, wait.reason.as_str(), tenant];
            registry.record_nanos(Metric::StageWait, &values, wait.total_ns);
        }
        if let (Some(code), Some(class)) = (stage.code, stage.class) {
            let class = class.to_string();
            registry.add(Metric::StageFailures, &[pipeline, name, code.as_str(), &class, tenant], 1);
        }
        if let Some(outcome) = stage.retry_outcome {
            let because = stage.retry_because.as_deref().unwrap_or_default();
            registry.add(Metric::RetryOutcomes, &[pipeline, name, outcome, because, tenant], 1);
        }
    }

    fn run_ended(&mut self, run: &WideRun) {
        let registry = &mut self.registry;
        let (pipeline, tenant) = (run.run.pipeline.as_str(), tenant(&run.run));
        registry.record_nanos(Metric::RunDuration, &[pipeline, run.outcome, tenant], run.ran_ns);
        if run.waits.iter().any(|wait| wait.reason == WaitKind::Admission) {
            registry.record_nanos(Metric::AdmissionWait, &[pipeline, tenant], run.queued_ns);
        }
        if run.lost_events > 0 {
            let lost = i64::try_from(run.lost_events).unwrap_or(i64::MAX);
            registry.add(Metric::EventsDropped, &[pipeline, tenant], lost);
        }
    }

    /// Counts an event of a stage: pipeline, stage, `values`, tenant.
    fn count(&mut self, metric: Metric, event: &Event, values: &[&str]) {
        let ends = (event.pipeline(), event.stage().unwrap_or_default(), event.tenant().unwrap_or_default());
        let mut all = vec![ends.0, ends.1];
        all.extend(values);
        all.push(ends.2);
        self.registry.add(metric, &all, 1);
    }

    fn custom(&mut self, event: &Event, custom: &CustomEvent) {
        let (pipeline, stage) = (event.pipeline(), event.stage().unwrap_or_default());
        let tenant = event.tenant().unwrap_or_default();
        let field = |key: &str| -> Option<&FieldValue> { custom.field(key) };
        match custom.name() {
            "stage.retry_scheduled" => {
                self.registry.add(Metric::Retries, &[pipeline, stage, tenant], 1);
                let delay = number(field("delay_ms")).unwrap_or(0).saturating_mul(1_000_000);
                self.registry.record_nanos(Metric::RetryDelay, &[pipeline, stage, tenant], delay);
            }
            "budget.exhausted" => {
                let kind = text(field("kind")).unwrap_or_default();
                self.registry.add(Metric::BudgetExhausted, &[pipeline, kind, tenant], 1);
            }
            "breaker.closed" => self.breaker(event, custom, "closed", 0),
            "breaker.half_open" => self.breaker(event, custom, "half_open", 1),
            "breaker.opened" => self.breaker(event, custom, "open", 2),
            "breaker.rejected" => self.rejected("breaker", event),
            "bulkhead.rejected" => self.rejected("bulkhead", event),
            "rate.rejected" => self.rejected("rate", event),
            "fallback.used" => self.count(Metric::Answers, event, &["fallback"]),
            "fallback.failed" => self.count(Metric::Answers, event, &["fallback_failed"]),
            "idempotency.replayed" => self.count(Metric::Answers, event, &["replay"]),
            "auth.denied" => self.count(Metric::Denials, event, &["auth"]),
            "tenant.denied" => self.count(Metric::Denials, event, &["tenant"]),
            "admission.queued" => self.registry.add(Metric::Admissions, &[pipeline, "queued", tenant], 1),
            "admission.admitted" => self.registry.add(Metric::Admissions, &[pipeline, "admitted", tenant], 1),
            "admission.shed" => self.registry.add(Metric::Admissions, &[pipeline, "shed", tenant], 1),
            _ => {}
        }
    }

    fn rejected(&mut self, limit: &str, event: &Event) {
        let (stage, tenant) = (event.stage().unwrap_or_default(), event.tenant().unwrap_or_default());
        self.registry.add(Metric::LimitRejections, &[limit, event.pipeline(), stage, tenant], 1);
    }

    fn breaker(&mut self, event: &Event, custom: &CustomEvent, state: &str, number: i64) {
        let key = text(custom.field("key")).unwrap_or_default();
        let breaker = text(custom.field("breaker")).unwrap_or(key);
        // A breaker of one tenant has it in its key; one that tenants share is no matter of the tenant whose call has changed it.
        let tenant = if key == breaker { "" } else { event.tenant().unwrap_or_default() };
        self.registry.set(Metric::BreakerState, &[breaker, tenant], number);
        self.registry.add(Metric::BreakerChanges, &[breaker, state, tenant], 1);
    }
}

fn tenant(ids: &WideIds) -> &str {
    ids.tenant.as_deref().unwrap_or_default()
}
