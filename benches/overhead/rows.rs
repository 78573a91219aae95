//! The rows of the table: who runs the graphs.

use std::{fmt, sync::Arc};

use stageflow::PipelineExt;
use stageflow_benches::{
    graph::{Graph, Shape},
    hand::{self, Program},
    ours::{self, Recorded},
    stopwatch::{Case, Spawned},
    work::Work,
};

use crate::peers;

/// Who runs a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Row {
    /// Ours with nothing attached.
    Ours,
    /// Ours with a recording sink and two interceptors that do nothing.
    Observed,
    /// Ours with what logs by `tracing`, where nobody collects it.
    Unheard,
    /// Ours with nothing attached, with a value on every edge.
    Values,
    /// Ours with nothing attached, on a runtime with one worker.
    OneWorker,
    /// By hand: a task per stage in a `JoinSet`.
    JoinSet,
    /// By hand: a task per stage, atomic in-degrees.
    Atomic,
    /// By hand: one task, `FuturesUnordered`.
    Unordered,
    /// By hand: one boxed future after the other.
    Awaited,
    AsyncDag,
    Dagx,
    Dagrs,
    GraphFlow,
}

impl Row {
    pub(crate) const ALL: &[Self] = &[
        Self::Ours,
        Self::Observed,
        Self::Unheard,
        Self::Values,
        Self::OneWorker,
        Self::JoinSet,
        Self::Atomic,
        Self::Unordered,
        Self::Awaited,
        Self::AsyncDag,
        Self::Dagx,
        Self::Dagrs,
        Self::GraphFlow,
    ];

    /// On how many workers it runs.
    pub(crate) fn workers(self) -> usize {
        if self == Self::OneWorker { 1 } else { 2 }
    }

    /// Readies the row to run `shape` again and again, or says why it cannot.
    pub(crate) fn prepare<W: Work>(self, shape: Shape, work: &W) -> Result<Prepared, &'static str> {
        let graph = shape.graph();
        let (runs, stages) = (shape.runs(), graph.len() * shape.runs());
        let spawned = match self {
            Self::Ours | Self::OneWorker => bare(runs, &graph, work),
            Self::Observed => observed(runs, &graph, work),
            Self::Unheard => unheard(runs, &graph, work),
            Self::Values => with_values(runs, &graph, work),
            Self::JoinSet => by_hand(runs, graph, work, hand::join_set),
            Self::Atomic => by_hand(runs, graph, work, hand::atomic),
            Self::Unordered => by_hand(runs, graph, work, hand::unordered),
            Self::Awaited => by_hand(runs, graph, work, hand::awaited),
            Self::AsyncDag => return peers::async_dag(shape, work),
            Self::Dagx => return peers::dagx(shape, work),
            Self::Dagrs => return peers::dagrs(shape, work),
            Self::GraphFlow => return peers::graph_flow(shape, work),
        };
        Ok(Prepared { case: spawned, stages })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ours => "ours",
            Self::Observed => "ours-observed",
            Self::Unheard => "ours-unheard",
            Self::Values => "ours-with-values",
            Self::OneWorker => "ours-one-worker",
            Self::JoinSet => "joinset",
            Self::Atomic => "atomic-spawn",
            Self::Unordered => "futures-unordered",
            Self::Awaited => "awaited",
            Self::AsyncDag => "async_dag",
            Self::Dagx => "dagx",
            Self::Dagrs => "dagrs",
            Self::GraphFlow => "graph-flow",
        })
    }
}

/// A row that is ready to run, and how many stages it runs each time.
pub(crate) struct Prepared {
    pub(crate) case: Box<dyn Case>,
    pub(crate) stages: usize,
}

fn bare(runs: usize, graph: &Graph, work: &impl Work) -> Box<dyn Case> {
    let pipeline = ours::units(graph, work);
    Box::new(Spawned::new(runs, move || {
        let pipeline = pipeline.clone();
        async move { pipeline.run(()).await.expect("the run completes") }
    }))
}

fn with_values(runs: usize, graph: &Graph, work: &impl Work) -> Box<dyn Case> {
    let pipeline = ours::values(graph, work);
    Box::new(Spawned::new(runs, move || {
        let pipeline = pipeline.clone();
        async move { pipeline.run(()).await.expect("the run completes") }
    }))
}

fn observed(runs: usize, graph: &Graph, work: &impl Work) -> Box<dyn Case> {
    let pipeline = ours::units(graph, work);
    let (engine, recorder) = ours::observed();
    Box::new(Spawned::new(runs, move || {
        let (pipeline, engine, recorder) = (pipeline.clone(), engine.clone(), recorder.clone());
        async move { Recorded { result: engine.run(&pipeline, ()).await.expect("the run completes"), recorder } }
    }))
}

fn unheard(runs: usize, graph: &Graph, work: &impl Work) -> Box<dyn Case> {
    let (pipeline, engine) = (ours::units(graph, work), ours::unheard());
    Box::new(Spawned::new(runs, move || {
        let (pipeline, engine) = (pipeline.clone(), engine.clone());
        async move { engine.run(&pipeline, ()).await.expect("the run completes") }
    }))
}

fn by_hand<F>(runs: usize, graph: Graph, work: &impl Work, run: fn(Arc<Program>) -> F) -> Box<dyn Case>
where
    F: Future<Output = ()> + Send + 'static,
{
    let program = Program::new(graph, work);
    Box::new(Spawned::new(runs, move || run(Arc::clone(&program))))
}
