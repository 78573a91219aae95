//! What asks who calls: a call of a stage, or a run that asks to be let in.

use stageflow_core::{ContextSnapshot, FieldValue, RunAdmission, StageContext};
use tokio::time::Instant;

use crate::clock::{self, since_epoch};

pub(super) trait Asks: Send + Sync {
    fn snapshot(&self) -> &ContextSnapshot;

    /// The time in nanoseconds since the epoch.
    fn now(&self) -> u64;

    fn tell(&self, event: &str, fields: Vec<(&str, FieldValue)>);
}

impl Asks for StageContext {
    fn snapshot(&self) -> &ContextSnapshot {
        self.snapshot()
    }

    fn now(&self) -> u64 {
        clock::now(self)
    }

    fn tell(&self, event: &str, fields: Vec<(&str, FieldValue)>) {
        self.emit(event, fields);
    }
}

impl Asks for RunAdmission {
    fn snapshot(&self) -> &ContextSnapshot {
        self.snapshot()
    }

    fn now(&self) -> u64 {
        since_epoch(Instant::now())
    }

    fn tell(&self, event: &str, fields: Vec<(&str, FieldValue)>) {
        self.emit(event, fields);
    }
}
