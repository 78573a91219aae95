//! What a failing fallback leaves behind: its own failure, and the one it was asked about.

use std::{any::Any, error::Error, fmt, sync::Arc};

use stageflow_core::{
    BoxError, ErrorClass, StageExit, code,
    exit::{Exit, FailSpec},
};

/// The failure of a fallback. It names both what went wrong in it and what it should have answered.
#[derive(Debug)]
struct FallbackFailed {
    own: BoxError,
    asked: Arc<StageExit>,
}

impl fmt::Display for FallbackFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the fallback failed: {}; before, the call {}", self.own, self.asked)
    }
}

impl Error for FallbackFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // This level already says what the fallback's error says.
        self.own.source()
    }
}

/// How a stage leaves whose fallback left like this: a failure keeps its code and class, and names the one before.
/// A verdict stays what it is.
pub(super) fn both(own: StageExit, asked: Arc<StageExit>) -> StageExit {
    match own.into_exit() {
        Exit::Skip(reason) => StageExit::skip(reason),
        Exit::Cancel(reason) => StageExit::cancel(reason),
        Exit::Retry { reason, .. } => {
            let own = BoxError::from(reason.into_owned());
            let error = Box::new(FallbackFailed { own, asked });
            StageExit::failure(code::RETRY_UNAVAILABLE, ErrorClass::Transient, error)
                .hint("a fallback is not tried again: have it try by itself, or add another with `or`")
        }
        Exit::Fail(spec) => {
            let error = Box::new(FallbackFailed { own: spec.error, asked });
            FailSpec { error, ..spec }.into_exit()
        }
    }
}

/// A fallback panicked.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> StageExit {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    StageExit::failure(code::PANIC, ErrorClass::Panic, format!("it panicked: {text}").into())
}
