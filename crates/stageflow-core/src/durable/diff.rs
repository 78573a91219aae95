//! What two runs did differently, from their journals.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::time::Duration;

use serde::Serialize;

use self::read::Facts;
use super::{JournaledRun, StageEnd};
use crate::id::RunId;

/// What two runs did differently: two runs of a pipeline, before and after a change of its code, or a run and its replay under another
/// policy.
///
/// It is about what was decided: which stages there were and what fed them, how each ended, after how many attempts, what was decided
/// on the way, whether the same came out, and what was used of the budget. Times differ from run to run: how long stages took is kept,
/// shown where [`with_times`](Self::with_times) asks for it, and not part of [`is_same`](Self::is_same). Outputs are compared and never
/// shown.
///
/// ```
/// use stageflow_core::durable::{JournaledRun, RunDiff};
///
/// fn tell(yesterday: &JournaledRun, today: &JournaledRun) {
///     let diff = RunDiff::of(yesterday, today);
///     if !diff.is_same() {
///         println!("{diff}");
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunDiff {
    /// The ids of both runs.
    pub runs: Changed<RunId>,
    /// The names of their pipelines, if they are not the same.
    pub pipeline: Option<Changed<String>>,
    /// How they ended, if not in the same way: `running` for one that has not, or as a status and a code.
    pub outcome: Option<Changed<String>>,
    /// How many retries they used, if not as many.
    pub retries: Option<Changed<u64>>,
    /// What they cost, if not the same.
    pub cost: Option<Changed<u64>>,
    /// What the stages did, of those that did not do the same, in the order in which the journals first tell of them.
    pub stages: Vec<StageDiff>,
    /// How long each stage took that both have.
    pub times: Vec<StageTimes>,
    /// By which factor a time has to differ to be shown.
    #[serde(skip)]
    shown_from: Option<f64>,
}

/// The same thing in two runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed<T> {
    /// In the first.
    pub before: T,
    /// In the second.
    pub after: T,
}

/// What one stage did differently in two runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StageDiff {
    /// The stage, after the names of the stages that lead to it.
    pub stage: String,
    /// Whether only one of the runs has it, and which.
    pub only: Option<Only>,
    /// Its kind or its inputs are others.
    pub rewired: bool,
    /// How it ended, as a status and what explains it.
    pub end: Option<Changed<String>>,
    /// How many attempts it took.
    pub attempts: Option<Changed<u32>>,
    /// What only the first run decided there, one line each.
    pub no_longer_decided: Vec<String>,
    /// What only the second run decided there.
    pub newly_decided: Vec<String>,
    /// Both gave an output, and not the same.
    pub output_differs: bool,
}

/// Which of two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// The first.
    Before,
    /// The second.
    After,
}

/// How long a stage took in two runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageTimes {
    /// The stage.
    pub stage: String,
    /// In each of them.
    pub took: Changed<Duration>,
}

impl StageTimes {
    /// By which factor the second took longer; `None` if the first took no time.
    pub fn ratio(&self) -> Option<f64> {
        let before = self.took.before.as_secs_f64();
        (before > 0.0).then(|| self.took.after.as_secs_f64() / before)
    }
}

impl RunDiff {
    /// Compares two runs.
    pub fn of(before: &JournaledRun, after: &JournaledRun) -> Self {
        let (first, second) = (Facts::of(before), Facts::of(after));
        let mut names: Vec<&str> = first.stages.iter().map(|(name, _)| &**name).collect();
        names.extend(second.stages.iter().map(|(name, _)| &**name).filter(|name| first.get(name).is_none()));
        let mut stages = Vec::new();
        let mut times = Vec::new();
        for name in names {
            let both = (first.get(name), second.get(name));
            if let (Some(one), Some(other)) = both
                && let (Some(before), Some(after)) = (one.took, other.took)
            {
                times.push(StageTimes { stage: name.to_owned(), took: Changed { before, after } });
            }
            stages.extend(StageDiff::of(name, both.0, both.1));
        }
        Self {
            runs: Changed { before: before.header.key.run(), after: after.header.key.run() },
            pipeline: changed(
                before.header.snapshot.pipeline().to_owned(),
                after.header.snapshot.pipeline().to_owned(),
            ),
            outcome: changed(first.outcome, second.outcome),
            retries: changed(first.spent.0, second.spent.0),
            cost: changed(first.spent.1, second.spent.1),
            stages,
            times,
            shown_from: None,
        }
    }

    /// Shows the times as well that differ at least by this factor, in either direction.
    #[must_use]
    pub fn with_times(mut self, factor: f64) -> Self {
        self.shown_from = Some(factor);
        self
    }

    /// Whether both did the same. Times may differ.
    pub fn is_same(&self) -> bool {
        self.pipeline.is_none()
            && self.outcome.is_none()
            && self.retries.is_none()
            && self.cost.is_none()
            && self.stages.is_empty()
    }

    /// What a stage did differently.
    pub fn stage(&self, name: &str) -> Option<&StageDiff> {
        self.stages.iter().find(|stage| stage.stage == name)
    }
}

impl StageDiff {
    fn of(name: &str, before: Option<&read::Stage>, after: Option<&read::Stage>) -> Option<Self> {
        let mut diff = Self {
            stage: name.to_owned(),
            only: None,
            rewired: false,
            end: None,
            attempts: None,
            no_longer_decided: Vec::new(),
            newly_decided: Vec::new(),
            output_differs: false,
        };
        let (one, other) = match (before, after) {
            (Some(one), Some(other)) => (one, other),
            (one, _) => {
                diff.only = Some(if one.is_some() { Only::Before } else { Only::After });
                return Some(diff);
            }
        };
        diff.rewired = one.wiring.is_some() && other.wiring.is_some() && one.wiring != other.wiring;
        diff.end = changed(one.end_line(), other.end_line());
        diff.attempts = changed(one.attempts, other.attempts);
        diff.no_longer_decided = without(&one.decisions, &other.decisions);
        diff.newly_decided = without(&other.decisions, &one.decisions);
        let completed = |stage: &read::Stage| stage.end == Some(StageEnd::Completed);
        diff.output_differs = completed(one) && completed(other) && !one.gave_the_same(other);
        (!diff.is_same()).then_some(diff)
    }

    fn is_same(&self) -> bool {
        self.only.is_none()
            && !self.rewired
            && self.end.is_none()
            && self.attempts.is_none()
            && self.no_longer_decided.is_empty()
            && self.newly_decided.is_empty()
            && !self.output_differs
    }
}

fn changed<T: PartialEq>(before: T, after: T) -> Option<Changed<T>> {
    (before != after).then_some(Changed { before, after })
}

/// The lines of `these` for which `those` have no equal one, each counted once.
fn without(these: &[String], those: &[String]) -> Vec<String> {
    let mut left: Vec<&String> = those.iter().collect();
    let mut new = Vec::new();
    for line in these {
        match left.iter().position(|other| *other == line) {
            Some(at) => {
                left.swap_remove(at);
            }
            None => new.push(line.clone()),
        }
    }
    new
}
