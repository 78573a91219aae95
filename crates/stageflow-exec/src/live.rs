//! The runs an engine has let in and that have not ended.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use slab::Slab;
use stageflow_core::{CancelCause, code};
use tokio::sync::Notify;

use crate::{
    ending::EndCause,
    error::RunError,
    run::RunCore,
    shutdown::{AbandonedRun, ShutdownReport},
};

#[derive(Debug)]
pub(crate) struct LiveRuns {
    /// `None` for the plain engine, which nobody can shut down.
    state: Option<Mutex<State>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    runs: Slab<Weak<RunCore>>,
    closing: bool,
}

impl LiveRuns {
    pub(crate) fn tracked() -> Self {
        Self { state: Some(Mutex::default()), changed: Notify::new() }
    }

    pub(crate) fn untracked() -> Self {
        Self { state: None, changed: Notify::new() }
    }

    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        self.state.as_ref().map(|state| state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets a run in, unless the engine is shutting down.
    pub(crate) fn enter(&self, run: &Arc<RunCore>) -> Result<(), RunError> {
        let Some(mut state) = self.lock() else { return Ok(()) };
        if state.closing {
            let message = format!("the engine is shutting down and did not start `{}`", run.plan.name());
            return Err(RunError::refused(code::SHUTTING_DOWN, message));
        }
        let key = state.runs.insert(Arc::downgrade(run));
        run.live_key.get_or_init(|| key);
        Ok(())
    }

    /// Takes a run that has ended off the list.
    pub(crate) fn leave(&self, run: &RunCore) {
        if let (Some(mut state), Some(key)) = (self.lock(), run.live_key.get()) {
            state.runs.try_remove(*key);
            let watched = state.closing || state.runs.is_empty();
            drop(state);
            if watched {
                self.changed.notify_waiters();
            }
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<RunCore>> {
        self.lock()
            .map_or_else(Vec::new, |state| state.runs.iter().filter_map(|(_, run)| run.upgrade()).collect())
    }

    /// Waits for the list to be empty, up to `budget`; the length of the list then.
    pub(crate) async fn drain(&self, budget: Duration) -> usize {
        let emptied = async {
            loop {
                let changed = self.changed.notified();
                if self.all().is_empty() {
                    return;
                }
                changed.await;
            }
        };
        // Whether the time ran out shows in the list.
        let _in_time = tokio::time::timeout(budget, emptied).await;
        self.all().len()
    }

    /// Takes no more runs, waits for those that are there, and stops what is left then.
    pub(crate) async fn wind_down(&self, patience: Duration, budget: Duration) -> ShutdownReport {
        if let Some(mut state) = self.lock() {
            state.closing = true;
        }
        let runs = self.all();
        self.drain(patience).await;
        self.shut_down(budget).await.over(&runs)
    }

    pub(crate) async fn shut_down(&self, budget: Duration) -> ShutdownReport {
        if let Some(mut state) = self.lock() {
            state.closing = true;
        }
        let runs = self.all();
        for run in &runs {
            run.end(EndCause::Cancel(CancelCause::Shutdown));
        }
        self.drain(budget).await;
        let abandoned: Vec<_> = self.all().iter().map(|run| AbandonedRun::of(run)).collect();
        ShutdownReport::new(&runs, abandoned)
    }
}
