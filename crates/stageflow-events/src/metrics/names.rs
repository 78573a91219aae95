//! The keys of the attributes of metrics.

macro_rules! names {
    ($($name:ident = $text:literal, $what:literal;)*) => {
        $(
            #[doc = $what]
            pub(crate) const $name: &str = $text;
        )*

        /// All keys, each with what its values are.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$(($text, $what),)*];
    };
}

names! {
    PIPELINE = "stageflow.pipeline.name", "The pipeline's name.";
    TENANT = "stageflow.tenant.id", "The tenant; `_other` above the limit of tenants, and left out for runs without one, and for breakers that tenants share.";
    RUN_OUTCOME = "stageflow.run.outcome", "How the run ended: `completed`, `completed_with_failures`, `failed`, `cancelled`, `denied`, `timed_out`; `unknown` if the event was lost.";
    STAGE = "stageflow.stage.name", "The stage's name.";
    STAGE_KIND = "stageflow.stage.kind", "The stage's kind.";
    STAGE_OUTCOME = "stageflow.stage.outcome", "How the stage ended: `completed`, `failed`, `skipped`, `cancelled`, `blocked`; `unknown` if the event was lost.";
    ERROR_TYPE = "error.type", "The stable code of the failure.";
    ERROR_CLASS = "stageflow.error.class", "The class of the failure.";
    RETRY_OUTCOME = "stageflow.retry.outcome", "How retries ended: `recovered` or `exhausted`.";
    RETRY_BECAUSE = "stageflow.retry.because", "Why there was no further retry: `max_attempts`, `deadline`, `max_elapsed` or `budget`.";
    WAIT = "stageflow.wait.reason", "What was waited for: `permit`, `back_off`, `rate_limit`, `bulkhead`, `breaker` or `idempotency`.";
    LIMIT = "stageflow.limit", "What refuses: `breaker`, `bulkhead` or `rate`.";
    BREAKER = "stageflow.breaker.name", "The breaker: its dependency, or the pipeline and the stage that it is for.";
    STATE = "stageflow.breaker.state", "What the breaker became: `closed`, `half_open` or `open`.";
    DECISION = "stageflow.admission.decision", "What became of the run: `queued`, `admitted` or `shed`.";
    BUDGET = "stageflow.budget.kind", "What was used up: `retries` or `cost`.";
    ANSWER = "stageflow.answer", "Who answered in place of the stage: `fallback`, `fallback_failed` or `replay`.";
    DENIAL = "stageflow.denied.by", "Who denied: `auth` or `tenant`.";
    SINK = "stageflow.sink", "The sink, by the name it was given.";
    RESULT = "stageflow.sink.result", "What became of events: `delivered`, or why they were dropped.";
    SIGNAL = "stageflow.export.signal", "What is exported: `traces` or `metrics`.";
    EXPORT_RESULT = "stageflow.export.result", "What became of it: `exported`, `rejected`, or why it was dropped: `queue_full`, `refused`, `unreachable`, `tls` or `shutdown`.";
    OVERFLOW = "otel.metric.overflow", "`true` on the one series that takes what is above the limit of a metric, in place of all others.";
}
