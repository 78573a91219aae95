//! That what is measured is in the store: all of it, and once.

use anyhow::{Context, Result, ensure};
use stageflow::{
    RunId,
    durable::{EntryKind, RunKey},
};
use stageflow_benches::graph::Shape;

use crate::{
    answers,
    lab::{Lab, TENANT},
    pipelines::{self, BYTES},
    resume,
    stores::Opened,
    what::RESUMED,
};

pub(crate) fn all(lab: &Lab) -> Result<()> {
    for store in lab.stores() {
        let name = store.kind.name();
        written(lab, store).with_context(|| name)?;
        kept(lab, store).with_context(|| name)?;
        for shape in RESUMED {
            resume::rest(lab, store.kind, *shape).with_context(|| format!("{name}, {shape}"))?;
        }
    }
    crate::say(format_args!("verified {} stores: what was measured is in them", lab.stores().len()));
    Ok(())
}

/// Each durable stage has its output in the journal, with all its bytes.
fn written(lab: &Lab, store: &Opened) -> Result<()> {
    const STAGES: u32 = 10;
    let pipeline = pipelines::durable(Shape::Chain(STAGES), &lab.door);
    let engine = store.engine()?;
    let journaled = lab.runtime.block_on(async {
        let run = engine.run(&pipeline, ()).await.context("the run completes")?;
        let journaled = store.journal.load(&RunKey::new(TENANT, run.run_id())).await?;
        journaled.context("the run is in its journal")
    })?;
    let outputs = journaled.entries.iter().filter(|entry| matches!(entry.kind, EntryKind::StageEnded { .. }));
    let lengths: Vec<_> =
        outputs.map(|entry| entry.payload.as_ref().map_or(0, |it| it.bytes.len())).collect();
    ensure!(lengths == [BYTES + 2; STAGES as usize], "outputs of {lengths:?} bytes");
    ensure!(journaled.outcome().is_some(), "the end is written");
    Ok(())
}

/// An answer is kept the first time, and given the second.
fn kept(lab: &Lab, store: &Opened) -> Result<()> {
    lab.runtime.block_on(async {
        let key = RunId::new().to_string();
        answers::one(&*store.answers, &key, false).await?;
        answers::one(&*store.answers, &key, true).await
    })
}
