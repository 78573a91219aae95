//! The same graphs as one would run them by hand on tokio, without an engine.
//!
//! A program is what a run does not change: the graph as two flat lists, and for each stage a function that makes its
//! boxed future. Whatever a run counts, it makes itself, within the time that is measured.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{sync::Notify, task::JoinSet};

use crate::{graph::Graph, work::Work};

/// A future of its own size on the heap.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Makes the future of one stage.
pub type StageFn = Box<dyn Fn() -> BoxFuture + Send + Sync>;

/// A graph and the bodies of its stages.
pub struct Program {
    graph: Graph,
    stages: Vec<StageFn>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("stages", &self.stages.len()).finish_non_exhaustive()
    }
}

impl Program {
    /// The program in which every stage does `work`.
    pub fn new(graph: Graph, work: &impl Work) -> Arc<Self> {
        let stages = graph.stages().map(|stage| stage_fn(work.clone(), stage)).collect();
        Arc::new(Self { graph, stages })
    }

    fn start(&self, stage: u32) -> BoxFuture {
        (self.stages[stage as usize])()
    }

    fn waiting(&self) -> Vec<u32> {
        self.graph.stages().map(|stage| self.graph.in_degree(stage)).collect()
    }
}

/// A body that makes the boxed future of `work`.
pub fn stage_fn(work: impl Work, stage: u32) -> StageFn {
    Box::new(move || Box::pin(work.call(stage)))
}

/// A task per stage in a `JoinSet`; whoever joins them counts what each stage still waits for.
pub async fn join_set(program: Arc<Program>) {
    let mut waiting = program.waiting();
    let mut tasks = JoinSet::new();
    let spawn = |tasks: &mut JoinSet<u32>, stage| {
        let future = program.start(stage);
        tasks.spawn(async move {
            future.await;
            stage
        });
    };
    for root in program.graph.roots() {
        spawn(&mut tasks, root);
    }
    while let Some(done) = tasks.join_next().await {
        let done = done.expect("a stage does not panic");
        for next in program.graph.successors(done) {
            waiting[*next as usize] -= 1;
            if waiting[*next as usize] == 0 {
                spawn(&mut tasks, *next);
            }
        }
    }
}

/// A task per stage; the task that ends counts down what comes after it, and spawns it.
pub async fn atomic(program: Arc<Program>) {
    let waiting = program.waiting().into_iter().map(AtomicU32::new).collect();
    let left = AtomicUsize::new(program.stages.len());
    let run = Arc::new(AtomicRun { program, waiting, left, done: Notify::new() });
    for root in run.program.graph.roots() {
        AtomicRun::spawn(&run, root);
    }
    run.done.notified().await;
}

struct AtomicRun {
    program: Arc<Program>,
    waiting: Box<[AtomicU32]>,
    left: AtomicUsize,
    done: Notify,
}

impl AtomicRun {
    fn spawn(run: &Arc<Self>, stage: u32) {
        let future = run.program.start(stage);
        let run = Arc::clone(run);
        tokio::spawn(async move {
            future.await;
            for next in run.program.graph.successors(stage) {
                if run.waiting[*next as usize].fetch_sub(1, Ordering::AcqRel) == 1 {
                    Self::spawn(&run, *next);
                }
            }
            if run.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                run.done.notify_one();
            }
        });
    }
}

/// All stages in one task, in a `FuturesUnordered`.
pub async fn unordered(program: Arc<Program>) {
    let mut waiting = program.waiting();
    let mut running = FuturesUnordered::new();
    let start = |stage| {
        let future = program.start(stage);
        async move {
            future.await;
            stage
        }
    };
    for root in program.graph.roots() {
        running.push(start(root));
    }
    while let Some(done) = running.next().await {
        for next in program.graph.successors(done) {
            waiting[*next as usize] -= 1;
            if waiting[*next as usize] == 0 {
                running.push(start(*next));
            }
        }
    }
}

/// One boxed future after the other, in topological order: the floor for a chain.
pub async fn awaited(program: Arc<Program>) {
    for stage in program.graph.stages() {
        program.start(stage).await;
    }
}
