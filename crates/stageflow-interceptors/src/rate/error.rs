//! Why a rate limiter refused a call.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use stageflow_core::{ErrorClass, StageExit, code, text::OneLine, time::Human};

/// A rate limiter has refused a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateError {
    /// Its turn would not come in time. As a failure of a stage it has the code `RATE_LIMITED` and is transient.
    Limited {
        /// The name of the dependency.
        limiter: Arc<str>,
        /// When its turn would come.
        wait: Duration,
    },
    /// Too many wait already. As a failure of a stage it has the code `RATE_LIMITED` and is transient.
    QueueFull {
        /// The name of the dependency.
        limiter: Arc<str>,
        /// When its turn would come.
        wait: Duration,
    },
    /// Its cost is above the burst, and its turn would never come. As a failure of a stage it has the code `COST_ABOVE_BURST` and is
    /// permanent.
    TooCostly {
        /// The name of the dependency.
        limiter: Arc<str>,
        /// The dimension of the cost.
        dimension: Arc<str>,
        /// The cost of the call.
        cost: u64,
        /// The most that is ever let through at once.
        burst: u64,
    },
    /// The limiter has no such dimension. As a failure of a stage it has the code `INVALID_POLICY` and is permanent.
    UnknownDimension {
        /// The name of the dependency.
        limiter: Arc<str>,
        /// The name that was asked for.
        dimension: Arc<str>,
    },
}

impl RateError {
    /// When another try would have its turn, as of the refusal; `None` if no wait helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Limited { wait, .. } | Self::QueueFull { wait, .. } => Some(*wait),
            Self::TooCostly { .. } | Self::UnknownDimension { .. } => None,
        }
    }

    /// How a stage leaves for this reason.
    pub fn into_exit(self) -> StageExit {
        let (code, class) = match &self {
            Self::Limited { .. } | Self::QueueFull { .. } => (code::RATE_LIMITED, ErrorClass::Transient),
            Self::TooCostly { .. } => (code::COST_ABOVE_BURST, ErrorClass::Permanent),
            Self::UnknownDimension { .. } => (code::INVALID_POLICY, ErrorClass::Permanent),
        };
        let after = self.retry_after();
        let exit = StageExit::failure(code, class, Box::new(self));
        match after {
            Some(after) => exit.after(after),
            None => exit,
        }
    }
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited { limiter, wait } => {
                write!(
                    f,
                    "the rate limit `{}` has room in {}, which is too late",
                    OneLine(limiter),
                    Human(*wait)
                )
            }
            Self::QueueFull { limiter, wait } => {
                write!(
                    f,
                    "the rate limit `{}` has room in {}, and too many wait",
                    OneLine(limiter),
                    Human(*wait)
                )
            }
            Self::TooCostly { limiter, dimension, cost, burst } => {
                let (limiter, dimension) = (OneLine(limiter), OneLine(dimension));
                write!(
                    f,
                    "the rate limit `{limiter}` lets {burst} `{dimension}` through at once, and the call costs {cost}"
                )
            }
            Self::UnknownDimension { limiter, dimension } => {
                write!(f, "the rate limit `{}` has no dimension `{}`", OneLine(limiter), OneLine(dimension))
            }
        }
    }
}

impl Error for RateError {}
