//! What several failed attempts leave behind: the last error, and the first where it was another.

use std::{error::Error, fmt};

use stageflow_core::{BoxError, ErrorClass, StageExit, code, exit::Exit};

/// What the attempts before the last have said.
#[derive(Debug, Default)]
pub(super) struct Failures {
    first: Option<String>,
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
        let (code, class, error, hint, after) = match exit.into_exit() {
            Exit::Retry { reason, after } => (
                code::RETRY_EXHAUSTED,
                ErrorClass::Transient,
                BoxError::from(reason.into_owned()),
                None,
                after,
            ),
            Exit::Fail(spec) => (spec.code, spec.class, spec.error, spec.hint, spec.after),
            Exit::Skip(reason) => return StageExit::skip(reason),
            Exit::Cancel(reason) => return StageExit::cancel(reason),
        };
        let error = if attempts < 2 {
            error
        } else {
            let first = self.first.filter(|first| *first != text);
            Box::new(RetriesFailed { attempts, first, last: error })
        };
        let mut exit = StageExit::failure(code, class, error);
        if let Some(hint) = hint {
            exit = exit.hint(hint);
        }
        match after {
            Some(after) => exit.after(after),
            None => exit,
        }
    }
}

/// The failure of several attempts.
#[derive(Debug)]
struct RetriesFailed {
    attempts: u32,
    first: Option<String>,
    last: BoxError,
}

impl fmt::Display for RetriesFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (attempt {}", self.last, self.attempts)?;
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
