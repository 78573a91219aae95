//! Measures all cells in rounds: in each round every cell once, in another order, so that a disturbance meets all rows.

use std::time::Duration;

use anyhow::{Result, ensure};
use stageflow_benches::{
    graph::Dice,
    report::runtime,
    stopwatch::{Sample, Stopwatch},
    work::{Body, Cpu, Noop, Sleep, Yield},
};
use tokio::runtime::Runtime;

use crate::{
    cells::{self, Key},
    options::Options,
    rows::Prepared,
};

/// From this time per repetition on, a peer is measured in the first two rounds only.
const SLOW: Duration = Duration::from_millis(700);

/// All figures of one run of the bench.
pub(crate) struct Campaign {
    pub(crate) cells: Vec<Cell>,
    pub(crate) rounds: usize,
}

/// One figure, or why there is none.
pub(crate) struct Cell {
    pub(crate) key: Key,
    pub(crate) figure: Result<Figure, &'static str>,
}

/// Nanoseconds per stage.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Median of dropping the result.
    pub(crate) teardown: f64,
    pub(crate) samples: usize,
    /// Stages per sample.
    pub(crate) stages: usize,
}

impl Campaign {
    pub(crate) fn measure(options: &Options) -> Result<Self> {
        let rounds = if options.quick { 3 } else { 5 };
        let budget = Duration::from_millis(if options.quick { 40 } else { 120 });
        let runtimes = [runtime(1)?, runtime(2)?];
        let keys: Vec<Key> = cells::all().into_iter().filter(|key| key.matches(&options.filters)).collect();
        ensure!(!keys.is_empty(), "no cell matches {:?}", options.filters);
        let mut running: Vec<Running> = keys.into_iter().map(Running::new).collect();
        let mut order: Vec<usize> = (0..running.len()).collect();
        let mut dice = Dice::new(7);
        for round in 0..rounds {
            let watch = Stopwatch::start();
            dice.shuffle(&mut order);
            for index in &order {
                let cell = &mut running[*index];
                let runtime = &runtimes[cell.key.row.workers() - 1];
                cell.visit(runtime, round, budget);
            }
            crate::say(format_args!("round {} of {rounds}: {:.1?}", round + 1, watch.elapsed()));
        }
        Ok(Self { cells: running.into_iter().map(Running::finish).collect(), rounds })
    }

    pub(crate) fn figure(&self, key: Key) -> Option<Figure> {
        let cell = self.cells.iter().find(|cell| cell.key == key)?;
        cell.figure.ok()
    }
}

/// A cell that is being measured.
struct Running {
    key: Key,
    state: State,
    samples: Vec<Sample>,
}

enum State {
    New,
    Ready { prepared: Prepared, cost: Duration },
    Not(&'static str),
}

impl Running {
    fn new(key: Key) -> Self {
        let state = key.left_out().map_or(State::New, State::Not);
        Self { key, state, samples: Vec::new() }
    }

    fn visit(&mut self, runtime: &Runtime, round: usize, budget: Duration) {
        if matches!(self.state, State::New) {
            self.state = match prepare(self.key) {
                Ok(prepared) => self.warm_up(prepared, runtime),
                Err(why) => State::Not(why),
            };
        }
        let State::Ready { prepared, cost } = &mut self.state else { return };
        if *cost >= SLOW && round >= 2 && cells::PEERS.contains(&self.key.row) {
            return;
        }
        let watch = Stopwatch::start();
        loop {
            let left = budget.saturating_sub(watch.elapsed());
            let samples = measured(prepared, runtime, cost, left);
            self.samples.extend(samples);
            if watch.elapsed() + *cost / 2 >= budget {
                return;
            }
        }
    }

    /// Runs it a few times, so that what it needs and the time of a repetition are there.
    fn warm_up(&mut self, mut prepared: Prepared, runtime: &Runtime) -> State {
        let mut cost = Duration::MAX;
        let watch = Stopwatch::start();
        while watch.elapsed() < Duration::from_millis(5) {
            let samples = measured(&mut prepared, runtime, &mut cost, Duration::from_millis(1));
            // A run that takes long is no better warm.
            if cost >= SLOW {
                self.samples.extend(samples);
            }
        }
        State::Ready { prepared, cost }
    }

    fn finish(self) -> Cell {
        let figure = match &self.state {
            State::Ready { prepared, .. } => Ok(Figure::new(&self.samples, prepared.stages)),
            State::Not(why) => Err(*why),
            State::New => Err("was not visited"),
        };
        Cell { key: self.key, figure }
    }
}

/// Fills `left` with repetitions, at least one. Keeps the least time of a repetition, with everything that it prepares.
fn measured(prepared: &mut Prepared, runtime: &Runtime, cost: &mut Duration, left: Duration) -> Vec<Sample> {
    let count = usize::try_from(left.as_nanos() / cost.as_nanos().max(1)).unwrap_or(1).clamp(1, 1000);
    let watch = Stopwatch::start();
    let samples = prepared.case.sample(runtime, count);
    *cost = (watch.elapsed() / u32::try_from(count).unwrap_or(1)).min(*cost);
    samples
}

pub(crate) fn prepare(key: Key) -> Result<Prepared, &'static str> {
    match key.body {
        Body::Noop => key.row.prepare(key.shape, &Noop),
        Body::Yield => key.row.prepare(key.shape, &Yield),
        Body::Sleep => key.row.prepare(key.shape, &Sleep),
        Body::Cpu => key.row.prepare(key.shape, &Cpu),
    }
}

impl Figure {
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds and stages of a bench fit a float")]
    fn new(samples: &[Sample], stages: usize) -> Self {
        let per_stage = |time: Duration| time.as_nanos() as f64 / stages as f64;
        let mut runs: Vec<f64> = samples.iter().map(|sample| per_stage(sample.run)).collect();
        let mut teardowns: Vec<f64> = samples.iter().map(|sample| per_stage(sample.teardown)).collect();
        let median = median(&mut runs);
        Self {
            median,
            min: runs.first().copied().unwrap_or(f64::NAN),
            max: runs.last().copied().unwrap_or(f64::NAN),
            teardown: self::median(&mut teardowns),
            samples: samples.len(),
            stages,
        }
    }
}

/// The median; leaves the values sorted.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}
