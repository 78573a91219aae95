//! Policies as plain data: what happens on failure, what is kept, who goes first.

use serde::{Deserialize, Serialize};

/// What the failure of a stage means for the rest of its run (rule S-7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailurePolicy {
    /// The first failure cancels everything else.
    #[default]
    FailFast,
    /// Branches that do not need the failed stage go on.
    Continue,
    /// Goes on like [`Continue`](Self::Continue) while at most so many stages have failed.
    TolerateCount(u32),
    /// Goes on like [`Continue`](Self::Continue) while at most this share of all the pipeline's stages has failed, in percent.
    ToleratePercent(f64),
    /// Goes on like [`Continue`](Self::Continue), and so do stages that wait for the failed one without reading it (`after`).
    BestEffort,
}

impl FailurePolicy {
    /// Whether a run of `stages` stages goes on after its `failures`-th failure.
    ///
    /// ```
    /// use stageflow_core::FailurePolicy;
    /// assert!(FailurePolicy::TolerateCount(2).tolerates(2, 10));
    /// assert!(!FailurePolicy::TolerateCount(2).tolerates(3, 10));
    /// assert!(!FailurePolicy::FailFast.tolerates(1, 10));
    /// ```
    pub fn tolerates(self, failures: usize, stages: usize) -> bool {
        match self {
            Self::FailFast => failures == 0,
            Self::Continue | Self::BestEffort => true,
            Self::TolerateCount(limit) => failures <= limit as usize,
            Self::ToleratePercent(percent) => {
                #[expect(clippy::cast_precision_loss, reason = "stage counts stay far below 2^52")]
                let share = failures as f64 * 100.0 / stages.max(1) as f64;
                share <= percent
            }
        }
    }
}

/// Which outputs stay readable in the report after the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Keep {
    /// Every output: rule S-7. An output moved into an [`Owned`](crate::Owned) input is gone all the same.
    #[default]
    All,
    /// Only the pipeline's output. Every other value is dropped as soon as its last reader has taken it, so
    /// the memory of a run depends on what is live and not on what has run.
    Output,
}

/// How urgent a run is. Stages, policies, sinks and child runs see it; the engine itself does not go by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Work nobody waits for.
    Background,
    /// Below normal.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Above normal.
    High,
    /// Before everything else.
    Critical,
}
