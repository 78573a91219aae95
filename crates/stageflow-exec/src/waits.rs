//! What stages have waited for, added up: noted where somebody waits, and nowhere else.

use std::{collections::HashMap, sync::Arc, time::Duration};

use stageflow_core::{CustomEvent, EventKind, FieldValue, WaitKind, WaitReason, WaitSum};

use crate::run::RunCore;

/// The waits of the stages of a run.
#[derive(Debug, Default)]
pub(crate) struct Waited {
    /// What a stage waits for now, and since when, in nanoseconds of the run.
    open: HashMap<u32, (WaitKind, u64)>,
    sums: HashMap<u32, Vec<WaitSum>>,
}

impl Waited {
    /// A stage waits for something else from now on, or for nothing.
    pub(crate) fn set(&mut self, stage: u32, reason: Option<&WaitReason>, now: u64) {
        let before = match reason.and_then(WaitReason::kind) {
            Some(kind) => self.open.insert(stage, (kind, now)),
            None if self.open.is_empty() => None,
            None => self.open.remove(&stage),
        };
        let Some((kind, since)) = before else { return };
        let time = Duration::from_nanos(now.saturating_sub(since));
        let sums = self.sums.entry(stage).or_default();
        match sums.iter_mut().find(|sum| sum.kind == kind) {
            Some(sum) => {
                sum.count += 1;
                sum.total += time;
            }
            None => sums.push(WaitSum::new(kind, 1, time)),
        }
    }

    /// Since when a stage waits, in nanoseconds of the run.
    pub(crate) fn since(&self, stage: u32) -> Option<u64> {
        self.open.get(&stage).map(|(_, since)| *since)
    }

    /// What a stage has waited for so far, by kind.
    pub(crate) fn of(&self, stage: u32) -> Vec<WaitSum> {
        let mut sums = self.sums.get(&stage).cloned().unwrap_or_default();
        sums.sort_unstable_by_key(|sum| sum.kind);
        sums
    }
}

impl RunCore {
    /// What a stage has waited for, if it ever did.
    pub(crate) fn waits_of(&self, stage: u32) -> Vec<WaitSum> {
        self.known_details().map(|details| details.waited.of(stage)).unwrap_or_default()
    }
}

/// The event that tells what a stage has waited for.
pub(crate) fn told(waits: &[WaitSum]) -> EventKind {
    let fields = waits.iter().flat_map(|wait| {
        let kind = wait.kind.as_str();
        let time = FieldValue::from(stageflow_core::time::nanos(wait.total));
        [(format!("{kind}_ns"), time), (format!("{kind}_count"), wait.count.into())]
    });
    EventKind::Custom(Arc::new(CustomEvent::new("stage.waited", fields)))
}
