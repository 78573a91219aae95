//! How a stage and a run have ended, from what has happened.

use stageflow_core::{Failure, RunOutcome, StageOutcome};

use crate::{cell::State, ending::EndCause, run::RunCore};

impl RunCore {
    /// How a stage stands or ended.
    pub(crate) fn stage_outcome(&self, stage: u32) -> Option<StageOutcome> {
        match self.cell(stage).state() {
            State::Waiting | State::Running => None,
            State::Completed => Some(StageOutcome::Completed),
            State::Cancelled | State::Skipped | State::Failed | State::Blocked => {
                let own = self.details().outcomes.get(&stage).cloned();
                own.or_else(|| self.ending.cause().map(|cause| StageOutcome::Cancelled(cause.for_stages())))
            }
        }
    }

    /// The outcome that follows from what has happened (S-8).
    pub(crate) fn judge(&self) -> RunOutcome {
        match self.ending.cause() {
            Some(EndCause::Failure { .. }) => RunOutcome::Failed,
            Some(EndCause::Denied { .. } | EndCause::NotAdmitted { .. }) => RunOutcome::Denied,
            Some(EndCause::Deadline) => RunOutcome::TimedOut,
            Some(EndCause::Cancel(_)) | None => RunOutcome::Cancelled,
            Some(EndCause::Committed) => {
                if self.has_no_failure() {
                    RunOutcome::Completed
                } else if self.output_completed() {
                    RunOutcome::CompletedWithFailures
                } else {
                    RunOutcome::Failed
                }
            }
        }
    }

    /// The failure that the outcome follows from: the denial where a call was denied, else the first that was observed.
    pub(crate) fn cause(&self) -> Option<Failure> {
        if self.has_no_failure() {
            return None;
        }
        if let Some(EndCause::Denied { stage }) = self.ending.cause() {
            let denial = self.collector().failures().into_iter().find(|failure| failure.stage() == stage);
            if denial.is_some() {
                return denial;
            }
        }
        self.collector().cause()
    }

    pub(crate) fn output_completed(&self) -> bool {
        let output = self.plan.output();
        output == stageflow_dag::plan::INPUT || self.cell(output).state() == State::Completed
    }
}
