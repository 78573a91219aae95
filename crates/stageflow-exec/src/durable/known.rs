//! What a journal has of a run, and what of it holds for the pipeline as it is now.

use std::{collections::HashMap, sync::Arc};

use stageflow_core::{
    Value,
    durable::{Encoded, EntryKind, JournalError, JournalErrorKind, JournaledRun, StageEnd},
};
use stageflow_dag::plan::{INPUT, Plan};

/// What a journal has of a run, by the names of its stages.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// How many entries there are.
    pub(crate) count: u64,
    /// Retries and cost.
    pub(crate) spent: (u64, u64),
    ended: HashMap<Arc<str>, KnownStage>,
    attempts: HashMap<Arc<str>, u32>,
}

#[derive(Debug)]
struct KnownStage {
    end: StageEnd,
    attempts: u32,
    wiring: u32,
    output: Option<Encoded>,
}

/// The stages of a run that are not called again.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    stages: HashMap<u32, RestoredStage>,
    attempts: HashMap<u32, u32>,
}

/// How a stage has ended before.
#[derive(Debug)]
pub(crate) struct RestoredStage {
    pub(crate) end: StageEnd,
    pub(crate) attempts: u32,
    /// Its output, if it gave one and somebody may read it.
    pub(crate) value: Option<Value>,
}

impl Known {
    /// What the entries of a run come to; the last that was written of a stage counts.
    pub(crate) fn of(run: &JournaledRun) -> Self {
        let mut known = Self::default();
        for entry in &run.entries {
            known.count = known.count.max(entry.seq);
            match &entry.kind {
                EntryKind::AttemptStarted { stage, attempt } => {
                    let most = known.attempts.entry(Arc::clone(stage)).or_default();
                    *most = (*most).max(*attempt);
                }
                EntryKind::StageEnded { stage, attempts, end, wiring, .. } => {
                    let ended = KnownStage {
                        end: end.clone(),
                        attempts: *attempts,
                        wiring: *wiring,
                        output: entry.payload.clone(),
                    };
                    known.ended.insert(Arc::clone(stage), ended);
                }
                EntryKind::Spent { retries, cost } => known.spent = (*retries, *cost),
                _ => {}
            }
        }
        known
    }

    /// Which stages of `plan` have ended for good, and with what.
    ///
    /// A stage that gave an output which was not kept is called again if somebody will read it: a stage that is called, or whoever has
    /// asked for the run.
    pub(crate) fn restore(&self, plan: &Plan, prefix: &str) -> Result<Restored, JournalError> {
        let mut restored = Restored::default();
        if self.ended.is_empty() && self.attempts.is_empty() {
            return Ok(restored);
        }
        self.all_there(plan, prefix)?;
        let unit = Value::new(());
        let mut again = Vec::new();
        for stage in 0..u32::try_from(plan.len()).unwrap_or(u32::MAX) {
            let name = plan.stage_name(stage);
            let path: Arc<str> = format!("{prefix}{name}").into();
            if let Some(attempts) = self.attempts.get(&path) {
                restored.attempts.insert(stage, *attempts);
            }
            let Some(known) = self.ended.get(&path) else {
                again.push(stage);
                continue;
            };
            if known.wiring != plan.wiring(stage) {
                let message =
                    format!("stage `{path}` had ended, and its kind or its inputs have changed since");
                return Err(JournalError::new(JournalErrorKind::Changed, message));
            }
            let value = match &known.output {
                Some(output) => Some(read(plan, stage, &path, output)?),
                None => Some(unit.clone()).filter(|unit| plan.stage(stage).gives(unit)),
            };
            let (end, attempts) = (known.end.clone(), known.attempts);
            restored.stages.insert(stage, RestoredStage { end, attempts, value });
        }
        if plan.output() != INPUT && restored.is_without_value(plan.output()) {
            restored.call_again(plan.output(), &mut again);
        }
        while let Some(stage) = again.pop() {
            for edge in plan.edges(stage) {
                if edge.source != INPUT && restored.is_without_value(edge.source) {
                    restored.call_again(edge.source, &mut again);
                }
            }
        }
        Ok(restored)
    }

    /// Whether every stage that had ended is still there.
    fn all_there(&self, plan: &Plan, prefix: &str) -> Result<(), JournalError> {
        let own =
            |path: &&Arc<str>| path.strip_prefix(prefix).is_some_and(|rest| plan.index_of(rest).is_none());
        let inner = |path: &&Arc<str>| {
            // A stage of a child run: its parent tells.
            let Some(rest) = path.strip_prefix(prefix) else { return false };
            rest.match_indices('/').any(|(at, _)| plan.index_of(&rest[..at]).is_some())
        };
        match self.ended.keys().filter(own).find(|path| !inner(path)) {
            None => Ok(()),
            Some(path) => {
                let message =
                    format!("stage `{path}` had ended, and `{}` has no such stage now", plan.name());
                Err(JournalError::new(JournalErrorKind::Changed, message))
            }
        }
    }
}

/// The output of a stage, as the plan reads it now.
fn read(plan: &Plan, stage: u32, path: &str, output: &Encoded) -> Result<Value, JournalError> {
    let codec = plan.settings(stage).and_then(|settings| settings.codec.as_ref());
    let Some(codec) = codec else {
        let message = format!("stage `{path}` was durable when it ended, and is not any more");
        return Err(JournalError::new(JournalErrorKind::Changed, message));
    };
    codec.decode(output).map_err(|error| {
        let message = format!("the output of stage `{path}` cannot be read: {error}");
        JournalError::new(JournalErrorKind::NotReadable, message).source(error)
    })
}

impl Restored {
    /// How a stage has ended before.
    pub(crate) fn get(&self, stage: u32) -> Option<&RestoredStage> {
        if self.stages.is_empty() { None } else { self.stages.get(&stage) }
    }

    pub(crate) fn has(&self, stage: u32) -> bool {
        self.get(stage).is_some()
    }

    /// How many attempts of a stage were made before, of one that has not ended.
    pub(crate) fn attempts(&self, stage: u32) -> u32 {
        if self.attempts.is_empty() || self.has(stage) {
            return 0;
        }
        self.attempts.get(&stage).copied().unwrap_or(0)
    }

    fn is_without_value(&self, stage: u32) -> bool {
        self.stages.get(&stage).is_some_and(|it| it.end == StageEnd::Completed && it.value.is_none())
    }

    fn call_again(&mut self, stage: u32, again: &mut Vec<u32>) {
        self.stages.remove(&stage);
        // It completed then, so nothing of what it may do is spent.
        self.attempts.remove(&stage);
        again.push(stage);
    }
}
