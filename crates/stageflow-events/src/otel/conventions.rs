//! What spans and metrics say, by the semantic conventions: every name in one place, as the conventions move.
//!
//! Those of generative AI are in development; taken over is what is true of a pipeline. A run of a pipeline with a stage of the kind
//! `agent` is an `invoke_workflow`, such a stage an `invoke_agent`. Nothing else is claimed: a stage of another kind may well
//! call a tool or a model, and the library does not know.

use stageflow_core::{StageKind, event::StageNames};

use crate::metrics::names;

macro_rules! names {
    ($(#[doc = $doc:literal] $name:ident = $text:expr;)*) => {
        $(
            #[doc = $doc]
            pub const $name: &str = $text;
        )*

        /// All of them, each with what it is.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$(($text, $doc),)*];
    };
}

names! {
    /// The name of the instrumentation scope of everything that is made of events.
    SCOPE = "stageflow";

    /// The run's id.
    RUN_ID = "stageflow.run.id";
    /// How the run ended: `completed`, `completed_with_failures`, `failed`, `cancelled`, `denied` or `timed_out`.
    RUN_OUTCOME = names::RUN_OUTCOME;
    /// The id of the run that this one is a child of.
    PARENT_RUN_ID = "stageflow.parent.run.id";
    /// The pipeline's name.
    PIPELINE = names::PIPELINE;
    /// The tenant.
    TENANT = names::TENANT;
    /// The correlation id.
    CORRELATION = "stageflow.correlation.id";
    /// The request's id.
    REQUEST = "stageflow.request.id";
    /// The session's id, by the general conventions.
    SESSION = "session.id";
    /// The stage's name.
    STAGE = names::STAGE;
    /// The stage's kind.
    STAGE_KIND = names::STAGE_KIND;
    /// How the stage ended: `completed`, `skipped`, `failed`, `cancelled` or `blocked`; `unknown` if the event was lost.
    STAGE_OUTCOME = names::STAGE_OUTCOME;
    /// How many attempts there were.
    ATTEMPTS = "stageflow.stage.attempts";
    /// Which attempt this is, from 1.
    ATTEMPT = "stageflow.attempt";
    /// The stage whose failure blocked this one.
    BLOCKED_BY = "stageflow.blocked_by";
    /// Why a stage was skipped, or a stage or run was cancelled, as one word.
    CAUSE = "stageflow.cause";
    /// The run that a stage has started.
    CHILD_RUN_ID = "stageflow.child.run.id";
    /// True on a span part of which is not known, because events were lost.
    INCOMPLETE = "stageflow.incomplete";
    /// How many events were lost.
    LOST = "stageflow.events.lost";
    /// Whether another run may help, on a failure.
    RECOVERABLE = "stageflow.error.recoverable";
    /// The class of a failure.
    ERROR_CLASS = names::ERROR_CLASS;

    /// What failed: here the stable code of the failure.
    ERROR_TYPE = names::ERROR_TYPE;
    /// The error type of an attempt that asked for another one, and did not fail.
    RETRY_REQUESTED = "retry_requested";
    /// The event of a failure, by the general conventions.
    EXCEPTION = "exception";
    /// The type of the failure in that event.
    EXCEPTION_TYPE = "exception.type";
    /// Its message; only where messages are exported.
    EXCEPTION_MESSAGE = "exception.message";

    /// What a generative AI application does here.
    GEN_AI_OPERATION = "gen_ai.operation.name";
    /// The name of the workflow.
    GEN_AI_WORKFLOW = "gen_ai.workflow.name";
    /// The name of the agent.
    GEN_AI_AGENT = "gen_ai.agent.name";

    /// The name of the service that all this comes from.
    SERVICE_NAME = "service.name";
    /// True on the one series that takes what is above the limit of a metric.
    OVERFLOW = names::OVERFLOW;
}

/// What a run or a stage is to generative AI: operation, key of its name.
pub(crate) type Operation = Option<(&'static str, &'static str)>;

pub(crate) fn operation_of_run(stages: &dyn StageNames) -> Operation {
    stages.has_kind(StageKind::Agent).then_some(("invoke_workflow", GEN_AI_WORKFLOW))
}

pub(crate) fn operation_of_stage(kind: StageKind) -> Operation {
    (kind == StageKind::Agent).then_some(("invoke_agent", GEN_AI_AGENT))
}

/// The name of a span: few for each pipeline, whatever its runs are about.
pub(crate) fn span_name(operation: Operation, name: &str) -> String {
    operation.map_or_else(|| name.to_owned(), |(operation, _)| format!("{operation} {name}"))
}
