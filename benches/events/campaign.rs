//! Measures all rows in rounds: in each round every row once, in another order, so that a disturbance meets all of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use stageflow::Pipeline;
use stageflow_benches::{
    graph::{Dice, Shape},
    ours,
    report::{Spread, runtime},
    stopwatch::Stopwatch,
    work::Noop,
};
use tokio::{runtime::Runtime, task};

use crate::{
    Options,
    emit::{Emitting, Way},
    rows::{Attached, Row},
};

/// The runs of 10,000 stages.
pub(crate) const SHAPES: &[Shape] =
    &[Shape::Chain(10_000), Shape::Layered { layers: 100, width: 100, degree: 3 }];
/// How many events each stage has: it starts and it ends.
pub(crate) const EVENTS: u32 = 2;

/// All figures of one run of the bench.
pub(crate) struct Campaign {
    pub(crate) emitting: Vec<(Way, Spread)>,
    pub(crate) runs: Vec<Cell>,
    pub(crate) rounds: usize,
}

/// What a row costs on a shape, per stage.
pub(crate) struct Cell {
    pub(crate) row: Row,
    pub(crate) shape: Shape,
    /// On the processor, by the worker that runs the stages.
    pub(crate) worker: Spread,
    /// From the call to the result.
    pub(crate) wall: Spread,
}

impl Campaign {
    pub(crate) fn measure(options: &Options) -> Result<Self> {
        let (rounds, runs, batches) = if options.quick { (5, 2, 20) } else { (15, 4, 60) };
        // One worker, so that the other core is the sinks'.
        let runtime = runtime(1)?;
        let mut cells = Vec::new();
        for shape in SHAPES {
            let pipeline = ours::units(&shape.graph(), &Noop);
            for row in Row::ALL.iter().filter(|row| matches(options, row.name())) {
                cells.push(Running::new(*row, *shape, pipeline.clone())?);
            }
        }
        let ways: Vec<Way> = Way::ALL.iter().copied().filter(|way| matches(options, way.name())).collect();
        ensure!(!cells.is_empty() || !ways.is_empty(), "nothing matches {:?}", options.filters);
        let mut emitting = Emitting::prepare(&runtime)?;
        let mut emitted: Vec<Vec<f64>> = ways.iter().map(|_| Vec::new()).collect();
        let mut order: Vec<usize> = (0..cells.len()).collect();
        let mut dice = Dice::new(7);
        for round in 0..rounds {
            let watch = Stopwatch::start();
            for _ in 0..batches {
                for (way, figures) in ways.iter().zip(&mut emitted) {
                    figures.push(emitting.batch(&runtime, *way)?);
                }
            }
            dice.shuffle(&mut order);
            for index in &order {
                // The first one warms up, and what was away comes back.
                cells[*index].visit(&runtime, runs)?;
            }
            crate::say(format_args!("round {} of {rounds}: {:.1?}", round + 1, watch.elapsed()));
        }
        emitting.check()?;
        Ok(Self {
            emitting: ways.into_iter().zip(emitted.iter().map(|figures| Spread::of(figures))).collect(),
            runs: cells.into_iter().map(Running::finish).collect(),
            rounds,
        })
    }

    pub(crate) fn emitting(&self, way: Way) -> Option<Spread> {
        self.emitting.iter().find(|(one, _)| *one == way).map(|(_, figure)| *figure)
    }

    pub(crate) fn cell(&self, row: Row, shape: Shape) -> Option<&Cell> {
        self.runs.iter().find(|cell| cell.row == row && cell.shape == shape)
    }
}

fn matches(options: &Options, name: &str) -> bool {
    options.filters.iter().all(|word| name.contains(word.as_str()))
}

struct Running {
    row: Row,
    shape: Shape,
    stages: f64,
    pipeline: Pipeline<(), ()>,
    attached: Option<Attached>,
    worker: Vec<f64>,
    wall: Vec<f64>,
}

impl Running {
    fn new(row: Row, shape: Shape, pipeline: Pipeline<(), ()>) -> Result<Self> {
        let stages = f64::from(u32::try_from(shape.graph().len())?);
        let attached = Some(row.attach().with_context(|| row.name())?);
        Ok(Self { row, shape, stages, pipeline, attached, worker: Vec::new(), wall: Vec::new() })
    }

    fn visit(&mut self, runtime: &Runtime, runs: usize) -> Result<()> {
        let attached = self.attached.take().context("a visit gives back what it was lent")?;
        let pipeline = self.pipeline.clone();
        let (attached, times) = runtime.block_on(runtime.spawn(async move {
            let mut times = Vec::new();
            for _ in 0..=runs {
                times.push(one(&attached, &pipeline).await?);
                attached.settle().await?;
            }
            anyhow::Ok((attached, times))
        }))??;
        self.attached = Some(attached);
        for (worker, wall) in times.into_iter().skip(1) {
            self.worker.push(worker.as_secs_f64() * 1e9 / self.stages);
            self.wall.push(wall.as_secs_f64() * 1e9 / self.stages);
        }
        Ok(())
    }

    fn finish(self) -> Cell {
        let (worker, wall) = (Spread::of(&self.worker), Spread::of(&self.wall));
        Cell { row: self.row, shape: self.shape, worker, wall }
    }
}

/// One run: the time of the only worker on the processor, and the time that passed.
async fn one(attached: &Attached, pipeline: &Pipeline<(), ()>) -> Result<(Duration, Duration)> {
    task::yield_now().await;
    let (watch, before) = (Stopwatch::start(), processor_time()?);
    let result = attached.engine.run(pipeline, ()).await;
    let times = (processor_time()?.saturating_sub(before), watch.elapsed());
    result.context("the run completes")?;
    Ok(times)
}

/// How long this thread has been on a processor.
fn processor_time() -> Result<Duration> {
    clock_gettime(ClockId::ThreadCPUTime).try_into().context("a time is not negative")
}
