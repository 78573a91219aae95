//! Why a stage is not finished yet: the closed list behind `explain()`.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{quota::QuotaKind, time::Human};

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
    /// The quota of the run's tenant, which has not let the run in yet.
    Quota {
        /// What is limited.
        quota: QuotaKind,
        /// How many runs of the tenant stand before it in the queue.
        ahead: usize,
    },
    /// The engine's authentication, which has not let the run in yet.
    Authentication,
    /// A permit under a concurrency limit.
    Permit {
        /// Whose limit: `run`, `kind`, `tenant`, `engine`, `bulkhead` or `idempotency`.
        limit: &'static str,
        /// Which of several, where there are: the kind, the tenant, the dependency of a bulkhead and its tenant.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// Its own future, which is pending.
    Itself,
    /// Nothing: its code is being executed right now and has not yielded.
    NotYielding,
    /// Blocking work on a thread of its own.
    Blocking,
    /// The end of a child run.
    ChildRun,
    /// The ends of its items, of a stage that is a map.
    Items {
        /// Items that have ended.
        done: usize,
        /// How many there are, if that is known.
        total: Option<usize>,
        /// Items that run.
        running: usize,
        /// Items that wait for a permit.
        queued: usize,
    },
    /// Its batch, or the answers to it.
    Batch {
        /// The name of the batcher.
        batcher: String,
        /// Whether the batch is on its way.
        is_called: bool,
    },
    /// The undoing of what it has done.
    Undo {
        /// The name of the saga.
        saga: String,
        /// The step that is being undone.
        step: String,
    },
    /// The journal, which writes what the stage gave.
    Journal,
    /// The answer of a pause.
    Answer {
        /// The token of the pause.
        token: String,
    },
    /// The end of a back-off before the next attempt.
    BackOff {
        /// The attempt that follows.
        next_attempt: u32,
        /// How much of the delay is left.
        remaining: Duration,
        /// What went wrong before.
        last_error: String,
        /// The key of the breaker that is open for so long, if it is for that.
        #[serde(skip_serializing_if = "Option::is_none")]
        breaker: Option<String>,
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

impl WaitReason {
    /// What kind of wait it is; `None` for what is not counted as one: work, authentication, and the
    /// turn of a stage, which is its queue time.
    pub fn kind(&self) -> Option<WaitKind> {
        Some(match self {
            Self::Permit { limit: "bulkhead", .. } => WaitKind::Bulkhead,
            Self::Permit { limit: "idempotency", .. } => WaitKind::Idempotency,
            Self::Permit { .. } => WaitKind::Permit,
            Self::Admission { .. } | Self::Quota { .. } => WaitKind::Admission,
            Self::BackOff { breaker: Some(_), .. } => WaitKind::Breaker,
            Self::BackOff { .. } => WaitKind::BackOff,
            Self::Breaker { .. } => WaitKind::Breaker,
            Self::RateLimit { .. } => WaitKind::RateLimit,
            Self::Dependencies { .. }
            | Self::Turn
            | Self::Authentication
            | Self::Itself
            | Self::NotYielding
            | Self::Blocking
            | Self::ChildRun
            | Self::Items { .. }
            | Self::Batch { .. }
            | Self::Journal
            | Self::Answer { .. }
            | Self::Undo { .. }
            | Self::Grace { .. }
            | Self::CleanUp => return None,
        })
    }
}

/// What a stage or a run has waited for: the waits that are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaitKind {
    /// A permit under a concurrency limit of the engine.
    Permit,
    /// The delay before another attempt.
    BackOff,
    /// A rate limit.
    RateLimit,
    /// A bulkhead.
    Bulkhead,
    /// An open circuit breaker.
    Breaker,
    /// A call under the same idempotency key.
    Idempotency,
    /// The engine's backpressure monitor, or the quota of the tenant; of runs only.
    Admission,
}

impl WaitKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Permit,
        Self::BackOff,
        Self::RateLimit,
        Self::Bulkhead,
        Self::Breaker,
        Self::Idempotency,
        Self::Admission,
    ];

    /// As one word, as on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::BackOff => "back_off",
            Self::RateLimit => "rate_limit",
            Self::Bulkhead => "bulkhead",
            Self::Breaker => "breaker",
            Self::Idempotency => "idempotency",
            Self::Admission => "admission",
        }
    }
}

impl fmt::Display for WaitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How often a stage has waited for something, and how long in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WaitSum {
    /// For what.
    pub kind: WaitKind,
    /// How often.
    pub count: u64,
    /// How long in all.
    pub total: Duration,
}

impl WaitSum {
    #[doc(hidden)]
    pub fn new(kind: WaitKind, count: u64, total: Duration) -> Self {
        Self { kind, count, total }
    }
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
            Self::Quota { quota, ahead } => {
                write!(f, "waits for its tenant's quota of {quota}, behind {ahead} other runs of the tenant")
            }
            Self::Permit { limit, key } => {
                write!(f, "waits for a permit of the {limit} limit")?;
                key.as_ref().map_or(Ok(()), |key| write!(f, " `{key}`"))
            }
            Self::Authentication => f.write_str("waits for the authentication of the run"),
            Self::Itself => f.write_str("is running and pending"),
            Self::NotYielding => f.write_str("is running and has not yielded"),
            Self::Blocking => f.write_str("is running on a blocking thread"),
            Self::ChildRun => f.write_str("waits for its child run"),
            Self::Items { done, total, running, queued } => {
                write!(f, "has done {done} ")?;
                if let Some(total) = total {
                    write!(f, "of {total} ")?;
                }
                write!(f, "items, {running} running, {queued} queued")
            }
            Self::Batch { batcher, is_called: false } => write!(f, "waits for its batch of `{batcher}`"),
            Self::Batch { batcher, is_called: true } => {
                write!(f, "waits for the answers to its batch of `{batcher}`")
            }
            Self::Journal => f.write_str("waits for the journal, which writes what it gave"),
            Self::Answer { token } => write!(f, "waits for the answer of its pause `{token}`"),
            Self::Undo { saga, step } => write!(f, "undoes the step `{step}` of `{saga}`"),
            Self::BackOff { next_attempt, remaining, last_error, breaker } => {
                let remaining = Human(*remaining);
                match breaker {
                    // The last error is that it is open, and for how long it was then.
                    Some(key) => {
                        write!(f, "waits {remaining} for the breaker `{key}`, before attempt {next_attempt}")
                    }
                    None => {
                        write!(f, "backs off for {remaining} before attempt {next_attempt} ({last_error})")
                    }
                }
            }
            Self::Breaker { key } => write!(f, "waits for the breaker `{key}`"),
            Self::RateLimit { key } => write!(f, "waits for the rate limit `{key}`"),
            Self::Grace { remaining } => write!(f, "has {} of grace left", Human(*remaining)),
            Self::CleanUp => f.write_str("waits for the clean-up"),
        }
    }
}
