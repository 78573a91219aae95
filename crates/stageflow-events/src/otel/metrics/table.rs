//! Every metric: name, unit, kind, description and attributes, in one table from which all else is made.

use crate::{
    metrics::{
        MetricKind,
        names::{BUDGET, DECISION, KEY, LIMIT, STATE},
        table::{SECONDS, metrics},
    },
    otel::conventions as names,
};

/// `traces` or `metrics`.
pub(crate) const SIGNAL: &str = "stageflow.export.signal";
/// `exported`, or why not.
pub(crate) const RESULT: &str = "stageflow.export.result";

use MetricKind::{Counter, Gauge, Histogram, UpDownCounter};

metrics! {
    /// All metrics.
    ///
    /// ```
    /// use stageflow_events::otel::METRICS;
    ///
    /// for metric in METRICS {
    ///     println!("{} [{}] by {}: {}", metric.name, metric.unit, metric.attributes.join(", "), metric.description);
    /// }
    /// ```
    METRICS:
    RunDuration "stageflow.run.duration" ["s"] Histogram(SECONDS),
        "Time from the start of a run to its end.", [names::PIPELINE, names::RUN_OUTCOME, names::TENANT];
    RunActive "stageflow.run.active" ["{run}"] UpDownCounter,
        "Runs that have started and not ended.", [names::PIPELINE];
    StageDuration "stageflow.stage.duration" ["s"] Histogram(SECONDS),
        "Time from the start of a stage's first attempt to the end of the stage.",
        [names::PIPELINE, names::STAGE, names::STAGE_KIND, names::STAGE_OUTCOME];
    StageQueued "stageflow.stage.queue_time" ["s"] Histogram(SECONDS),
        "Time from the end of the last stage that a stage waited for to its first attempt: for a worker, a permit or a policy.",
        [names::PIPELINE, names::STAGE];
    StageActive "stageflow.stage.active" ["{attempt}"] UpDownCounter,
        "Attempts that have started and not ended.", [names::PIPELINE, names::STAGE];
    StageNotRun "stageflow.stage.not_run" ["{stage}"] Counter,
        "Stages that ended without an attempt.", [names::PIPELINE, names::STAGE, names::STAGE_OUTCOME];
    StageFailures "stageflow.stage.failures" ["{failure}"] Counter,
        "Stages that failed, by the code of the failure.", [names::PIPELINE, names::STAGE, names::ERROR_TYPE, names::TENANT];
    Retries "stageflow.stage.retries" ["{retry}"] Counter,
        "Further attempts that were announced.", [names::PIPELINE, names::STAGE];
    RetryDelay "stageflow.stage.retry_delay" ["s"] Histogram(SECONDS),
        "Time that is waited before a further attempt.", [names::PIPELINE, names::STAGE];
    BudgetExhausted "stageflow.budget.exhausted" ["{run}"] Counter,
        "Budgets of runs that had nothing left when something was asked of them.", [names::PIPELINE, BUDGET];
    BreakerState "stageflow.breaker.state" ["1"] Gauge,
        "State of a circuit breaker: 0 closed, 1 half open, 2 open.", [KEY];
    BreakerChanges "stageflow.breaker.transitions" ["{transition}"] Counter,
        "Changes of the state of a circuit breaker, by the state after.", [KEY, STATE];
    LimitRejections "stageflow.limit.rejections" ["{call}"] Counter,
        "Calls that a rate limit, a bulkhead or a breaker has refused.", [LIMIT, names::PIPELINE, names::STAGE];
    LimitWait "stageflow.limit.wait" ["s"] Histogram(SECONDS),
        "Time that a call has waited for a rate limit or a bulkhead, where it had to.", [LIMIT, names::PIPELINE, names::STAGE];
    Admissions "stageflow.admission.decisions" ["{run}"] Counter,
        "What became of runs that had to wait at the entry.", [names::PIPELINE, DECISION];
    AdmissionWait "stageflow.admission.wait" ["s"] Histogram(SECONDS),
        "Time that a run has waited at the entry.", [names::PIPELINE];
    EventsDropped "stageflow.events.dropped" ["{event}"] Counter,
        "Events that never came here, so that spans and metrics lack them.", [names::PIPELINE];
    Unsampled "stageflow.export.unsampled" ["{run}"] Counter,
        "Runs that the sampler has left out.", [names::PIPELINE];
    ExportItems "stageflow.export.items" ["{item}"] Counter,
        "Spans and data points that left, or were lost on the way to the collector.", [SIGNAL, RESULT];
    ExportQueued "stageflow.export.queued" ["{item}"] Gauge,
        "Spans and data points on their way to the collector.", [SIGNAL];
}
