//! What a wide event says: everything about one stage, or one run, in one flat record.

use std::sync::Arc;

use serde::Serialize;
use stageflow_core::{Code, ErrorClass, Event, Failure, Priority, StageKind, WaitKind};

/// One wide event: one for each stage, and one for each run.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum WideRecord {
    /// A stage has ended.
    #[serde(rename = "stage.wide")]
    Stage(Box<WideStage>),
    /// A run has ended.
    #[serde(rename = "pipeline.wide")]
    Run(Box<WideRun>),
}

impl WideRecord {
    /// The name on the wire: `stage.wide` or `pipeline.wide`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stage(_) => "stage.wide",
            Self::Run(_) => "pipeline.wide",
        }
    }

    /// What all records of a run have in common.
    pub fn run(&self) -> &Arc<WideIds> {
        match self {
            Self::Stage(stage) => &stage.run,
            Self::Run(run) => &run.run,
        }
    }

    /// How the stage or the run ended, as one word; `unknown` if the events that say so were lost.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Stage(stage) => stage.outcome,
            Self::Run(run) => run.outcome,
        }
    }

    /// Whether events of the run were lost, so that numbers may be too low.
    pub fn is_incomplete(&self) -> bool {
        match self {
            Self::Stage(stage) => stage.incomplete,
            Self::Run(run) => run.incomplete,
        }
    }
}

/// The ids of a run, and what else all its records have in common.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WideIds {
    /// The run.
    pub run_id: String,
    /// The tenant, if it has one.
    pub tenant: Option<String>,
    /// The correlation id, if it has one.
    pub correlation_id: Option<String>,
    /// The trace, in 32 hexadecimal digits, if it has one.
    pub trace_id: Option<String>,
    /// The request, if it has one.
    pub request_id: Option<String>,
    /// The run that started this one, if one did.
    pub parent_run_id: Option<String>,
    /// The stage of that run.
    pub parent_stage: Option<String>,
    /// The pipeline.
    pub pipeline: String,
    /// How the pipeline is meant to behave, in the application's own words.
    pub execution_mode: Option<String>,
    /// How urgent it is.
    pub priority: Priority,
}

impl WideIds {
    pub(crate) fn of(event: &Event) -> Self {
        let snapshot = event.run().snapshot();
        let parent = snapshot.parent();
        Self {
            run_id: event.run_id().to_string(),
            tenant: event.tenant().map(str::to_owned),
            correlation_id: event.correlation_id().map(str::to_owned),
            trace_id: Some(event.trace_id()),
            request_id: snapshot.identity().request_id().map(|id| id.as_str().to_owned()),
            parent_run_id: parent.map(|parent| parent.run.to_string()),
            parent_stage: parent.map(|parent| parent.stage.clone()),
            pipeline: event.pipeline().to_owned(),
            execution_mode: snapshot.execution_mode().map(str::to_owned),
            priority: snapshot.priority(),
        }
    }
}

/// What policies did. All numbers count events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WideDecisions {
    /// Calls that a breaker refused.
    pub breaker_rejected: u64,
    /// Calls that a bulkhead refused.
    pub bulkhead_rejected: u64,
    /// Calls that a rate limit refused.
    pub rate_rejected: u64,
    /// Outputs that a fallback gave.
    pub fallback_used: u64,
    /// Fallbacks that failed as well.
    pub fallback_failed: u64,
    /// Calls that were answered from a store.
    pub replayed: u64,
    /// Calls that authentication or a tenant guard denied; of a run, as well those that were about it as a whole.
    pub denied: u64,
}

impl WideDecisions {
    /// Counts an event of a policy.
    pub(crate) fn count(&mut self, name: &str) {
        let number = match name {
            "breaker.rejected" => &mut self.breaker_rejected,
            "bulkhead.rejected" => &mut self.bulkhead_rejected,
            "rate.rejected" => &mut self.rate_rejected,
            "fallback.used" => &mut self.fallback_used,
            "fallback.failed" => &mut self.fallback_failed,
            "idempotency.replayed" => &mut self.replayed,
            "auth.denied" | "tenant.denied" => &mut self.denied,
            _ => return,
        };
        *number += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.breaker_rejected += other.breaker_rejected;
        self.bulkhead_rejected += other.bulkhead_rejected;
        self.rate_rejected += other.rate_rejected;
        self.fallback_used += other.fallback_used;
        self.fallback_failed += other.fallback_failed;
        self.replayed += other.replayed;
        self.denied += other.denied;
    }
}

/// How often something was waited for, and how long in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WideWait {
    /// For what.
    pub reason: WaitKind,
    /// How often.
    pub count: u64,
    /// How long in all, in nanoseconds.
    pub total_ns: u64,
}

/// Adds waits of one kind.
pub(crate) fn add_wait(waits: &mut Vec<WideWait>, reason: WaitKind, count: u64, total_ns: u64) {
    match waits.iter_mut().find(|wait| wait.reason == reason) {
        Some(wait) => {
            wait.count += count;
            wait.total_ns += total_ns;
        }
        None => waits.push(WideWait { reason, count, total_ns }),
    }
}

/// Everything about one stage of one run. Payloads and texts of errors are not in it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WideStage {
    /// The ids of the run.
    #[serde(flatten)]
    pub run: Arc<WideIds>,
    /// The stage.
    pub stage: String,
    /// Its kind.
    pub kind: StageKind,
    /// `completed`, `failed`, `skipped`, `cancelled`, `blocked` or `unknown`.
    pub outcome: &'static str,
    /// The code of the failure, if it failed.
    pub code: Option<Code>,
    /// The class of the failure, if it failed.
    pub class: Option<ErrorClass>,
    /// Why it was skipped or cancelled, as one word.
    pub cause: Option<&'static str>,
    /// The stage whose failure blocked it.
    pub blocked_by: Option<String>,
    /// How many attempts were started.
    pub attempts: u32,
    /// Retries that were announced.
    pub retries: u64,
    /// `recovered` or `exhausted`, if there were retries and it is known how that ended.
    pub retry_outcome: Option<&'static str>,
    /// Why there was no further retry: `max_attempts`, `deadline`, `max_elapsed` or `budget`.
    pub retry_because: Option<String>,
    /// Time from the end of the last stage it waited for to its first attempt, in nanoseconds; `None` if it never ran.
    pub queued_ns: Option<u64>,
    /// Time from its first attempt to its end, in nanoseconds; `None` if it never ran.
    pub ran_ns: Option<u64>,
    /// What it waited for, where that was anything.
    pub waits: Vec<WideWait>,
    /// What policies did.
    #[serde(flatten)]
    pub decisions: WideDecisions,
    /// The run it started, if it is a pipeline; the last, if it was tried again.
    pub child_run_id: Option<String>,
    /// Whether events of the run were lost before it ended, so that numbers may be too low.
    pub incomplete: bool,
}

/// Everything about one run. Payloads and texts of errors are not in it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WideRun {
    /// The ids of the run.
    #[serde(flatten)]
    pub run: Arc<WideIds>,
    /// `completed`, `completed_with_failures`, `failed`, `cancelled`, `denied`, `timed_out` or `unknown`.
    pub outcome: &'static str,
    /// The code of the first failure, if there was one.
    pub code: Option<Code>,
    /// The class of the first failure, if there was one.
    pub class: Option<ErrorClass>,
    /// The stage that failed first.
    pub failed_stage: Option<String>,
    /// Why it was cancelled, as one word.
    pub cause: Option<&'static str>,
    /// When it started, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// How long it waited to be let in, in nanoseconds; 0 if it did not have to.
    pub queued_ns: u64,
    /// How long it took, in nanoseconds, the wait to be let in included.
    pub ran_ns: u64,
    /// How many stages ended how.
    pub stages: WideStages,
    /// All attempts of all stages.
    pub attempts: u64,
    /// All retries of all stages.
    pub retries: u64,
    /// What its stages waited for, added up, and what the run itself did.
    pub waits: Vec<WideWait>,
    /// What policies did in all its stages.
    #[serde(flatten)]
    pub decisions: WideDecisions,
    /// The cost that it and its child runs have spent, if it has a budget of its own and used it.
    pub cost: Option<u64>,
    /// Runs that its stages started.
    pub child_runs: u64,
    /// Clean-ups that went wrong.
    pub cleanup_failures: u64,
    /// Events of the run that this sink was not told of.
    pub lost_events: u64,
    /// Whether there were such events, so that numbers may be too low.
    pub incomplete: bool,
}

/// How many stages ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WideStages {
    /// They gave an output.
    pub completed: u64,
    /// They failed.
    pub failed: u64,
    /// They were left out.
    pub skipped: u64,
    /// The run ended before they did.
    pub cancelled: u64,
    /// An input never came.
    pub blocked: u64,
    /// The events that say it were lost.
    pub unknown: u64,
}

impl WideStages {
    pub(crate) fn count(&mut self, outcome: &str) {
        *match outcome {
            "completed" => &mut self.completed,
            "failed" => &mut self.failed,
            "skipped" => &mut self.skipped,
            "cancelled" => &mut self.cancelled,
            "blocked" => &mut self.blocked,
            _ => &mut self.unknown,
        } += 1;
    }

    /// All stages of the run.
    pub fn total(&self) -> u64 {
        self.completed + self.failed + self.skipped + self.cancelled + self.blocked + self.unknown
    }
}

/// The code and the class of a failure.
pub(crate) fn failure_words(failure: &Failure) -> (Option<Code>, Option<ErrorClass>) {
    (Some(failure.code()), Some(failure.class()))
}
