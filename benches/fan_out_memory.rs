//! Counts the bytes that a map over many items needs at the peak. Started by the bench `plus`, which reads what it prints.
//!
//! It is a program of its own because its allocator counts, which would disturb the timings.

use anyhow::{Context as _, Result};
use peak_alloc::PeakAlloc;
use stageflow::{
    Owned, Pipeline, PipelineExt as _, StageContext, StageResult,
    plus::fan_out::{Items, MapExt as _},
    stage_fn,
};
use tokio::runtime::Builder;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// A map over numbers, the outputs of which take no memory: `LIMIT ITEMS`, and the bytes.
#[expect(clippy::print_stdout, reason = "the output of this program is what the bench reads")]
fn main() -> Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
    let mut args = std::env::args().skip(1);
    let limit: usize = args.next().context("a limit")?.parse()?;
    let items: u64 = args.next().context("a number of items")?.parse()?;
    let stage = stage_fn(|_: StageContext, Owned(_): Owned<u64>| async move {
        tokio::task::yield_now().await;
        StageResult::Ok(())
    });
    let mut p = Pipeline::builder("bench");
    let numbers = p.input();
    let done = p.map("each", stage).max_in_flight(limit).over(numbers);
    let pipeline: Pipeline<Items<u64>, Vec<()>> = p.build(done)?;
    let run = |items| {
        let pipeline = pipeline.clone();
        runtime.block_on(runtime.spawn(async move { pipeline.run(Items::new(0..items)).await }))
    };
    run(10)??;
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    run(items)??;
    println!("{}", HEAP.peak_usage().saturating_sub(before));
    Ok(())
}
