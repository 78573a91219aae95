//! What becomes of a stage that lets nothing pass: [`OnBlock`], and the error.

use std::{error::Error, fmt, sync::Arc};

use stageflow_core::{ErrorClass, StageExit, StageResult, code};

use super::{
    guarded::Guarded,
    objection::{Blocked, GuardFailure},
};

/// What becomes of a stage that lets nothing pass. In no case does the content that was blocked go on.
#[derive(Debug, Default)]
pub enum OnBlock<T> {
    /// It fails: with `GUARD_BLOCKED`, which is permanent, or with `GUARD_FAILED` and the class of the error where all that is
    /// objected is that guards have failed. What the failure means for the rest, the failure policy of the pipeline says.
    #[default]
    Fail,
    /// The whole run ends as denied, whatever its failure policy.
    Deny,
    /// The whole run ends as cancelled.
    Cancel,
    /// It is skipped, and with it what needs its output.
    Skip,
    /// It gives this instead: made by [`OnBlock::give`].
    Give(Arc<T>),
}

impl<T> OnBlock<T> {
    /// The stage gives `content` in the place of what was blocked; no guard is asked about it.
    pub fn give(content: impl Into<Arc<T>>) -> Self {
        Self::Give(content.into())
    }

    /// As one word, for the events.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Deny => "deny",
            Self::Cancel => "cancel",
            Self::Skip => "skip",
            Self::Give(_) => "give",
        }
    }

    /// Leaves the stage because of `what`, or with `fail`.
    pub(super) fn leave(&self, what: String, fail: impl FnOnce() -> StageExit) -> StageResult<Guarded<T>> {
        Err(match self {
            Self::Fail => fail(),
            Self::Deny => StageExit::deny(what).hint("read which guard objects and why"),
            Self::Cancel => StageExit::cancel(what),
            Self::Skip => StageExit::skip(what),
            Self::Give(content) => return Ok(Guarded::fallback(Arc::clone(content))),
        })
    }
}

impl<T> Clone for OnBlock<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Fail => Self::Fail,
            Self::Deny => Self::Deny,
            Self::Cancel => Self::Cancel,
            Self::Skip => Self::Skip,
            Self::Give(content) => Self::Give(Arc::clone(content)),
        }
    }
}

/// Guards have blocked: the cause of a failure with the code `GUARD_BLOCKED` or `GUARD_FAILED`. It names guards and reasons, and no
/// content.
#[derive(Debug)]
pub struct GuardBlocked {
    reasons: Vec<(Arc<str>, String)>,
    words: String,
    failure: Option<GuardFailure>,
}

impl GuardBlocked {
    pub(super) fn new<F>(blocked: &Blocked<F>) -> Self {
        let reasons = blocked.objections().iter();
        Self {
            reasons: reasons.map(|one| (Arc::clone(&one.guard), one.reason().to_string())).collect(),
            words: blocked.to_string(),
            failure: blocked.failure().cloned(),
        }
    }

    /// The names of the guards with their reasons, in the order of the guards.
    pub fn reasons(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.reasons.iter().map(|(guard, reason)| (&**guard, reason.as_str()))
    }

    /// How the stage fails of it.
    pub(super) fn into_exit(self) -> StageExit {
        let Some(failure) = self.failure.clone() else {
            return StageExit::failure(code::GUARD_BLOCKED, ErrorClass::Permanent, self.into());
        };
        let exit = StageExit::failure(code::GUARD_FAILED, failure.class(), self.into());
        failure.after.into_iter().fold(exit, StageExit::after)
    }
}

impl fmt::Display for GuardBlocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            None => write!(f, "the content was blocked: {}", self.words),
            Some(failure) => {
                write!(f, "no verdict, so the content was blocked: {} ({})", self.words, failure.code())
            }
        }
    }
}

impl Error for GuardBlocked {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failure.as_ref().map(|failure| failure.error() as _)
    }
}
