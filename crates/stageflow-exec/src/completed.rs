//! [`Completed`]: a run that gave its output.

use std::sync::Arc;

use stageflow_core::{RunId, RunOutcome, Value};

use crate::{error::RunError, report::RunReport, run::RunCore};

/// A run that gave its output.
#[derive(Clone, Debug)]
pub struct Completed<O> {
    run: Arc<RunCore>,
    output: Arc<O>,
}

impl<O: Send + Sync + 'static> Completed<O> {
    pub(crate) fn of(run: Arc<RunCore>) -> Result<Self, RunError> {
        let there = match run.outcome.get() {
            Some(RunOutcome::Completed | RunOutcome::CompletedWithFailures) => run.output_completed(),
            _ => false,
        };
        let output = if there { run.output(run.plan.output()) } else { None };
        match output.map(Value::downcast::<O>) {
            Some(Ok(output)) => Ok(Self { run, output }),
            _ => Err(RunError::ended(run)),
        }
    }
}

impl<O> Completed<O> {
    /// The output.
    pub fn output(&self) -> &O {
        &self.output
    }

    /// The output, shared.
    pub fn into_output(self) -> Arc<O> {
        self.output
    }

    /// `Completed` or `CompletedWithFailures`.
    pub fn outcome(&self) -> RunOutcome {
        self.report().outcome()
    }

    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.run.snapshot.identity().run_id()
    }

    /// What the run was.
    pub fn report(&self) -> RunReport {
        RunReport::new(Arc::clone(&self.run))
    }
}
