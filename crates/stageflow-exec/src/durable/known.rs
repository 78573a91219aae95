//! What a journal has of a run, and what of it holds for the pipeline as it is now.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use stageflow_core::{
    Value,
    durable::{Encoded, EntryKind, JournalError, JournalErrorKind, JournaledRun, StageEnd},
};
use stageflow_dag::plan::{EdgeKind, INPUT, Plan};

/// The event that tells of another attempt.
const RETRY: &str = "stage.retry_scheduled";

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
    /// Its output, if it gave one, until it has ended here as well.
    value: Mutex<Option<Value>>,
}

impl RestoredStage {
    /// Takes its output: it leaves with its last reader.
    pub(crate) fn take(&self) -> Option<Value> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The name of a stage in the journal: after those of the stages that lead to it, each with the escapes of a JSON pointer.
pub(crate) fn path_of(prefix: &str, stage: &str) -> Arc<str> {
    let stage = match stage.contains(['~', '/']) {
        true => Cow::Owned(stage.replace('~', "~0").replace('/', "~1")),
        false => Cow::Borrowed(stage),
    };
    if prefix.is_empty() { stage.into() } else { format!("{prefix}{stage}").into() }
}

/// The first stage of a path.
pub(crate) fn first_of(path: &str) -> Cow<'_, str> {
    let first = path.split_once('/').map_or(path, |(first, _)| first);
    match first.contains('~') {
        true => Cow::Owned(first.replace("~1", "/").replace("~0", "~")),
        false => Cow::Borrowed(first),
    }
}

impl Known {
    /// What the entries of a run come to; the last that was written of a stage counts.
    pub(crate) fn of(run: &JournaledRun) -> Self {
        let mut known = Self::default();
        // Stages that lead to others, and those of which an attempt began since the run was begun or resumed.
        let (mut leading, mut begun) = (HashSet::new(), HashSet::new());
        for entry in &run.entries {
            known.count = known.count.max(entry.seq);
            if let Some((above, _)) = entry.kind.stage().and_then(|stage| stage.rsplit_once('/')) {
                leading.insert(above);
            }
            match &entry.kind {
                EntryKind::Resumed => begun.clear(),
                // An attempt is over: what its child run did is of no use to the next, which does it anew.
                EntryKind::Decided { stage, name, .. } if &**name == RETRY && leading.contains(&**stage) => {
                    known.forget_within(stage);
                }
                EntryKind::AttemptStarted { stage, attempt } => {
                    if !begun.insert(&**stage) && leading.contains(&**stage) {
                        known.forget_within(stage);
                    }
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

    /// Forgets the stages of the child run in the place of a stage.
    fn forget_within(&mut self, stage: &str) {
        let is_within = |path: &Arc<str>| path.strip_prefix(stage).is_some_and(|rest| rest.starts_with('/'));
        self.ended.retain(|path, _| !is_within(path));
        self.attempts.retain(|path, _| !is_within(path));
    }

    /// Keeps what child runs will ask for: the rest was restored.
    pub(crate) fn for_children(mut self) -> Self {
        self.ended.retain(|path, _| path.contains('/'));
        self.attempts.retain(|path, _| path.contains('/'));
        self
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
            let path = path_of(prefix, name);
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
            restored.stages.insert(stage, RestoredStage { end, attempts, value: Mutex::new(value) });
        }
        if plan.output() != INPUT && restored.is_without_value(plan.output()) {
            restored.call_again(plan.output(), &mut again);
        }
        while let Some(stage) = again.pop() {
            for edge in plan.edges(stage) {
                let reads = edge.kind != EdgeKind::After && edge.source != INPUT;
                if reads && restored.is_without_value(edge.source) {
                    restored.call_again(edge.source, &mut again);
                }
            }
        }
        Ok(restored)
    }

    /// Whether every stage that had ended is still there.
    fn all_there(&self, plan: &Plan, prefix: &str) -> Result<(), JournalError> {
        let is_gone = |path: &&Arc<str>| {
            // Of a stage of a child run, its parent tells.
            let first = path.strip_prefix(prefix).map(|rest| first_of(rest));
            first.is_some_and(|first| plan.index_of(&first).is_none())
        };
        match self.ended.keys().find(is_gone) {
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

    /// How many attempts a stage took that has ended.
    pub(crate) fn attempts_of(&self, stage: u32) -> u32 {
        self.get(stage).map_or(0, |it| it.attempts)
    }

    fn is_without_value(&mut self, stage: u32) -> bool {
        let it = self.stages.get_mut(&stage).filter(|it| it.end == StageEnd::Completed);
        it.is_some_and(|it| it.value.get_mut().unwrap_or_else(PoisonError::into_inner).is_none())
    }

    fn call_again(&mut self, stage: u32, again: &mut Vec<u32>) {
        self.stages.remove(&stage);
        // It completed then, so nothing of what it may do is spent.
        self.attempts.remove(&stage);
        again.push(stage);
    }
}
