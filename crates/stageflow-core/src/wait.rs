//! Why a stage is not finished yet: the closed list behind `explain()`.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::time::Human;

/// What an unfinished stage waits for, as of the moment it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "waits_for", rename_all = "snake_case")]
pub enum WaitReason {
    /// Outputs of stages that have not ended.
    Dependencies {
        /// Those stages, in the order of the wiring.
        stages: Vec<String>,
    },
    /// Its turn: its inputs are there and a worker will take it.
    Turn,
    /// The engine's backpressure monitor, which has not let the run in yet.
    Admission {
        /// How many runs stand before it in the queue.
        ahead: usize,
    },
    /// A permit under a concurrency limit.
    Permit {
        /// Whose limit: `run`, `kind`, `tenant` or `engine`.
        limit: &'static str,
    },
    /// Its own future, which is pending.
    Itself,
    /// Nothing: its code is being executed right now and has not yielded.
    NotYielding,
    /// Blocking work on a thread of its own.
    Blocking,
    /// The end of a child run.
    ChildRun,
    /// The end of a back-off before the next attempt.
    BackOff {
        /// The attempt that follows.
        next_attempt: u32,
        /// How much of the delay is left.
        remaining: Duration,
        /// What went wrong before.
        last_error: String,
    },
    /// A circuit breaker that is open.
    Breaker {
        /// Its key.
        key: String,
    },
    /// A rate limiter.
    RateLimit {
        /// Its key.
        key: String,
    },
    /// The end of its grace after a cancellation.
    Grace {
        /// How much of it is left.
        remaining: Duration,
    },
    /// The clean-up of the run.
    CleanUp,
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dependencies { stages } => {
                f.write_str("waits for ")?;
                for (i, stage) in stages.iter().enumerate() {
                    write!(f, "{}`{stage}`", if i == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Turn => f.write_str("is ready and waits for a worker"),
            Self::Admission { ahead } => write!(f, "waits to be let in, behind {ahead} other runs"),
            Self::Permit { limit } => write!(f, "waits for a permit of the {limit} limit"),
            Self::Itself => f.write_str("is running and pending"),
            Self::NotYielding => f.write_str("is running and has not yielded"),
            Self::Blocking => f.write_str("is running on a blocking thread"),
            Self::ChildRun => f.write_str("waits for its child run"),
            Self::BackOff { next_attempt, remaining, last_error } => {
                write!(f, "backs off for {} before attempt {next_attempt} ({last_error})", Human(*remaining))
            }
            Self::Breaker { key } => write!(f, "waits for the breaker `{key}`"),
            Self::RateLimit { key } => write!(f, "waits for the rate limit `{key}`"),
            Self::Grace { remaining } => write!(f, "has {} of grace left", Human(*remaining)),
            Self::CleanUp => f.write_str("waits for the clean-up"),
        }
    }
}
