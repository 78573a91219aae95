//! What several scenarios need: load from many tasks, and what is left of a run that failed.

use std::{
    future::Future,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use stageflow::{Completed, RunError, RunOutcome, RunReport, StageOutcome};

/// How a run ended.
pub(super) type Ended<O> = std::result::Result<Completed<O>, RunError>;

/// Calls a function so many times, each on a task of its own, so many of them at a time.
pub(super) async fn load<T, F>(times: usize, at_a_time: usize, call: impl Fn(usize) -> F) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks = stream::iter((0..times).map(|index| tokio::spawn(call(index))));
    tasks.buffered(at_a_time.max(1)).try_collect().await.context("a request of the load")
}

/// The report of a run, however it ended.
pub(super) fn report_of<O: Send + Sync + 'static>(ended: &Ended<O>) -> Option<RunReport> {
    match ended {
        Ok(run) => Some(run.report()),
        Err(error) => error.report(),
    }
}

/// The outcome of a run, however it ended.
pub(super) fn outcome_of<O: Send + Sync + 'static>(ended: &Ended<O>) -> Option<RunOutcome> {
    match ended {
        Ok(run) => Some(run.outcome()),
        Err(error) => error.outcome(),
    }
}

/// How many stages of a run completed.
pub(super) fn completed<O: Send + Sync + 'static>(ended: &Ended<O>) -> usize {
    let report = report_of(ended);
    let stages = report.iter().flat_map(RunReport::stages);
    stages.filter(|stage| stage.outcome == StageOutcome::Completed).count()
}

/// A count that many tasks add to.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicUsize);

impl Counter {
    /// Adds one, and gives the new count.
    pub(super) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Adds so many.
    pub(super) fn add_all(&self, number: usize) {
        self.0.fetch_add(number, Ordering::SeqCst);
    }

    /// Takes one off.
    pub(super) fn take_off(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    /// Keeps the greater one of the count and a number.
    pub(super) fn raise_to(&self, number: usize) {
        self.0.fetch_max(number, Ordering::SeqCst);
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}
