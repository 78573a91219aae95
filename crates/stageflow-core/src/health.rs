//! What the end of a call says about what was called.

use std::time::Duration;

use crate::exit::{ErrorClass, StageExit};

/// What a call says about the health of the dependency (rule S-25).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerOutcome {
    /// It answered.
    Success,
    /// It did not, or not in time.
    Failure {
        /// How long it asked to be left alone, if it did.
        retry_after: Option<Duration>,
    },
    /// Nothing: the call was cancelled, skipped, or refused before it got there.
    Neutral,
}

impl BreakerOutcome {
    /// What the end of a stage says.
    ///
    /// | end | counts as |
    /// |---|---|
    /// | an output | success |
    /// | a failure that is permanent or whose input is invalid: the caller's fault | success |
    /// | a failure that is transient, unclassified, a timeout or a panic; a wish to be retried | failure |
    /// | cancelled, skipped, denied | nothing |
    ///
    /// ```
    /// use stageflow_core::{BreakerOutcome, StageExit};
    ///
    /// assert_eq!(BreakerOutcome::of(&Ok("found")), BreakerOutcome::Success);
    /// assert_eq!(BreakerOutcome::of::<()>(&Err(StageExit::skip("cached"))), BreakerOutcome::Neutral);
    /// ```
    pub fn of<T>(done: &Result<T, StageExit>) -> Self {
        let Err(exit) = done else { return Self::Success };
        match exit.error_class() {
            None if exit.is_retry() => Self::Failure { retry_after: exit.retry_after() },
            None | Some(ErrorClass::Denied) => Self::Neutral,
            Some(ErrorClass::Permanent | ErrorClass::Invalid) => Self::Success,
            Some(_) => Self::Failure { retry_after: exit.retry_after() },
        }
    }
}
