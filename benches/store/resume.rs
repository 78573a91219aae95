//! Going on with a run of 10,000 durable stages, of which all have ended but the last.

use std::sync::{Arc, atomic::Ordering};

use anyhow::{Context, Result, ensure};
use stageflow::{
    Engine, Pipeline, RunId,
    durable::{Durability, Journal, JournaledRun, RunHeader, RunKey, RunState},
    store::MemoryStore,
};
use stageflow_benches::{graph::Shape, stopwatch::Stopwatch};
use tokio::runtime::Runtime;

use crate::{
    lab::{Lab, TENANT},
    pipelines::{self, Door},
    stores::Kind,
};

/// So many entries are written at once.
const CHUNK: usize = 1_000;

/// A run that was left in the middle of its last stage, and its pipeline.
pub(crate) struct Left {
    pub(crate) shape: Shape,
    pub(crate) pipeline: Pipeline<(), String>,
    pub(crate) door: Door,
    pub(crate) run: JournaledRun,
}

impl Left {
    /// Runs a pipeline until its last stage is called, and drops it there.
    pub(crate) fn new(runtime: &Runtime, shape: Shape) -> Result<Self> {
        let door = Door::default();
        let pipeline = pipelines::durable(shape, &door);
        let stages = u32::try_from(pipeline.len())?;
        let store = MemoryStore::new();
        let engine = engine(store.clone())?;
        door.is_shut.store(true, Ordering::SeqCst);
        let run = runtime.block_on(async {
            let handle = engine.run(&pipeline, ()).start();
            while door.calls() < stages {
                ensure!(!handle.is_ended(), "a run whose last stage hangs has ended");
                tokio::task::yield_now().await;
            }
            let id = handle.run_id().context("it was let in")?;
            drop(handle);
            // Only when it has ended it is given back.
            while is_held(&store, id).await? {
                tokio::task::yield_now().await;
            }
            store.load(&RunKey::new(TENANT, id)).await?.context("it is in the journal")
        })?;
        door.is_shut.store(false, Ordering::SeqCst);
        Ok(Self { shape, pipeline, door, run })
    }

    /// Writes the run into a journal, as one that nobody goes on with.
    async fn copy(&self, journal: &dyn Journal) -> Result<RunId> {
        let key = RunKey::new(TENANT, RunId::new());
        let header = RunHeader { key: key.clone(), ..self.run.header.clone() };
        let lease = journal.begin(Arc::new(header)).await?;
        let mut written = Vec::new();
        for entries in self.run.entries.chunks(CHUNK) {
            written.push(journal.append(&key, lease, entries.to_vec()));
        }
        for ack in written {
            ack.await?;
        }
        journal.release(&key, lease);
        Ok(key.run())
    }
}

fn engine(store: MemoryStore) -> Result<Engine> {
    let journal = Durability::new(store).default_tenant(TENANT);
    Engine::builder().journal(journal).build().context("the engine is sound")
}

/// From the call of `resume` to the end of the run.
pub(crate) fn rest(lab: &Lab, kind: Kind, shape: Shape) -> Result<f64> {
    let left = lab.left(shape)?;
    let store = lab.store(kind)?;
    let engine = store.engine()?;
    let before = left.door.calls();
    let time = lab.runtime.block_on(async {
        let run = left.copy(&*store.journal).await?;
        while is_held(&*store.journal, run).await? {
            tokio::task::yield_now().await;
        }
        let pipeline = left.pipeline.clone();
        tokio::spawn(async move {
            let watch = Stopwatch::start();
            let rest = engine.resume(&pipeline, TENANT, run).await.context("the run is resumed")?;
            rest.await.context("the run completes")?;
            anyhow::Ok(watch.elapsed())
        })
        .await?
    })?;
    ensure!(left.door.calls() == before + 1, "only the last stage is called again");
    lab.settle(kind)?;
    Ok(time.as_secs_f64() * 1e9)
}

/// Whether a run was not given back yet.
async fn is_held(journal: &dyn Journal, run: RunId) -> Result<bool> {
    let open = journal.unfinished(&TENANT.into(), None, 10).await?;
    Ok(open.iter().any(|it| it.key.run() == run && it.state == RunState::Running))
}
