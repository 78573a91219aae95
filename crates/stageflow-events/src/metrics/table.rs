//! Every metric: name, unit, kind, description and attributes, in one table from which all else is made.

use super::names;

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

impl MetricKind {
    /// As one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::UpDownCounter => "up-down counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// Where the numbers of a metric are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricSource {
    /// The events of runs.
    Events,
    /// The accounts of sinks, as of the last [`set_sink`](crate::Metrics::set_sink).
    Sinks,
    /// The exporter of OpenTelemetry, which alone has it.
    Exporter,
}

impl MetricSource {
    /// As one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Sinks => "sinks",
            Self::Exporter => "exporter",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MetricSpec {
    /// The name, by the conventions of OpenTelemetry.
    pub name: &'static str,
    /// The unit, in UCUM.
    pub unit: &'static str,
    /// The kind.
    pub kind: MetricKind,
    /// Where its numbers are from.
    pub source: MetricSource,
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

const ATTEMPTS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0];

/// The table of metrics, and an enum of their places in it.
macro_rules! metrics {
    ($(#[$doc:meta])* $table:ident: $($source:ident { $($id:ident $name:literal [$unit:literal] $kind:expr, $description:literal, [$($key:expr),*];)* })*) => {
        /// A metric, by its place in the table.
        #[cfg_attr(
            not(any(test, feature = "otlp-grpc", feature = "otlp-http")),
            expect(dead_code, reason = "there is no exporter")
        )]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Metric { $($($id,)*)* }

        #[cfg(test)]
        impl Metric {
            pub(crate) const ALL: &[Self] = &[$($(Self::$id,)*)*];
        }

        $(#[$doc])*
        pub const $table: &[MetricSpec] = &[$($(MetricSpec {
            name: $name,
            unit: $unit,
            kind: $kind,
            source: MetricSource::$source,
            description: $description,
            attributes: &[$($key),*],
        },)*)*];
    };
}

use MetricKind::{Counter, Gauge, Histogram, UpDownCounter};

metrics! {
    /// All metrics. Each that is made of events has the tenant among its attributes.
    ///
    /// ```
    /// use stageflow_events::METRICS;
    ///
    /// for metric in METRICS {
    ///     println!("{} [{}] by {}: {}", metric.name, metric.unit, metric.attributes.join(", "), metric.description);
    /// }
    /// ```
    METRICS:
    Events {
        RunDuration "stageflow.run.duration" ["s"] Histogram(SECONDS),
            "Time from the start of a run to its end.", [names::PIPELINE, names::RUN_OUTCOME, names::TENANT];
        RunActive "stageflow.run.active" ["{run}"] UpDownCounter,
            "Runs that have started and not ended.", [names::PIPELINE, names::TENANT];
        StageDuration "stageflow.stage.duration" ["s"] Histogram(SECONDS),
            "Time from the start of a stage's first attempt to the end of the stage.", [names::PIPELINE, names::STAGE, names::STAGE_KIND, names::STAGE_OUTCOME, names::TENANT];
        StageQueued "stageflow.stage.queue_time" ["s"] Histogram(SECONDS),
            "Time from the end of the last stage that a stage waited for to its first attempt: for a worker, a permit or a policy.", [names::PIPELINE, names::STAGE, names::TENANT];
        StageWait "stageflow.stage.wait" ["s"] Histogram(SECONDS),
            "Time that a stage has waited, by what for, where it had to; added up over its attempts.", [names::PIPELINE, names::STAGE, names::WAIT, names::TENANT];
        StageActive "stageflow.stage.active" ["{attempt}"] UpDownCounter,
            "Attempts that have started and not ended.", [names::PIPELINE, names::STAGE, names::TENANT];
        StageNotRun "stageflow.stage.not_run" ["{stage}"] Counter,
            "Stages that ended without an attempt.", [names::PIPELINE, names::STAGE, names::STAGE_OUTCOME, names::TENANT];
        StageFailures "stageflow.stage.failures" ["{failure}"] Counter,
            "Stages that failed, by the code and the class of the failure.", [names::PIPELINE, names::STAGE, names::ERROR_TYPE, names::ERROR_CLASS, names::TENANT];
        StageAttempts "stageflow.stage.attempts" ["{attempt}"] Histogram(ATTEMPTS),
            "Attempts of a stage, where there were any.", [names::PIPELINE, names::STAGE, names::STAGE_OUTCOME, names::TENANT];
        Retries "stageflow.stage.retries" ["{retry}"] Counter,
            "Further attempts that were announced.", [names::PIPELINE, names::STAGE, names::TENANT];
        RetryDelay "stageflow.stage.retry_delay" ["s"] Histogram(SECONDS),
            "Time that is to be waited before a further attempt.", [names::PIPELINE, names::STAGE, names::TENANT];
        RetryOutcomes "stageflow.stage.retry_outcomes" ["{stage}"] Counter,
            "Stages that were tried again, by how that ended.", [names::PIPELINE, names::STAGE, names::RETRY_OUTCOME, names::RETRY_BECAUSE, names::TENANT];
        Answers "stageflow.stage.answers" ["{call}"] Counter,
            "Calls that something else than the stage has answered.", [names::PIPELINE, names::STAGE, names::ANSWER, names::TENANT];
        Denials "stageflow.stage.denials" ["{call}"] Counter,
            "Calls, and runs as a whole, that authentication or a tenant guard has denied.", [names::PIPELINE, names::STAGE, names::DENIAL, names::TENANT];
        LimitRejections "stageflow.limit.rejections" ["{call}"] Counter,
            "Calls that a rate limit, a bulkhead or a breaker has refused.", [names::LIMIT, names::PIPELINE, names::STAGE, names::TENANT];
        BudgetExhausted "stageflow.budget.exhausted" ["{run}"] Counter,
            "Budgets of runs that had nothing left when something was asked of them.", [names::PIPELINE, names::BUDGET, names::TENANT];
        BreakerState "stageflow.breaker.state" ["1"] Gauge,
            "State of a circuit breaker: 0 closed, 1 half open, 2 open.", [names::BREAKER, names::TENANT];
        BreakerChanges "stageflow.breaker.transitions" ["{transition}"] Counter,
            "Changes of the state of a circuit breaker, by the state after.", [names::BREAKER, names::STATE, names::TENANT];
        Admissions "stageflow.admission.decisions" ["{run}"] Counter,
            "What became of runs that had to wait to be let in.", [names::PIPELINE, names::DECISION, names::TENANT];
        AdmissionWait "stageflow.admission.wait" ["s"] Histogram(SECONDS),
            "Time that a run has waited to be let in, where it had to.", [names::PIPELINE, names::TENANT];
        CleanUpFailures "stageflow.cleanup.failures" ["{clean-up}"] Counter,
            "Clean-ups that failed or took too long.", [names::PIPELINE, names::STAGE, names::TENANT];
        EventsDropped "stageflow.events.dropped" ["{event}"] Counter,
            "Events of ended runs that never came here, so that metrics lack them.", [names::PIPELINE, names::TENANT];
    }
    Sinks {
        SinkEvents "stageflow.sink.events" ["{event}"] Counter,
            "Events of a sink, by what became of them.", [names::SINK, names::RESULT];
        SinkInFlight "stageflow.sink.in_flight" ["{event}"] Gauge,
            "Events on their way to a sink.", [names::SINK];
    }
    Exporter {
        Unsampled "stageflow.export.unsampled" ["{run}"] Counter,
            "Runs that the sampler has left out of the traces.", [names::PIPELINE, names::TENANT];
        ExportItems "stageflow.export.items" ["{item}"] Counter,
            "Spans and data points that left, or were lost on the way to the collector.", [names::SIGNAL, names::EXPORT_RESULT];
        ExportQueued "stageflow.export.queued" ["{item}"] Gauge,
            "Spans and data points on their way to the collector.", [names::SIGNAL];
    }
}
