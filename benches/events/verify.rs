//! That each row takes the events it is measured with: all of them.

use anyhow::{Context, Result, ensure};
use stageflow_benches::{ours, report::runtime, work::Noop};

use crate::{
    campaign::{EVENTS, SHAPES},
    rows::Row,
};

pub(crate) fn all() -> Result<()> {
    let runtime = runtime(1)?;
    for shape in SHAPES {
        let graph = shape.graph();
        let pipeline = ours::units(&graph, &Noop);
        let stages = graph.len() as u64;
        // The run starts and ends, too.
        let events = stages * u64::from(EVENTS) + 2;
        for row in Row::ALL {
            let attached = row.attach().with_context(|| row.name())?;
            runtime.block_on(async {
                attached.engine.run(&pipeline, ()).await.context("the run completes")?;
                attached.settle().await
            })?;
            for account in attached.engine.sink_accounts() {
                let told = if row.is_heard() { events } else { 0 };
                ensure!(account.delivered == told, "{}: {account:?}, and not {told} events", row.name());
            }
            (attached.check)(stages, events).with_context(|| row.name())?;
        }
    }
    crate::say(format_args!("verified {} rows: nothing is lost", Row::ALL.len()));
    Ok(())
}
