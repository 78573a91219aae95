//! A journal that is there, and stages that are not durable.

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use stageflow::{
    Engine,
    durable::{Durability, Journal as _},
    store::MemoryStore,
};
use stageflow_benches::{graph::Shape, ours, work::Noop};
use std::time::{Duration, SystemTime};

use crate::{
    lab::{Lab, TENANT},
    stores::Kind,
};

/// What an engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Bare,
    /// A journal, in which nothing is written as no stage is durable.
    Attached,
    /// A journal in which every run is written, in memory.
    Every,
    /// The same, in SQLite.
    EverySqlite,
}

impl Row {
    pub(crate) const ALL: &[Self] = &[Self::Bare, Self::Attached, Self::Every, Self::EverySqlite];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "without a journal",
            Self::Attached => "with a journal",
            Self::Every => "every run is written, memory",
            Self::EverySqlite => "every run is written, SQLite",
        }
    }
}

/// What a stage that does nothing takes on the processor, by the worker that runs the stages.
pub(crate) fn stages(lab: &Lab, row: Row, shape: Shape) -> Result<f64> {
    let pipeline = ours::units(&shape.graph(), &Noop);
    let stages = shape.graph().len();
    let store = MemoryStore::new();
    let engine = match row {
        Row::Bare => Engine::builder(),
        Row::Attached => Engine::builder().journal(store.clone()),
        Row::Every => {
            Engine::builder().journal(Durability::new(store.clone()).every_run().default_tenant(TENANT))
        }
        Row::EverySqlite => Engine::builder().journal(lab.store(Kind::Sqlite)?.durability().every_run()),
    };
    let engine = engine.build().context("the engine is sound")?;
    // About as many stages in each measurement.
    let runs = (20_000 / stages).max(2);
    let time = lab.one_worker.block_on(lab.one_worker.spawn(async move {
        let mut spent = Duration::ZERO;
        for run in 0..=runs {
            tokio::task::yield_now().await;
            let before = processor_time()?;
            let result = engine.run(&pipeline, ()).await;
            let time = processor_time()?.saturating_sub(before);
            result.context("the run completes")?;
            // The first one warms up.
            if run > 0 {
                spent += time;
            }
            let forgotten = store.forget_ended(&TENANT.into(), SystemTime::UNIX_EPOCH + FAR).await;
            forgotten.context("the store forgets")?;
        }
        anyhow::Ok(spent)
    }))??;
    if row == Row::EverySqlite {
        lab.settle(Kind::Sqlite)?;
    }
    Ok(time.as_secs_f64() * 1e9 / (stages * runs) as f64)
}

/// Later than any run ends.
pub(crate) const FAR: Duration = Duration::from_secs(1 << 33);

/// How long this thread has been on a processor.
fn processor_time() -> Result<Duration> {
    clock_gettime(ClockId::ThreadCPUTime).try_into().context("a time is not negative")
}
