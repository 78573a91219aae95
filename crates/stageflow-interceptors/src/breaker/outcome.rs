//! What a breaker is told of a call, and what it says of itself.

use std::fmt;

pub use stageflow_core::BreakerOutcome;
use tokio::time::Instant;

use super::key::BreakerKey;

/// What a breaker does with the calls of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerState {
    /// Admits all, and counts.
    Closed,
    /// Admits none.
    Open {
        /// The first call from then on is a probe.
        until: Instant,
    },
    /// Admits a fixed number of probes.
    HalfOpen,
    /// Does what it was told to.
    Forced(Forced),
}

/// What an operator makes a breaker do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forced {
    /// Admit none, such as during a maintenance of the dependency.
    Open,
    /// Admit all, and count nothing.
    Closed,
    /// Admit all, and count: what the windows hold is to be seen in the snapshot, and opens nothing.
    Disabled,
}

/// Why a breaker has changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerReason {
    /// Too large a share of the calls failed.
    FailureRate,
    /// Too large a share of the calls, or of the probes, was slow.
    SlowCalls,
    /// Too many calls in a row failed.
    Consecutive,
    /// The dependency said when to come back.
    Hint,
    /// A probe failed.
    ProbeFailed,
    /// All probes succeeded.
    ProbesSucceeded,
    /// The time it was to be open is over.
    TimeOver,
    /// An operator decides.
    Forced,
    /// An operator no longer decides.
    Released,
}

impl BreakerReason {
    /// As it is spelled in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailureRate => "failure_rate",
            Self::SlowCalls => "slow_calls",
            Self::Consecutive => "consecutive",
            Self::Hint => "hint",
            Self::ProbeFailed => "probe_failed",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::TimeOver => "time_over",
            Self::Forced => "forced",
            Self::Released => "released",
        }
    }
}

impl fmt::Display for BreakerReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A breaker has changed its state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerTransition {
    /// Whose.
    pub key: BreakerKey,
    /// To what.
    pub to: BreakerState,
    /// Why.
    pub reason: BreakerReason,
}

/// Everything a key has seen since the breaker got to know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerTotals {
    /// Calls that were let through. Those that are neither succeeded, failed nor neutral are under way.
    pub admitted: u64,
    /// Calls that were not, and did not wait until they were.
    pub rejected: u64,
    /// Calls that the dependency answered.
    pub succeeded: u64,
    /// Calls that it did not.
    pub failed: u64,
    /// Of both, those that took too long.
    pub slow: u64,
    /// Calls that said nothing about the dependency.
    pub neutral: u64,
    /// Of those that succeeded or failed, the ones that came too late to count: the state had changed meanwhile.
    pub late: u64,
    /// How often it has opened.
    pub opened: u64,
}

/// What a breaker knows of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerSnapshot {
    /// Whose.
    pub key: BreakerKey,
    /// What it does with calls.
    pub state: BreakerState,
    /// How many calls are in the window. With two windows it is the one with fewer.
    pub calls: u32,
    /// How many of them failed.
    pub failed: u32,
    /// How many of them were slow.
    pub slow: u32,
    /// Goes up with each change of the state.
    pub generation: u64,
    /// Everything since the beginning.
    pub totals: BreakerTotals,
}
