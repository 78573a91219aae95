//! Counts the bytes that a run needs beyond its plan, at the peak. Started by the bench `overhead`, which reads what it prints.
//!
//! It is a program of its own because its allocator counts, which would disturb the timings.

use std::{future::Future, sync::Arc};

use anyhow::Result;
use peak_alloc::PeakAlloc;
use stageflow::PipelineExt;
use stageflow_benches::{
    graph::Shape,
    hand::{self, Program},
    ours,
    work::Noop,
};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The largest of so many measurements counts: how far helpers come differs from run to run.
const TRIES: usize = 3;

fn main() -> Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    for shape in [Shape::FanOut(100_000), Shape::FanOut(1_000_000)] {
        let graph = shape.graph();
        let stages = graph.len();
        let pipeline = ours::units(&graph, &Noop);
        let peak = peak(&runtime, || {
            let pipeline = pipeline.clone();
            async move { pipeline.run(()).await }
        })?;
        print(&format!("ours {shape} per stage"), peak, stages);
        drop(pipeline);
        let program = Program::new(graph, &Noop);
        let peak = self::peak(&runtime, || {
            let program = Arc::clone(&program);
            async move {
                hand::join_set(program).await;
                Ok::<_, std::convert::Infallible>(())
            }
        })?;
        print(&format!("joinset {shape} per stage"), peak, stages);
    }
    for stages in [1000, 100_000] {
        let shape = Shape::Chain(stages);
        let large = values_of(&runtime, stages, &[7u8; 1024])?;
        let small = values_of(&runtime, stages, &7u8)?;
        print(&format!("values of 1 KiB on {shape}, keep output"), large.saturating_sub(small), 1);
        print(&format!("all of {shape}, keep output, per stage"), large, stages as usize);
    }
    Ok(())
}

/// The peak of a chain that hands on such values and keeps only the last.
fn values_of<V: Clone + Send + Sync + 'static>(runtime: &Runtime, stages: u32, value: &V) -> Result<usize> {
    let pipeline = ours::chain_of(stages, value);
    peak(runtime, || {
        let pipeline = pipeline.clone();
        async move { pipeline.run(()).await }
    })
}

/// How far the heap grows while a run goes on, after one run that warms everything up.
fn peak<F, T, E>(runtime: &Runtime, run: impl Fn() -> F) -> Result<usize>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    runtime.block_on(runtime.spawn(run()))??;
    let mut largest = 0;
    for _ in 0..TRIES {
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        runtime.block_on(runtime.spawn(run()))??;
        largest = largest.max(HEAP.peak_usage().saturating_sub(before));
    }
    Ok(largest)
}

#[expect(clippy::print_stdout, reason = "the output of this program is what the bench reads")]
#[expect(clippy::cast_precision_loss, reason = "bytes of a bench fit a float")]
fn print(name: &str, bytes: usize, stages: usize) {
    println!("{name} {:.1}", bytes as f64 / stages as f64);
}
