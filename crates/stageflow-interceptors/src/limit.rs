//! What the bulkhead and the rate limiter share: what happens without room, errors of building, and a bounded table of keys.

mod keyed;
#[cfg(test)]
mod tests;

use std::{error::Error, fmt, sync::Arc};

use stageflow_core::{Code, code, text::OneLine};

pub(crate) use self::keyed::{Idle, Keyed};

/// What a limit does with a call for which there is no room right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// The call waits for its turn, first come first served, and is refused if that would take too long.
    #[default]
    Wait,
    /// The call is refused at once, as a transient failure.
    Reject,
    /// The stage is skipped.
    Skip,
}

/// A limit cannot be built. Lists every problem, not only the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitBuildError {
    limit: Arc<str>,
    problems: Vec<String>,
}

impl LimitBuildError {
    /// Fails if there is a problem.
    pub(crate) fn check(limit: &Arc<str>, problems: Vec<String>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { limit: Arc::clone(limit), problems }) }
    }

    /// The name of the limit.
    pub fn limit(&self) -> &str {
        &self.limit
    }

    /// Every problem; never empty.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The code: `INVALID_POLICY`.
    pub fn code(&self) -> Code {
        code::INVALID_POLICY
    }
}

impl fmt::Display for LimitBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the limit `{}` cannot be built: {}", OneLine(&self.limit), self.problems.join("; "))
    }
}

impl Error for LimitBuildError {}
