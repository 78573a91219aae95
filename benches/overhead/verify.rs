//! Every row runs each stage once, after all it waits for: checked on small graphs before anything is measured.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use anyhow::{Result, bail};
use stageflow_benches::{
    graph::{Graph, Shape},
    report::runtime,
    work::Work,
};

use crate::rows::Row;

const SMALL: &[Shape] = &[
    Shape::Chain(10),
    Shape::FanOut(20),
    Shape::Layered { layers: 6, width: 8, degree: 3 },
    Shape::Runs { runs: 1, stages: 10 },
];

pub(crate) fn all() -> Result<()> {
    let runtimes = [runtime(1)?, runtime(2)?];
    let mut checked = 0;
    for row in Row::ALL {
        for (shape, yields) in SMALL.iter().flat_map(|shape| [(*shape, false), (*shape, true)]) {
            let log = Log::new(shape.graph());
            let Ok(mut prepared) = row.prepare(shape, &Probe { log: Arc::clone(&log), yields }) else {
                continue;
            };
            prepared.case.sample(&runtimes[row.workers() - 1], 1);
            if let Err(what) = log.check(prepared.stages) {
                bail!("{row} on {shape}: {what}");
            }
            checked += 1;
        }
    }
    crate::say(format_args!("verified {checked} small runs: each stage ran once, after those it waits for"));
    Ok(())
}

/// Notes when each stage starts and ends.
struct Log {
    graph: Graph,
    now: AtomicU32,
    notes: Vec<Note>,
}

#[derive(Default)]
struct Note {
    starts: AtomicU32,
    started: AtomicU32,
    ended: AtomicU32,
}

impl Log {
    fn new(graph: Graph) -> Arc<Self> {
        let notes = graph.stages().map(|_| Note::default()).collect();
        Arc::new(Self { graph, now: AtomicU32::new(1), notes })
    }

    fn tick(&self) -> u32 {
        self.now.fetch_add(1, Ordering::SeqCst)
    }

    /// Looks at the first `stages` stages.
    fn check(&self, stages: usize) -> Result<(), String> {
        for stage in self.graph.stages().take(stages) {
            let note = &self.notes[stage as usize];
            let starts = note.starts.load(Ordering::SeqCst);
            if starts != 1 {
                return Err(format!("stage {stage} ran {starts} times"));
            }
            for before in self.graph.dependencies(stage) {
                let ended = self.notes[*before as usize].ended.load(Ordering::SeqCst);
                if ended == 0 || ended > note.started.load(Ordering::SeqCst) {
                    return Err(format!("stage {stage} did not wait for stage {before}"));
                }
            }
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Probe {
    log: Arc<Log>,
    yields: bool,
}

impl Work for Probe {
    fn call(&self, stage: u32) -> impl Future<Output = ()> + Send + use<> {
        let Self { log, yields } = self.clone();
        async move {
            let note = &log.notes[stage as usize];
            note.starts.fetch_add(1, Ordering::SeqCst);
            note.started.store(log.tick(), Ordering::SeqCst);
            if yields {
                tokio::task::yield_now().await;
            }
            note.ended.store(log.tick(), Ordering::SeqCst);
        }
    }
}
