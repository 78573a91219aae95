//! [`Timeouts`]: what is said about the time of stages, and which of several sayings counts.

use std::{error::Error, fmt, time::Duration};

use serde::Serialize;

use crate::{
    code,
    exit::{ErrorClass, StageExit},
    time::Human,
};

/// What is said about one limit of time, on one level: an engine, a pipeline or a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeLimit {
    /// Nothing: the next level outside decides, and where none does there is no limit.
    #[default]
    Inherit,
    /// There is none, whatever the levels outside say.
    Unlimited,
    /// This long.
    Limit(Duration),
}

impl TimeLimit {
    /// This, or `outer` where this says nothing.
    #[must_use]
    pub fn or(self, outer: Self) -> Self {
        if self == Self::Inherit { outer } else { self }
    }

    /// The limit; `None` if there is none.
    pub fn get(self) -> Option<Duration> {
        match self {
            Self::Limit(limit) => Some(limit),
            Self::Inherit | Self::Unlimited => None,
        }
    }
}

impl From<Option<Duration>> for TimeLimit {
    fn from(limit: Option<Duration>) -> Self {
        limit.map_or(Self::Unlimited, Self::Limit)
    }
}

/// What is said about the time of stages: by a stage for itself, by a pipeline for its stages, by an engine for all.
///
/// The nearest counts: stage, then pipeline, then engine. Nothing is limited where nobody says so.
///
/// ```
/// use stageflow_core::{DurationExt, TimeLimit, Timeouts};
///
/// let (mut engine, mut stage) = (Timeouts::default(), Timeouts::default());
/// engine.attempt = TimeLimit::Limit(30.secs());
/// stage.attempt = TimeLimit::Unlimited;
/// assert_eq!(stage.or(engine).attempt.get(), None);
/// assert_eq!(Timeouts::default().or(engine).attempt.get(), Some(30.secs()));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Timeouts {
    /// For all attempts of a stage, and what lies between them.
    pub stage: TimeLimit,
    /// For one attempt.
    pub attempt: TimeLimit,
    /// For one attempt, since it last showed progress.
    pub idle: TimeLimit,
}

impl fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(limit) => Human(*limit).fmt(f),
            Self::Inherit | Self::Unlimited => f.write_str("no limit"),
        }
    }
}

impl fmt::Display for Timeouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stage {}, attempt {}, idle {}", self.stage, self.attempt, self.idle)
    }
}

impl Timeouts {
    /// These, and `outer` where these say nothing.
    #[must_use]
    pub fn or(self, outer: Self) -> Self {
        Self {
            stage: self.stage.or(outer.stage),
            attempt: self.attempt.or(outer.attempt),
            idle: self.idle.or(outer.idle),
        }
    }

    /// Whether anything is said.
    #[inline]
    pub fn is_set(&self) -> bool {
        *self != Self::default()
    }

    /// Each limit there is, with the name of its setting.
    #[doc(hidden)]
    pub fn limits(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let all =
            [("stage_timeout", self.stage), ("attempt_timeout", self.attempt), ("idle_timeout", self.idle)];
        all.into_iter().filter_map(|(name, limit)| Some((name, limit.get()?)))
    }
}

/// An attempt that was not begun, because less time was left than it takes at least: the error of a failure with the code
/// `DEADLINE_EXCEEDED` and the class `Timeout` (rule S-15).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotBegun {
    /// What an attempt takes at least.
    pub needed: Duration,
    /// What was left under the deadline of the run and the timeout of the stage.
    pub left: Duration,
}

impl NotBegun {
    #[doc(hidden)]
    pub fn new(needed: Duration, left: Duration) -> Self {
        Self { needed, left }
    }

    /// How a stage leaves for this reason.
    #[doc(hidden)]
    pub fn into_exit(self) -> StageExit {
        StageExit::failure(code::DEADLINE_EXCEEDED, ErrorClass::Timeout, Box::new(self))
            .hint("give the run or the stage more time, or lower `.min_time(…)`")
    }
}

impl fmt::Display for NotBegun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the attempt was not begun: it takes {} at least, and {} are left",
            Human(self.needed),
            Human(self.left)
        )
    }
}

impl Error for NotBegun {}
