//! Every metric: name, unit, kind, description and attributes, in one table from which all else is made.

use crate::otel::conventions as names;

/// What kind of instrument a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetricKind {
    /// A number that only grows.
    Counter,
    /// A number that grows and shrinks.
    UpDownCounter,
    /// A number as of now.
    Gauge,
    /// How often values were how large: the upper bounds of the buckets, included; a last one takes what is above.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MetricSpec {
    /// The name.
    pub name: &'static str,
    /// The unit, in UCUM.
    pub unit: &'static str,
    /// The kind.
    pub kind: MetricKind,
    /// What is measured, in a sentence.
    pub description: &'static str,
    /// The keys of its attributes; an attribute whose value is not known is left out.
    pub attributes: &'static [&'static str],
}

/// In seconds: from a quarter of a millisecond, as many stages take less, to ten minutes.
const SECONDS: &[f64] = &[
    0.000_25, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    120.0, 300.0, 600.0,
];

/// The state of a breaker.
pub(crate) const KEY: &str = "stageflow.breaker.key";
/// What a breaker became: `closed`, `half_open` or `open`.
pub(crate) const STATE: &str = "stageflow.breaker.state";
/// What limits: `rate`, `bulkhead` or `breaker`.
pub(crate) const LIMIT: &str = "stageflow.limit";
/// What became of a run at the entry: `queued`, `admitted` or `shed`.
pub(crate) const DECISION: &str = "stageflow.admission.decision";
/// Which part of a budget was used up: `retries` or `cost`.
pub(crate) const BUDGET: &str = "stageflow.budget.kind";
/// `traces` or `metrics`.
pub(crate) const SIGNAL: &str = "stageflow.export.signal";
/// `exported`, or why not.
pub(crate) const RESULT: &str = "stageflow.export.result";

macro_rules! metrics {
    ($($id:ident $name:literal [$unit:literal] $kind:expr, $description:literal, [$($key:expr),*];)*) => {
        /// A metric, by its place in [`METRICS`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Metric { $($id,)* }

        /// All metrics.
        ///
        /// ```
        /// use stageflow_events::otel::METRICS;
        ///
        /// for metric in METRICS {
        ///     println!("{} [{}] by {}: {}", metric.name, metric.unit, metric.attributes.join(", "), metric.description);
        /// }
        /// ```
        pub const METRICS: &[MetricSpec] = &[$(MetricSpec {
            name: $name,
            unit: $unit,
            kind: $kind,
            description: $description,
            attributes: &[$($key),*],
        },)*];
    };
}

use MetricKind::{Counter, Gauge, Histogram, UpDownCounter};

metrics! {
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
