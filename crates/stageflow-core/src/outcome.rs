//! How stages and runs end.

use std::{borrow::Cow, error::Error, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    code::Code,
    exit::{BoxError, ErrorClass},
    quota::QuotaExceeded,
};

/// How a stage ended: exactly one of these, for each stage of each run (rule S-5).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "status", content = "cause", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StageOutcome {
    /// It gave an output.
    Completed,
    /// It was left out, without error.
    Skipped(SkipCause),
    /// It failed.
    Failed(Failure),
    /// The run ended before it did.
    Cancelled(CancelCause),
    /// An input will never come, because the named stage failed.
    Blocked {
        /// The stage whose failure is the root of it.
        by: String,
    },
}

impl StageOutcome {
    /// The status as one word: `completed`, `skipped`, `failed`, `cancelled` or `blocked`.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Skipped(_) => "skipped",
            Self::Failed(_) => "failed",
            Self::Cancelled(_) => "cancelled",
            Self::Blocked { .. } => "blocked",
        }
    }

    /// Whether it gave an output.
    pub fn is_completed(&self) -> bool {
        matches!(self, Self::Completed)
    }
}

impl fmt::Display for StageOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::Skipped(cause) => write!(f, "skipped: {cause}"),
            Self::Failed(failure) => write!(f, "failed: {}", failure.message()),
            Self::Cancelled(cause) => write!(f, "cancelled: {cause}"),
            Self::Blocked { by } => write!(f, "blocked by `{by}`"),
        }
    }
}

/// Why a stage was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SkipCause {
    /// The stage returned [`StageExit::skip`](crate::StageExit::skip).
    Own {
        /// The reason it gave.
        reason: String,
    },
    /// A required input comes from a stage that was skipped.
    Upstream {
        /// That stage.
        stage: String,
    },
    /// Its `when` condition was false.
    NotTaken {
        /// The stage whose output decided.
        route: String,
    },
}

impl fmt::Display for SkipCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own { reason } => f.write_str(reason),
            Self::Upstream { stage } => write!(f, "`{stage}` was skipped"),
            Self::NotTaken { route } => write!(f, "branch not taken at `{route}`"),
        }
    }
}

/// Why a run, and with it a stage, was cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CancelCause {
    /// Somebody called `cancel` on the run's handle.
    Requested {
        /// The reason given.
        reason: String,
    },
    /// A stage returned [`StageExit::cancel`](crate::StageExit::cancel).
    Stage {
        /// That stage.
        stage: String,
        /// The reason it gave.
        reason: String,
    },
    /// Another stage failed and the policy does not go on.
    Failure {
        /// That stage.
        stage: String,
    },
    /// A call was denied.
    Denied {
        /// The stage whose call it was.
        stage: String,
    },
    /// An interceptor of the engine did not let the run in.
    NotAdmitted {
        /// Its name.
        by: String,
    },
    /// The run's deadline passed.
    Deadline,
    /// The run's future or handle was dropped.
    Dropped,
    /// The parent run was cancelled.
    Parent {
        /// Why the parent was.
        reason: String,
    },
    /// The engine was shut down.
    Shutdown,
    /// Another process has taken the run over, and goes on with it.
    TakenOver,
    /// The run waited to be let in, and a backpressure monitor gave up on it.
    Shed {
        /// What the monitor says.
        reason: String,
    },
    /// The tenant of the run has used up what it may use.
    Quota(Box<QuotaExceeded>),
}

impl fmt::Display for CancelCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested { reason } => f.write_str(reason),
            Self::Stage { stage, reason } => write!(f, "`{stage}` ended the run: {reason}"),
            Self::Failure { stage } => write!(f, "`{stage}` failed"),
            Self::Denied { stage } => write!(f, "`{stage}` was denied"),
            Self::NotAdmitted { by } => write!(f, "`{by}` did not let the run in"),
            Self::Deadline => f.write_str("the deadline passed"),
            Self::Dropped => f.write_str("the run was dropped"),
            Self::Parent { reason } => write!(f, "the parent run was cancelled: {reason}"),
            Self::Shutdown => f.write_str("the engine was shut down"),
            Self::TakenOver => f.write_str("another process has taken the run over"),
            Self::Shed { reason } => f.write_str(reason),
            Self::Quota(exceeded) => exceeded.fmt(f),
        }
    }
}

/// How a run ended (rule S-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunOutcome {
    /// No stage failed.
    Completed,
    /// Stages failed within what the policy tolerates, and the output is there.
    CompletedWithFailures,
    /// A failure took the output away, or was more than the policy tolerates.
    Failed,
    /// Somebody or something cancelled it.
    Cancelled,
    /// A call was denied, or the run as a whole.
    Denied,
    /// The deadline passed.
    TimedOut,
}

impl RunOutcome {
    /// The outcome as one word, as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::CompletedWithFailures => "completed_with_failures",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Denied => "denied",
            Self::TimedOut => "timed_out",
        }
    }
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A failure of a stage: code, stage, cause, hint and whether another run may help (rule S-33).
///
/// `Display` prints this level only; the cause is in [`source`](Error::source). Cheap to clone.
#[derive(Clone)]
pub struct Failure(Arc<FailureParts>);

struct FailureParts {
    code: Code,
    class: ErrorClass,
    stage: String,
    attempts: u32,
    error: BoxError,
    hint: Option<Cow<'static, str>>,
}

impl Failure {
    #[doc(hidden)]
    pub fn new(stage: &str, attempts: u32, spec: crate::exit::FailSpec) -> Self {
        Self(Arc::new(FailureParts {
            code: spec.code,
            class: spec.class,
            stage: stage.to_owned(),
            attempts,
            error: spec.error,
            hint: spec.hint,
        }))
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The class.
    pub fn class(&self) -> ErrorClass {
        self.0.class
    }

    /// The stage that failed; empty where the run was not let in, so that no stage has.
    pub fn stage(&self) -> &str {
        &self.0.stage
    }

    /// How many attempts were made.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The cause's own message.
    pub fn message(&self) -> String {
        self.0.error.to_string()
    }

    /// What usually helps.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref().or_else(|| self.0.code.hint())
    }

    /// Whether another run may succeed without a change of code or input.
    pub fn recoverable(&self) -> bool {
        matches!(self.0.class, ErrorClass::Transient | ErrorClass::Timeout)
    }

    /// The error the stage returned, to be downcast.
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0.error
    }
}

impl PartialEq for Failure {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.stage() == other.stage()
                && self.code() == other.code()
                && self.message() == other.message())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.stage.is_empty() {
            return write!(f, "the run was not let in [{}]", self.0.code);
        }
        write!(f, "stage `{}` failed", self.0.stage)?;
        if self.0.attempts > 1 {
            write!(f, " after {} attempts", self.0.attempts)?;
        }
        write!(f, " [{}]", self.0.code)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("code", &self.0.code.as_str())
            .field("stage", &self.0.stage)
            .field("class", &self.0.class)
            .field("cause", &self.0.error)
            .finish_non_exhaustive()
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0.error)
    }
}

impl Serialize for Failure {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("Failure", 7)?;
        out.serialize_field("code", &self.0.code)?;
        out.serialize_field("class", &self.0.class)?;
        out.serialize_field("stage", &self.0.stage)?;
        out.serialize_field("attempts", &self.0.attempts)?;
        out.serialize_field("cause", &self.message())?;
        out.serialize_field("hint", &self.hint())?;
        out.serialize_field("recoverable", &self.recoverable())?;
        out.end()
    }
}
