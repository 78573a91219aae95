//! The one place that reads the clock, and the two positions in which a run is timed.
//!
//! A run is awaited inside a task that was spawned on the runtime, which is where a server handler awaits it. `run` is
//! the time from the call to the result; `teardown` is the time to drop the result. Making what a run consumes is outside
//! of both.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::runtime::Runtime;

/// Measures one stretch of time.
#[derive(Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts to measure.
    #[expect(
        clippy::disallowed_methods,
        reason = "a bench measures real time; the clock of a run would measure itself"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// From the call to the result.
    pub run: Duration,
    /// Dropping the result.
    pub teardown: Duration,
}

/// Something that can be run again and again.
pub trait Case {
    /// Runs it `count` times.
    fn sample(&mut self, runtime: &Runtime, count: usize) -> Vec<Sample>;

    /// Runs it `count` times and never drops a result, so that whoever counts instructions counts only those of the run.
    fn hold(&mut self, runtime: &Runtime, count: usize);
}

/// A case whose run is awaited in a spawned task. `make` prepares one run and is not timed.
#[derive(Debug)]
pub struct Spawned<M> {
    make: Arc<M>,
    runs: usize,
}

impl<M> Spawned<M> {
    /// A case of so many runs at the same time, each in a task of its own if there are several.
    pub fn new(runs: usize, make: M) -> Self {
        Self { make: Arc::new(make), runs }
    }
}

impl<M, F> Case for Spawned<M>
where
    M: Fn() -> F + Send + Sync + 'static,
    F: Future<Output: Send> + Send + 'static,
{
    fn sample(&mut self, runtime: &Runtime, count: usize) -> Vec<Sample> {
        let (make, runs) = (Arc::clone(&self.make), self.runs);
        let handler = runtime.spawn(async move {
            let mut samples = Vec::with_capacity(count);
            for _ in 0..count {
                samples.push(if runs == 1 {
                    one(make()).await
                } else {
                    several((0..runs).map(|_| make()).collect()).await
                });
            }
            samples
        });
        runtime.block_on(handler).expect("a run does not panic")
    }

    fn hold(&mut self, runtime: &Runtime, count: usize) {
        let make = Arc::clone(&self.make);
        let handler = runtime.spawn(async move {
            for _ in 0..count {
                tokio::task::yield_now().await;
                std::mem::forget(make().await);
            }
        });
        runtime.block_on(handler).expect("a run does not panic");
    }
}

async fn one<F: Future>(run: F) -> Sample {
    // A handler starts with a fresh budget.
    tokio::task::yield_now().await;
    let watch = Stopwatch::start();
    let result = run.await;
    let run = watch.elapsed();
    let watch = Stopwatch::start();
    drop(result);
    Sample { run, teardown: watch.elapsed() }
}

async fn several<F>(runs: Vec<F>) -> Sample
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut results = Vec::with_capacity(runs.len());
    tokio::task::yield_now().await;
    let watch = Stopwatch::start();
    let tasks: Vec<_> = runs.into_iter().map(tokio::spawn).collect();
    for task in tasks {
        results.push(task.await.expect("a run does not panic"));
    }
    let run = watch.elapsed();
    let watch = Stopwatch::start();
    drop(results);
    Sample { run, teardown: watch.elapsed() }
}

/// A case whose future cannot leave its thread: it is awaited on the thread that made it.
#[derive(Debug)]
pub struct Local<M> {
    make: M,
    runs: usize,
}

impl<M> Local<M> {
    /// A case of so many runs at the same time, all on one thread.
    pub fn new(runs: usize, make: M) -> Self {
        Self { make, runs }
    }
}

impl<M, F> Case for Local<M>
where
    M: Fn() -> F,
    F: Future,
{
    fn sample(&mut self, runtime: &Runtime, count: usize) -> Vec<Sample> {
        let one_of = |_| {
            if self.runs == 1 {
                return runtime.block_on(one((self.make)()));
            }
            let runs: Vec<F> = (0..self.runs).map(|_| (self.make)()).collect();
            runtime.block_on(one(join_all(runs)))
        };
        (0..count).map(one_of).collect()
    }

    fn hold(&mut self, runtime: &Runtime, count: usize) {
        for _ in 0..count {
            std::mem::forget(runtime.block_on((self.make)()));
        }
    }
}
