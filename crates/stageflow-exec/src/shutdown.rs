//! What a shutdown had to leave behind.

use std::{fmt, sync::Arc};

use serde::Serialize;
use stageflow_core::RunId;

use crate::run::RunCore;

/// What became of the runs of an engine that was shut down.
#[derive(Clone, Debug, Serialize)]
pub struct ShutdownReport {
    ended: usize,
    abandoned: Vec<AbandonedRun>,
    resumable: Vec<RunId>,
}

/// A run that did not end within the budget.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AbandonedRun {
    /// Its id.
    pub run_id: RunId,
    /// Its pipeline.
    pub pipeline: String,
    /// The stages that had not ended; none if it was its clean-ups that took too long.
    pub stages: Vec<String>,
}

impl ShutdownReport {
    pub(crate) fn new(runs: &[Arc<RunCore>], abandoned: Vec<AbandonedRun>) -> Self {
        Self { ended: 0, abandoned, resumable: Vec::new() }.over(runs)
    }

    /// Counted over these runs: those that there were when it began.
    pub(crate) fn over(mut self, runs: &[Arc<RunCore>]) -> Self {
        self.ended = runs.len().saturating_sub(self.abandoned.len());
        let resumable = runs.iter().filter(|run| run.is_resumable());
        self.resumable = resumable.map(|run| run.snapshot.identity().run_id()).collect();
        self
    }

    /// The runs that were stopped, and that another process can go on with: their journals have them.
    pub fn resumable(&self) -> &[RunId] {
        &self.resumable
    }

    /// How many runs have ended, by themselves or because they were stopped.
    pub fn ended(&self) -> usize {
        self.ended
    }

    /// The runs that did not end within the budget.
    pub fn abandoned(&self) -> &[AbandonedRun] {
        &self.abandoned
    }
}

impl AbandonedRun {
    pub(crate) fn of(run: &RunCore) -> Self {
        Self {
            run_id: run.snapshot.identity().run_id(),
            pipeline: run.plan.name().to_string(),
            stages: run
                .unfinished()
                .chain(run.lingering())
                .map(|stage| run.plan.stage_name(stage).to_owned())
                .collect(),
        }
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} runs ended, {} abandoned", self.ended, self.abandoned.len())?;
        if !self.resumable.is_empty() {
            write!(f, ", {} can be resumed", self.resumable.len())?;
        }
        for run in &self.abandoned {
            write!(f, "\n  run {} of `{}`: ", run.run_id, run.pipeline)?;
            if run.stages.is_empty() {
                f.write_str("its clean-ups have not ended")?;
            } else {
                write!(f, "not ended: {}", run.stages.join(", "))?;
            }
        }
        Ok(())
    }
}
