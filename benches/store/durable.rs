//! Durable stages: of many runs at the same time, and of one that is wide.

use anyhow::{Context, Result};
use stageflow::{Engine, Pipeline};
use stageflow_benches::{graph::Shape, stopwatch::Stopwatch};

use crate::{lab::Lab, pipelines, stores::Kind};

/// The durable stages of each run: one after the other.
pub(crate) const STAGES: u32 = 20;

/// What a durable stage takes, of so many runs at the same time, with what it takes to begin and to end them.
pub(crate) fn runs(lab: &Lab, kind: Kind, runs: u32) -> Result<f64> {
    let pipeline = pipelines::durable(Shape::Chain(STAGES), &lab.door);
    let engine = lab.store(kind)?.engine()?;
    // So many one after the other, so that a measurement with few runs takes some time, too.
    let again = (lab.commits() / (runs * STAGES)).max(2);
    let time = lab.runtime.block_on(async {
        let watch = Stopwatch::start();
        let tasks: Vec<_> =
            (0..runs).map(|_| tokio::spawn(several(engine.clone(), pipeline.clone(), again))).collect();
        for task in tasks {
            task.await??;
        }
        anyhow::Ok(watch.elapsed())
    })?;
    lab.settle(kind)?;
    Ok(time.as_secs_f64() * 1e9 / f64::from(runs * STAGES * again))
}

async fn several(engine: Engine, pipeline: Pipeline<(), String>, count: u32) -> Result<()> {
    for _ in 0..count {
        engine.run(&pipeline, ()).await.context("the run completes")?;
    }
    Ok(())
}

/// What a durable stage takes, of one run in which so many may be called at the same time.
pub(crate) fn wide(lab: &Lab, kind: Kind, stages: u32) -> Result<f64> {
    let pipeline = pipelines::durable(Shape::FanOut(stages), &lab.door);
    let engine = lab.store(kind)?.engine()?;
    let time = lab.runtime.block_on(lab.runtime.spawn(async move {
        let watch = Stopwatch::start();
        engine.run(&pipeline, ()).await.context("the run completes")?;
        anyhow::Ok(watch.elapsed())
    }))??;
    lab.settle(kind)?;
    Ok(time.as_secs_f64() * 1e9 / f64::from(stages))
}
