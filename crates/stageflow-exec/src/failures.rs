//! What a run tells of its failures.

use stageflow_core::{Failure, FailureSummary, StageOutcome, Stopped};

use crate::{ending::EndCause, run::RunCore};

impl RunCore {
    /// The failures, in the order they were observed.
    pub(crate) fn failures(&self) -> Vec<Failure> {
        if self.has_no_failure() { Vec::new() } else { self.collector().failures() }
    }

    /// At which failure and why the run stopped, if that is what stopped it.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        match self.ending.cause() {
            Some(EndCause::Failure { .. } | EndCause::Denied { .. } | EndCause::NotAdmitted { .. }) => {
                self.collector().stopped()
            }
            _ => None,
        }
    }

    pub(crate) fn failure_summary(&self) -> FailureSummary {
        let mut counts = [0; 5];
        for stage in (0u32..).take(self.plan.len()) {
            let place = match self.stage_outcome(stage) {
                Some(StageOutcome::Completed) => 0,
                Some(StageOutcome::Failed(_)) => 1,
                Some(StageOutcome::Skipped(_)) => 2,
                Some(StageOutcome::Blocked { .. }) => 3,
                _ => 4,
            };
            counts[place] += 1;
        }
        FailureSummary::new(counts, self.stopped(), self.collector().records())
    }
}
