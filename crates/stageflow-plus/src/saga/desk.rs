//! [`SagaDesk`]: where sagas that are stuck wait for somebody.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use stageflow_core::RunId;

use super::{
    SagaReport,
    journal::{Journal, Scope},
    report::{SagaEnd, StepState},
};

/// Where sagas that are stuck wait for somebody, in the memory of the process. Clones share what is on it.
///
/// It has room for as many as it is told; one more, and the oldest is dropped and counted. Each keeps its run's context alive.
///
/// ```
/// use stageflow_plus::saga::{Saga, SagaDesk};
///
/// let desk = SagaDesk::new(100);
/// let trip = Saga::new("trip").desk(&desk);
/// # let _ = trip;
/// for report in desk.reports() {
///     println!("{report}");
/// }
/// ```
#[derive(Clone)]
pub struct SagaDesk(Arc<Desk>);

struct Desk {
    room: usize,
    dropped: AtomicU64,
    sagas: Mutex<VecDeque<StuckSaga>>,
}

impl SagaDesk {
    /// A desk with room for so many; for one at least.
    pub fn new(room: usize) -> Self {
        Self(Arc::new(Desk { room: room.max(1), dropped: AtomicU64::new(0), sagas: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<StuckSaga>> {
        self.0.sagas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, saga: StuckSaga) {
        let mut sagas = self.lock();
        let oldest = if sagas.len() >= self.0.room { sagas.pop_front() } else { None };
        sagas.push_back(saga);
        drop(sagas);
        if oldest.is_some() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many are on it.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were dropped for want of room.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// What they have done and undone, oldest first.
    pub fn reports(&self) -> Vec<SagaReport> {
        self.lock().iter().map(|saga| saga.report().clone()).collect()
    }

    /// Takes the oldest of a run from the desk.
    pub fn take(&self, run: RunId) -> Option<StuckSaga> {
        let mut sagas = self.lock();
        let at = sagas.iter().position(|saga| saga.report.run_id == run)?;
        sagas.remove(at)
    }

    /// Takes the oldest from the desk.
    pub fn take_next(&self) -> Option<StuckSaga> {
        self.lock().pop_front()
    }
}

/// A saga that is stuck, with all that is needed to go on with it.
pub struct StuckSaga {
    journal: Arc<Journal>,
    report: SagaReport,
}

impl StuckSaga {
    pub(super) fn new(journal: Arc<Journal>, report: SagaReport) -> Self {
        Self { journal, report }
    }

    /// What is done, undone, stuck and in doubt.
    pub fn report(&self) -> &SagaReport {
        &self.report
    }

    /// Says that a step was undone by hand, or that it never was done: it is not undone any more. Whether there is such a step, that is
    /// stuck, in doubt, or still done.
    pub fn mark_undone(&mut self, step: &str) -> bool {
        let open = [StepState::Stuck, StepState::InDoubt, StepState::Done];
        let at =
            self.report.steps.iter().rposition(|known| known.name == step && open.contains(&known.state));
        let Some(at) = at else { return false };
        self.journal.change(at, |record| record.state = StepState::Undone);
        if let Some(step) = self.report.steps.get_mut(at) {
            step.state = StepState::Undone;
        }
        true
    }

    /// Undoes what is left, from where it got stuck on. If it is stuck again, it is on its desk again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the saga where it is, and not on its desk.
    pub async fn resume(self) -> SagaReport {
        self.journal.reopen();
        let _end: SagaEnd = self.journal.settle(Scope::All, "it was resumed", false).await;
        self.journal.report().unwrap_or(self.report)
    }
}

impl fmt::Debug for StuckSaga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StuckSaga").field("report", &self.report).finish_non_exhaustive()
    }
}

impl fmt::Debug for SagaDesk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaDesk").field("len", &self.len()).field("room", &self.0.room).finish()
    }
}
