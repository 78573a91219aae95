//! Ending a stage as it has ended before.

use std::sync::{Arc, atomic::Ordering};

use stageflow_core::{
    BoxError, CustomEvent, EventKind, StageOutcome,
    durable::{JournaledFailure, StageEnd},
    exit::FailSpec,
};

use super::known::RestoredStage;
use crate::{attempt, cell::State, run::RunCore, worker::Worker};

impl Worker {
    /// Ends a stage as the journal has it, without a call.
    pub(crate) fn settle_restored(&mut self, run: &Arc<RunCore>, stage: u32, restored: &RestoredStage) {
        let cell = run.cell(stage);
        if !cell.claim(State::Running) {
            return;
        }
        attempt::release_inputs(run, stage, false);
        cell.mark_ended(self.now);
        if run.events.is_some() {
            let event = CustomEvent::new("stage.restored", [("attempts", restored.attempts)]);
            self.note_as_is(run, stage, &EventKind::Custom(Arc::new(event)));
        }
        match &restored.end {
            StageEnd::Skipped(cause) => {
                self.settle(run, stage, State::Skipped, StageOutcome::Skipped(cause.clone()));
            }
            StageEnd::Blocked { by } => {
                self.settle(run, stage, State::Blocked, StageOutcome::Blocked { by: by.clone() });
            }
            StageEnd::Failed(failure) => {
                self.settle_failure_after(run, stage, restored.attempts, spec_of(failure));
            }
            _ => {
                if let Some(value) = restored.take() {
                    run.outputs.put(stage, value);
                }
                if let Some(completed) = &run.completed {
                    completed.fetch_add(1, Ordering::Relaxed);
                }
                self.note_as_is(run, stage, &EventKind::StageCompleted);
                cell.set_state_in_order(State::Completed);
                run.tell_watched();
                self.tell_successors(run, stage);
                self.count_ended();
            }
        }
    }
}

fn spec_of(failure: &JournaledFailure) -> FailSpec {
    let known = failure.known_code();
    let error: BoxError = if known.as_str() == failure.code {
        failure.message.clone().into()
    } else {
        format!("{} [{}]", failure.message, failure.code).into()
    };
    FailSpec::new(known, failure.class, error)
}
