//! What is seen of running pipelines: wide events, metrics, logs, and that none of them tells one tenant of another.

mod canary;
pub(crate) mod logs;
mod lost;
mod measured;
mod metrics;
mod table;
mod waits;
pub(crate) mod wide;

use std::sync::{Arc, Mutex};

use stageflow::{
    EngineBuilder,
    events::{WideEvents, WideRecord, WideRun, WideStage},
    prelude::*,
};

/// Keeps wide records.
#[derive(Clone, Default)]
pub(crate) struct Records(Arc<Mutex<Vec<WideRecord>>>);

impl Records {
    pub(crate) fn sink(&self) -> WideEvents {
        let records = Arc::clone(&self.0);
        WideEvents::new(move |record| records.lock().expect("no panic").push(record.clone()))
    }

    pub(crate) fn all(&self) -> Vec<WideRecord> {
        self.0.lock().expect("no panic").clone()
    }

    pub(crate) fn runs(&self) -> Vec<WideRun> {
        let run = |record| if let WideRecord::Run(run) = record { Some(*run) } else { None };
        self.all().into_iter().filter_map(run).collect()
    }

    pub(crate) fn stages(&self) -> Vec<WideStage> {
        let stage = |record| if let WideRecord::Stage(stage) = record { Some(*stage) } else { None };
        self.all().into_iter().filter_map(stage).collect()
    }

    pub(crate) fn stage(&self, name: &str) -> WideStage {
        let mut named = self.stages();
        named.retain(|stage| stage.stage == name);
        assert_eq!(named.len(), 1, "one record of {name}");
        named.remove(0)
    }

    /// An engine of a builder, whose runs are told here.
    pub(crate) fn of(&self, engine: EngineBuilder) -> Engine {
        engine.sink(self.sink()).build().expect("a sink is no problem")
    }
}
