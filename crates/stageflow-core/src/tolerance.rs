//! [`FailureRules`]: when a run stops for its failures, decided without time, locks or chance.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde::Serialize;

use crate::{
    code::Code,
    exit::ErrorClass,
    outcome::Failure,
    policy::FailurePolicy,
    text::{OneLine, panic_message},
};

type Abort = dyn Fn(&Failure) -> bool + Send + Sync;

/// When a run stops for its failures: a [`FailurePolicy`], and what else ends it (rule S-7).
///
/// Given to a pipeline or an engine, where a [`FailurePolicy`] by itself does as well. A run goes on as long as *every* rule lets
/// it. The rules are asked at each failure of a stage, and at no other time.
///
/// ```
/// use stageflow_core::{ErrorClass, FailurePolicy, FailureRules};
///
/// let rules = FailureRules::new(FailurePolicy::Continue)
///     .max_failures(10)
///     .tolerate_percent_of_ended(20.0, 50)
///     .abort_if(|failure| failure.class() == ErrorClass::Permanent);
/// assert_eq!(rules.policy(), FailurePolicy::Continue);
/// ```
#[derive(Clone, Default)]
pub struct FailureRules {
    policy: FailurePolicy,
    max_failures: Option<u32>,
    of_ended: Option<(f64, u32)>,
    aborts: Vec<Arc<Abort>>,
}

/// What is known when the rules are asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Stages that have failed, this one included.
    pub(crate) failed: usize,
    pub(crate) completed: usize,
    /// Stages there are.
    pub(crate) total: usize,
}

impl FailureRules {
    /// The rules of a policy alone.
    pub fn new(policy: FailurePolicy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// At most so many stages may fail; one more ends the run.
    #[must_use]
    pub fn max_failures(mut self, limit: u32) -> Self {
        self.max_failures = Some(limit);
        self
    }

    /// At most this share, in percent, of the stages that have completed or failed so far may have failed, once these are
    /// `min_samples`.
    ///
    /// [`FailurePolicy::ToleratePercent`] is of all stages of the pipeline instead, and needs no minimum.
    #[must_use]
    pub fn tolerate_percent_of_ended(mut self, percent: f64, min_samples: u32) -> Self {
        self.of_ended = Some((percent, min_samples));
        self
    }

    /// Ends the run at a failure for which this says so: by its code, its class, its stage. Given several times, each may.
    ///
    /// It is called once for each failure, under no lock; if it panics, the run ends with the code `PANIC`.
    #[must_use]
    pub fn abort_if(mut self, predicate: impl Fn(&Failure) -> bool + Send + Sync + 'static) -> Self {
        self.aborts.push(Arc::new(predicate));
        self
    }

    /// The policy among the rules.
    pub fn policy(&self) -> FailurePolicy {
        self.policy
    }

    /// What cannot work, as messages.
    #[doc(hidden)]
    pub fn problems(&self) -> Vec<String> {
        let policy = match self.policy {
            FailurePolicy::ToleratePercent(percent) => Some(percent),
            _ => None,
        };
        let of_ended = self.of_ended.map(|(percent, _)| percent);
        let percents = policy.into_iter().chain(of_ended);
        percents
            .filter(|percent| !(0.0..=100.0).contains(percent))
            .map(|percent| format!("{percent} is no percentage of failures"))
            .collect()
    }

    /// Whether the count of completed stages matters.
    #[doc(hidden)]
    pub fn counts_completed(&self) -> bool {
        self.of_ended.is_some()
    }

    /// Asks the predicates. This is the user's code: under no lock.
    pub(crate) fn ask(&self, failure: &Failure) -> Option<StopReason> {
        let asked = catch_unwind(AssertUnwindSafe(|| self.aborts.iter().any(|abort| abort(failure))));
        match asked {
            Ok(true) => Some(StopReason::Matched { code: failure.code() }),
            Ok(false) => None,
            Err(panic) => Some(StopReason::PredicatePanicked { message: panic_message(panic) }),
        }
    }

    /// Why a run stops at a failure, if it does.
    pub(crate) fn judge(
        &self,
        class: ErrorClass,
        asked: Option<StopReason>,
        now: Standing,
    ) -> Option<StopReason> {
        let Standing { failed, completed, total } = now;
        if class == ErrorClass::Denied {
            return Some(StopReason::Denied);
        }
        if asked.is_some() {
            return asked;
        }
        if !self.policy.tolerates(failed, total) {
            return Some(match self.policy {
                FailurePolicy::TolerateCount(tolerated) => StopReason::TooMany { failed, tolerated },
                FailurePolicy::ToleratePercent(percent) => {
                    StopReason::ShareOfAll { failed, of: total, percent }
                }
                _ => StopReason::FailFast,
            });
        }
        if let Some(tolerated) = self.max_failures.filter(|limit| failed > *limit as usize) {
            return Some(StopReason::TooMany { failed, tolerated });
        }
        let ended = failed + completed;
        let (percent, min_samples) = self.of_ended?;
        let is_over = ended >= min_samples as usize
            && !FailurePolicy::ToleratePercent(percent).tolerates(failed, ended);
        is_over.then_some(StopReason::ShareOfEnded { failed, of: ended, percent })
    }
}

impl From<FailurePolicy> for FailureRules {
    fn from(policy: FailurePolicy) -> Self {
        Self::new(policy)
    }
}

impl fmt::Display for FailureRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.policy {
            FailurePolicy::FailFast => f.write_str("fail fast")?,
            FailurePolicy::Continue => f.write_str("continue")?,
            FailurePolicy::TolerateCount(count) => write!(f, "tolerate {count} failures")?,
            FailurePolicy::ToleratePercent(percent) => write!(f, "tolerate {percent} % of all stages")?,
            FailurePolicy::BestEffort => f.write_str("best effort")?,
        }
        if let Some(most) = self.max_failures {
            write!(f, ", at most {most} failures")?;
        }
        if let Some((percent, from)) = self.of_ended {
            write!(f, ", at most {percent} % of those that ended, from {from} on")?;
        }
        match self.aborts.len() {
            0 => Ok(()),
            1 => f.write_str(", and a predicate"),
            many => write!(f, ", and {many} predicates"),
        }
    }
}

impl fmt::Debug for FailureRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailureRules")
            .field("policy", &self.policy)
            .field("max_failures", &self.max_failures)
            .field("percent_of_ended", &self.of_ended)
            .field("predicates", &self.aborts.len())
            .finish()
    }
}

/// At which failure a run stopped, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stopped {
    /// The stage whose failure it was.
    pub stage: String,
    /// The rule.
    #[serde(flatten)]
    pub reason: StopReason,
}

impl Stopped {
    /// Whether it says more than that there was a failure, or a denial.
    #[doc(hidden)]
    pub fn is_worth_telling(&self) -> bool {
        !matches!(self.reason, StopReason::FailFast | StopReason::Denied)
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            StopReason::Matched { code } => {
                write!(f, "`abort_if` matched `{}` [{code}]", OneLine(&self.stage))
            }
            reason => reason.fmt(f),
        }
    }
}

/// Why a run stops at a failure.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// The policy is to stop at the first.
    FailFast,
    /// A call was denied: this ends a run under all rules.
    Denied,
    /// There are more failures than are tolerated.
    TooMany {
        /// Stages that have failed.
        failed: usize,
        /// How many may.
        tolerated: u32,
    },
    /// The share of all stages that failed is too large.
    ShareOfAll {
        /// Stages that have failed.
        failed: usize,
        /// Stages there are.
        of: usize,
        /// What is tolerated.
        percent: f64,
    },
    /// The share of the stages that have completed or failed so far is too large.
    ShareOfEnded {
        /// Stages that have failed.
        failed: usize,
        /// Stages that have completed or failed.
        of: usize,
        /// What is tolerated.
        percent: f64,
    },
    /// A predicate said so.
    Matched {
        /// The code of the failure.
        code: Code,
    },
    /// A predicate panicked.
    PredicatePanicked {
        /// What the panic says.
        message: String,
    },
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailFast => f.write_str("the first failure ends the run"),
            Self::Denied => f.write_str("a denial ends the run"),
            Self::TooMany { failed, tolerated } => {
                write!(
                    f,
                    "{failed} {}, {tolerated} tolerated",
                    if *failed == 1 { "failure" } else { "failures" }
                )
            }
            Self::ShareOfAll { failed, of, percent } => {
                write!(f, "{failed} of {of} stages failed, {percent} % tolerated")
            }
            Self::ShareOfEnded { failed, of, percent } => {
                write!(f, "{failed} of the first {of} stages to end failed, {percent} % tolerated")
            }
            Self::Matched { code } => write!(f, "`abort_if` matched [{code}]"),
            Self::PredicatePanicked { message } => write!(f, "`abort_if` panicked: {}", OneLine(message)),
        }
    }
}
