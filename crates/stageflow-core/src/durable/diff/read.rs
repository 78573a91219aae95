//! What a journal comes to, stage by stage.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::durable::{Encoded, EntryKind, JournaledRun, StageEnd, entry::decided_line};

/// What a run did.
pub(super) struct Facts {
    pub(super) outcome: String,
    /// Retries and cost.
    pub(super) spent: (u64, u64),
    /// In the order in which the journal first tells of them.
    pub(super) stages: Vec<(Arc<str>, Stage)>,
    places: HashMap<Arc<str>, usize>,
}

/// What a stage did; of one that was called again after a resumption, what it did last.
#[derive(Default)]
pub(super) struct Stage {
    pub(super) end: Option<StageEnd>,
    pub(super) attempts: u32,
    pub(super) wiring: Option<u32>,
    pub(super) took: Option<Duration>,
    pub(super) decisions: Vec<String>,
    output: Option<Encoded>,
}

impl Facts {
    pub(super) fn of(run: &JournaledRun) -> Self {
        let mut facts =
            Self { outcome: "running".to_owned(), spent: (0, 0), stages: Vec::new(), places: HashMap::new() };
        for entry in &run.entries {
            match &entry.kind {
                EntryKind::AttemptStarted { stage, attempt } => {
                    let stage = facts.stage(stage);
                    stage.attempts = stage.attempts.max(*attempt);
                }
                EntryKind::Decided { stage, name, fields, .. } => {
                    let line = decided_line(name, fields);
                    facts.stage(stage).decisions.push(line);
                }
                EntryKind::StageEnded { stage, attempts, took, end, wiring } => {
                    let stage = facts.stage(stage);
                    stage.end = Some(end.clone());
                    (stage.attempts, stage.took, stage.wiring) = (*attempts, Some(*took), Some(*wiring));
                    stage.output.clone_from(&entry.payload);
                }
                EntryKind::Spent { retries, cost } => facts.spent = (*retries, *cost),
                EntryKind::RunEnded { outcome, failure } => {
                    facts.outcome = match failure {
                        Some(failure) => format!("{outcome} [{}]", failure.code),
                        None => outcome.to_string(),
                    };
                }
                EntryKind::AttemptEnded { .. } | EntryKind::Resumed => {}
            }
        }
        facts
    }

    fn stage(&mut self, name: &Arc<str>) -> &mut Stage {
        let next = self.stages.len();
        let place = *self.places.entry(Arc::clone(name)).or_insert(next);
        if place == next {
            self.stages.push((Arc::clone(name), Stage::default()));
        }
        &mut self.stages[place].1
    }

    pub(super) fn get(&self, name: &str) -> Option<&Stage> {
        self.places.get(name).map(|place| &self.stages[*place].1)
    }
}

impl Stage {
    pub(super) fn end_line(&self) -> String {
        match &self.end {
            None => "not ended".to_owned(),
            Some(StageEnd::Completed) => "completed".to_owned(),
            Some(StageEnd::Skipped(cause)) => format!("skipped: {cause}"),
            Some(StageEnd::Failed(failure)) => format!("failed [{}]: {}", failure.code, failure.message),
            Some(StageEnd::Blocked { by }) => format!("blocked by `{by}`"),
        }
    }

    /// Whether the outputs are the same, as far as they were written down.
    pub(super) fn gave_the_same(&self, other: &Self) -> bool {
        match (&self.output, &other.output) {
            (Some(one), Some(other)) => is_same_output(one, other),
            // What was not written down is not compared.
            _ => true,
        }
    }
}

/// The bytes are the same, or what they say: a map may be written in any order.
fn is_same_output(one: &Encoded, other: &Encoded) -> bool {
    let json = |it: &Encoded| serde_json::from_slice::<serde_json::Value>(&it.bytes).ok();
    one == other || (one.version == other.version && json(one).is_some() && json(one) == json(other))
}
