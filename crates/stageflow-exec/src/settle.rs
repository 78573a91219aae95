//! Ending a stage: its state, its event, its successors, and what it means for the run.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use stageflow_core::{
    CancelCause, CustomEvent, ErrorClass, EventKind, Failure, SkipCause, StageExit, StageOutcome, StopReason,
    Stopped, Value, code,
    event::NO_STAGE,
    exit::{Exit, FailSpec},
};

use crate::{
    attempt, cell::State, decide::Verdict, ending::EndCause, outputs, run::RunCore, waits, worker::Worker,
};

impl Worker {
    /// A stage gave its output.
    pub(crate) fn settle_completed(&mut self, run: &Arc<RunCore>, stage: u32, value: Value) {
        if run.chains.is_some() && !run.plan.stage(stage).gives(&value) {
            outputs::discard(Some(value));
            let wanted = run.plan.stage(stage).output().short_name();
            let error = format!("an interceptor replaced the output by a value that is not a `{wanted}`");
            let exit = StageExit::failure(code::REPLACED_TYPE, ErrorClass::Permanent, error.into());
            return self.settle_exit(run, stage, exit);
        }
        run.outputs.put(stage, value);
        if let Some(completed) = &run.completed {
            completed.fetch_add(1, Ordering::Relaxed);
        }
        let cell = run.cell(stage);
        cell.mark_ended(self.now);
        if let Some(log) = &run.log
            && !run.plan.is_durable(stage)
        {
            log.ended(run, stage, &StageOutcome::Completed);
        }
        // Before the state, from which another worker may decide an `or` and start a stage.
        if let Some(events) = &run.events {
            self.note_waited(run, stage, cell.attempts());
            self.note_to(events, stage, cell.attempts(), || EventKind::StageCompleted);
        }
        if run.groups.is_empty() {
            cell.set_state(State::Completed);
        } else {
            cell.set_state_in_order(State::Completed);
        }
        run.tell_watched();
        self.tell_successors(run, stage);
        self.count_ended();
    }

    /// A stage left without an output.
    pub(crate) fn settle_exit(&mut self, run: &Arc<RunCore>, stage: u32, exit: StageExit) {
        match exit.into_exit() {
            Exit::Skip(reason) => {
                let cause = SkipCause::Own { reason: reason.into_owned() };
                self.settle(run, stage, State::Skipped, StageOutcome::Skipped(cause));
            }
            Exit::Cancel(reason) => {
                let stage_name = run.plan.stage_name(stage).to_owned();
                let cause = CancelCause::Stage { stage: stage_name, reason: reason.into_owned() };
                if run.end(EndCause::Cancel(cause.clone())) {
                    self.settle(run, stage, State::Cancelled, StageOutcome::Cancelled(cause));
                } else {
                    self.settle_cancelled(run, stage);
                }
            }
            Exit::Retry { reason, after } => {
                if let Err(refusal) = self.again(run, stage, &reason, after) {
                    let attempts = run.cell(stage).attempts();
                    self.settle_failure(run, stage, refusal.into_failure(reason.into_owned(), attempts));
                }
            }
            Exit::Fail(spec) => self.settle_failure(run, stage, spec),
        }
    }

    fn settle_failure(&mut self, run: &Arc<RunCore>, stage: u32, spec: FailSpec) {
        self.settle_failure_after(run, stage, run.cell(stage).attempts(), spec);
    }

    pub(crate) fn settle_failure_after(
        &mut self,
        run: &Arc<RunCore>,
        stage: u32,
        attempts: u32,
        spec: FailSpec,
    ) {
        let failure = Failure::new(run.plan.stage_name(stage), attempts, spec);
        let completed = run.completed.as_ref().map_or(0, |completed| completed.load(Ordering::Relaxed));
        let at = Duration::from_nanos(run.now());
        // Before the successors are told: none of them starts if the run does not go on.
        let told = run.collector().observe(at, failure.clone(), completed).and_then(|why| stop_for(run, why));
        self.settle(run, stage, State::Failed, StageOutcome::Failed(failure));
        if let Some(event) = told {
            self.note(run, NO_STAGE, 0, &event);
        }
    }

    /// A stage was stopped by the end of the run.
    pub(crate) fn settle_cancelled(&mut self, run: &Arc<RunCore>, stage: u32) {
        self.now = run.now();
        let cause = run.ending.cause().map_or(CancelCause::Dropped, EndCause::for_stages);
        self.settle(run, stage, State::Cancelled, StageOutcome::Cancelled(cause));
    }

    /// A stage ends without having run.
    pub(crate) fn settle_verdict(&mut self, run: &Arc<RunCore>, stage: u32, verdict: Verdict) {
        // Not terminal before its outcome and its event are there: others act on the state alone.
        if matches!(verdict, Verdict::Run) || !run.cell(stage).claim(State::Running) {
            return;
        }
        attempt::release_inputs(run, stage, false);
        match verdict {
            Verdict::Run => {}
            Verdict::Skip(cause) => self.settle(run, stage, State::Skipped, StageOutcome::Skipped(cause)),
            Verdict::Block { by } => self.settle(run, stage, State::Blocked, StageOutcome::Blocked { by }),
            Verdict::Fail(exit) if run.is_directed() => self.refuse(run, stage, exit),
            Verdict::Fail(exit) => self.settle_exit(run, stage, exit),
        }
    }

    pub(crate) fn settle(&mut self, run: &Arc<RunCore>, stage: u32, state: State, outcome: StageOutcome) {
        if let Some(log) = &run.log {
            log.ended(run, stage, &outcome);
        }
        let kind = event_of(&outcome);
        run.details().outcomes.insert(stage, outcome);
        run.troubled.store(true, Ordering::SeqCst);
        let cell = run.cell(stage);
        cell.mark_ended(self.now);
        self.note_end(run, stage, run.cell(stage).attempts(), &kind);
        cell.set_state_in_order(state);
        run.tell_watched();
        self.tell_successors(run, stage);
        self.count_ended();
    }

    /// Notes how a stage ended, and before it, of one that has waited, for what.
    fn note_end(&mut self, run: &Arc<RunCore>, stage: u32, attempt: u32, kind: &EventKind) {
        if run.events.is_some() {
            self.note_waited(run, stage, attempt);
            self.note(run, stage, attempt, kind);
        }
    }

    #[inline(always)]
    fn note_waited(&mut self, run: &Arc<RunCore>, stage: u32, attempt: u32) {
        if run.has_details() {
            self.tell_waited(run, stage, attempt);
        }
    }

    #[cold]
    fn tell_waited(&mut self, run: &Arc<RunCore>, stage: u32, attempt: u32) {
        let waits = run.waits_of(stage);
        if !waits.is_empty() {
            self.note(run, stage, attempt, &waits::told(&waits));
        }
    }

    /// Ends every stage that has not ended, in declaration order: nobody works any more.
    pub(crate) fn sweep(&mut self, run: &Arc<RunCore>) {
        let cause = Arc::new(run.ending.cause().map_or(CancelCause::Dropped, EndCause::for_stages));
        self.now = run.now();
        for stage in run.unfinished() {
            let cell = run.cell(stage);
            cell.mark_ended(self.now);
            cell.set_state(State::Cancelled);
            self.note_end(run, stage, 0, &EventKind::StageCancelled(Arc::clone(&cause)));
            self.count_ended();
        }
    }
}

/// The failures of a run are more than it tolerates: ends it, and gives the event that says why, unless it is plain.
fn stop_for(run: &RunCore, stopped: Stopped) -> Option<EventKind> {
    let fields = [("stage", stopped.stage.clone()), ("because", stopped.reason.to_string())];
    let told = stopped.is_worth_telling().then(|| CustomEvent::new("failures.stopped", fields));
    let cause = match stopped.reason {
        StopReason::Denied => EndCause::Denied { stage: stopped.stage },
        _ => EndCause::Failure { stage: stopped.stage },
    };
    if run.end(cause) { told.map(|event| EventKind::Custom(Arc::new(event))) } else { None }
}

fn event_of(outcome: &StageOutcome) -> EventKind {
    match outcome {
        StageOutcome::Failed(failure) => EventKind::StageFailed(failure.clone()),
        StageOutcome::Skipped(cause) => EventKind::StageSkipped(Arc::new(cause.clone())),
        StageOutcome::Cancelled(cause) => EventKind::StageCancelled(Arc::new(cause.clone())),
        StageOutcome::Blocked { by } => EventKind::StageBlocked { by: by.as_str().into() },
        _ => EventKind::StageCompleted,
    }
}
