//! How a run comes to its end: the first cause wins, once.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use stageflow_core::CancelCause;

/// Why a run stopped before, or exactly when, all its stages had ended.
#[derive(Clone, Debug)]
pub(crate) enum EndCause {
    /// All stages have ended: from here on nothing changes the outcome.
    Committed,
    /// A stage failed and the policy does not go on.
    Failure { stage: String },
    /// A call was denied.
    Denied { stage: String },
    /// An interceptor of the engine did not let the run in.
    NotAdmitted { by: String },
    /// The deadline passed.
    Deadline,
    /// Anything else that cancels.
    Cancel(CancelCause),
}

impl EndCause {
    /// What the stages that had not ended are told.
    pub(crate) fn for_stages(&self) -> CancelCause {
        match self {
            Self::Committed => CancelCause::Dropped,
            Self::Failure { stage } => CancelCause::Failure { stage: stage.clone() },
            Self::Denied { stage } => CancelCause::Denied { stage: stage.clone() },
            Self::NotAdmitted { by } => CancelCause::NotAdmitted { by: by.clone() },
            Self::Deadline => CancelCause::Deadline,
            Self::Cancel(cause) => cause.clone(),
        }
    }
}

/// The cause, and a flag that is cheap to read.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    stopping: AtomicBool,
    stopped_at: AtomicU64,
    cause: OnceLock<EndCause>,
}

impl Ending {
    /// Ends the run for `cause`; `false` if it has ended for another already.
    pub(crate) fn end(&self, cause: EndCause, now: u64) -> bool {
        let first = self.cause.set(cause).is_ok();
        if first {
            self.stopped_at.store(now, Ordering::Relaxed);
            self.stopping.store(true, Ordering::SeqCst);
        }
        first
    }

    /// Commits the result; `false` if a cancellation came first.
    pub(crate) fn commit(&self) -> bool {
        self.cause.set(EndCause::Committed).is_ok()
    }

    /// Whether stages must stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// When it began to stop, in nanoseconds of the run.
    pub(crate) fn stopped_at(&self) -> u64 {
        self.stopped_at.load(Ordering::Relaxed)
    }

    /// The cause, once there is one.
    pub(crate) fn cause(&self) -> Option<&EndCause> {
        self.cause.get()
    }
}
