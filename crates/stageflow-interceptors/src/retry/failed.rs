//! What several failed attempts leave behind: the last error, and the first where it was another.

use std::{error::Error, fmt};

use stageflow_core::{
    BoxError, ErrorClass, StageExit, code,
    exit::{Exit, FailSpec},
};

/// What the attempts before the last have said.
#[derive(Debug, Default)]
pub(super) struct Failures {
    first: Option<String>,
    /// Why the breaker that has refused the last attempt is not waited for.
    pub(super) not_awaited: Option<String>,
}

impl Failures {
    pub(super) fn note(&mut self, exit: &StageExit) {
        if self.first.is_none() {
            self.first = Some(exit.to_string());
        }
    }

    /// The exit of the last attempt, with what came before it. A request for a retry that is not granted is a failure.
    pub(super) fn last(self, exit: StageExit, attempts: u32) -> StageExit {
        let text = exit.to_string();
        let mut spec = match exit.into_exit() {
            Exit::Retry { reason, after } => {
                let error = BoxError::from(reason.into_owned());
                FailSpec { after, ..FailSpec::new(code::RETRY_EXHAUSTED, ErrorClass::Transient, error) }
            }
            Exit::Fail(spec) => spec,
            Exit::Skip(reason) => return StageExit::skip(reason),
            Exit::Cancel(reason) => return StageExit::cancel(reason),
        };
        if attempts > 1 || self.not_awaited.is_some() {
            let first = self.first.filter(|first| *first != text);
            let not_awaited = self.not_awaited;
            spec.error = Box::new(RetriesFailed { attempts, first, not_awaited, last: spec.error });
        }
        spec.into_exit()
    }
}

/// The failure of several attempts.
#[derive(Debug)]
struct RetriesFailed {
    attempts: u32,
    first: Option<String>,
    not_awaited: Option<String>,
    last: BoxError,
}

impl fmt::Display for RetriesFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.last)?;
        if let Some(why) = &self.not_awaited {
            write!(f, ", which is not waited for: {why}")?;
        }
        if self.attempts < 2 {
            return Ok(());
        }
        write!(f, " (attempt {}", self.attempts)?;
        match &self.first {
            Some(first) => write!(f, "; the first {first})"),
            None => f.write_str(")"),
        }
    }
}

impl Error for RetriesFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // This level already says what the last error says.
        self.last.source()
    }
}
