//! How much an event matters when there is no room for all.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::EventKind;

/// How much an event matters when there is no room for every event.
///
/// | class | events |
/// |---|---|
/// | terminal | the end of a stage or a run, `pipeline.cleanup_failed`, `events.gap`; of policies and stages: `audit.…`, `auth.…`, `journal.…`, `tenant.…` |
/// | decision | `breaker.…`, `bulkhead.…`, `fallback.…`, `fan_out.…`, `guard.…`, `guard_retry.…`, `idempotency.…`, `limit.…`, `pause.…`, `rate.…`, `retry.…`, `route.…`, `context.…`, `stage.restored`, and of a stage's own `stage.retry_…` |
/// | progress | `pipeline.started`, `stage.started`, `pipeline.child_started`, every other event of a stage's own |
/// | debug | `debug.…`, `trace.…` |
///
/// ```
/// use stageflow_core::{EventClass, EventKind};
///
/// assert_eq!(EventKind::StageCompleted.class(), EventClass::Terminal);
/// assert_eq!(EventClass::of_name("breaker.opened"), EventClass::Decision);
/// assert_eq!(EventClass::of_name("tokens.received"), EventClass::Progress);
/// assert!(EventClass::Terminal < EventClass::Debug);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventClass {
    /// Ends, denials, and what an auditor asks for.
    Terminal,
    /// What a policy has decided.
    Decision,
    /// That something goes on.
    Progress,
    /// What only developers look at.
    Debug,
}

impl EventClass {
    /// All classes, in the order of their weight.
    pub const ALL: [Self; 4] = [Self::Terminal, Self::Decision, Self::Progress, Self::Debug];

    /// The class of an event.
    pub fn of(kind: &EventKind) -> Self {
        match kind {
            EventKind::PipelineStarted | EventKind::StageStarted | EventKind::ChildStarted { .. } => {
                Self::Progress
            }
            EventKind::Custom(event) => Self::of_name(event.name()),
            EventKind::PipelineEnded { .. }
            | EventKind::StageCompleted
            | EventKind::StageFailed(_)
            | EventKind::StageSkipped(_)
            | EventKind::StageCancelled(_)
            | EventKind::StageBlocked { .. }
            | EventKind::CleanUpFailed { .. }
            | EventKind::Gap { .. } => Self::Terminal,
        }
    }

    /// The class of an event of a stage's or a policy's own, by its name.
    pub fn of_name(name: &str) -> Self {
        match name {
            "saga.stuck" => return Self::Terminal, // Somebody has to do something about it.
            "stage.restored" => return Self::Decision,
            _ => {}
        }
        match name.split_once('.').map_or(name, |(space, _)| space) {
            "audit" | "auth" | "journal" | "tenant" => Self::Terminal,
            "batch" | "breaker" | "bulkhead" | "context" | "fallback" | "fan_out" | "guard"
            | "guard_retry" | "idempotency" | "limit" | "pause" | "quota" | "rate" | "retry" | "route"
            | "saga" => Self::Decision,
            "debug" | "trace" => Self::Debug,
            "stage" if name.starts_with("stage.retry_") => Self::Decision,
            _ => Self::Progress,
        }
    }

    /// As one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Decision => "decision",
            Self::Progress => "progress",
            Self::Debug => "debug",
        }
    }
}

impl fmt::Display for EventClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
