//! Beginning a run once more as a journal has it, under a director.

use std::{sync::Arc, time::Duration};

use stageflow_core::{
    Value,
    durable::{Journal, JournalError, JournalErrorKind, JournaledRun, RunLease},
};
use stageflow_dag::Pipeline;

use super::{Durability, RunLog, direct::Director, handle::input_of, known::Known};
use crate::{engine::Engine, error::RunError, handle::RunBuilder};

impl Engine {
    /// Begins a run once more as a journal has it, for a simulator: with its id, its facts and its random numbers, from what `run` has of
    /// it. What the director says becomes of its attempts, and each entry is written to `journal` at once. The journal that `run`
    /// comes from is not touched.
    ///
    /// `input` is needed where the journal has no input and a stage reads it.
    ///
    /// # Errors
    ///
    /// `PIPELINE_CHANGED` and `NOT_READABLE` as for [`resume`](Self::resume), and for an input that is needed, or is of another type.
    pub fn replay<I, O>(
        &self,
        pipeline: &Pipeline<I, O>,
        run: &JournaledRun,
        input: Option<Value>,
        journal: Arc<dyn Journal>,
        director: Arc<dyn Director>,
    ) -> Result<RunBuilder<O>, RunError>
    where
        I: Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        let plan = Arc::clone(pipeline.plan());
        let header = &run.header;
        let input = match input {
            Some(input) if input.is::<I>() => input,
            Some(_) => {
                let message = format!("the input that was given is not that of `{}`", plan.name());
                return Err(RunError::journal(JournalError::new(JournalErrorKind::Changed, message)));
            }
            None => input_of(&plan, &header.key, run).map_err(RunError::journal)?,
        };
        let known = Known::of(run);
        let restored = known.restore(&plan, "").map_err(RunError::journal)?;
        let mut snapshot = header.snapshot.to_builder().run(header.key.run());
        if let Some(deadline) = header.snapshot.deadline() {
            let since = self.shared.clock.wall().duration_since(header.started).unwrap_or(Duration::ZERO);
            snapshot = snapshot.deadline(deadline.saturating_sub(since));
        }
        let rules = Durability { director: Some(director), ..Durability::shared(journal).every_run() };
        let of_run = (header.key.clone(), RunLease { epoch: 1 });
        let log = RunLog::resumed(&rules, of_run, header.seed, known, restored);
        Ok(RunBuilder::resumed(self.clone(), plan, input, snapshot, Box::new(log)))
    }
}
