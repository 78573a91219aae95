//! Why a limiter let somebody not go.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use stageflow_core::{ErrorClass, StageExit, code, text::OneLine, time::Human};

use super::FanOutLimiter;

/// Why a [`FanOutLimiter`] refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusedBy {
    /// There is no room, and the caller does not wait.
    NoRoom,
    /// The queue is full.
    QueueFull,
    /// There was no turn within that time.
    Time(Duration),
    /// It has waited longest, and gave way to one who came later.
    Oldest,
    /// The queue was full, and it came last.
    Newest,
}

impl RefusedBy {
    /// As one word: `no_room`, `queue_full`, `queue_timeout`, `dropped_oldest` or `dropped_newest`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRoom => "no_room",
            Self::QueueFull => "queue_full",
            Self::Time(_) => "queue_timeout",
            Self::Oldest => "dropped_oldest",
            Self::Newest => "dropped_newest",
        }
    }

    /// Whether it was dropped, as the overflow says: a map does not count that as a failure.
    pub fn is_dropped(self) -> bool {
        matches!(self, Self::Oldest | Self::Newest)
    }
}

/// A limiter did not let somebody go. As a failure it has the code `FAN_OUT_FULL` and is transient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FanOutRefused {
    limiter: Arc<str>,
    by: RefusedBy,
}

impl FanOutRefused {
    pub(super) fn new(limiter: &FanOutLimiter, by: RefusedBy) -> Self {
        Self { limiter: Arc::clone(&limiter.0.name), by }
    }

    /// The name of the limiter.
    pub fn limiter(&self) -> &str {
        &self.limiter
    }

    /// Why.
    pub fn by(&self) -> RefusedBy {
        self.by
    }

    /// How a stage leaves for this reason.
    pub fn into_exit(self) -> StageExit {
        StageExit::failure(code::FAN_OUT_FULL, ErrorClass::Transient, Box::new(self))
    }
}

impl fmt::Display for FanOutRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the limiter `{}` ", OneLine(&self.limiter))?;
        match self.by {
            RefusedBy::NoRoom => f.write_str("has no room"),
            RefusedBy::QueueFull => f.write_str("has no room, and no place in its queue"),
            RefusedBy::Time(waited) => write!(f, "had no turn within {}", Human(waited)),
            RefusedBy::Oldest => f.write_str("dropped who has waited longest"),
            RefusedBy::Newest => f.write_str("dropped who came last"),
        }
    }
}

impl Error for FanOutRefused {}
