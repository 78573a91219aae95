//! Ready work of a run: who finds it, who is woken for it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::Waker,
};

use crossbeam_deque::{Steal, Stealer, Worker as Deque};
use crossbeam_queue::SegQueue;
use slab::Slab;
use stageflow_dag::plan::SPECIAL;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::{node::Node, protocol::Gate, row::Row, scope::WorkerScope};

/// Set in an entry of a deque that refers to a row.
pub(crate) const ROW: u32 = SPECIAL;

/// What the workers of a run share of its ready work.
///
/// Everything ready is in a place from which any worker can take it before a worker enters a stage: in a worker's deque,
/// which others steal from, or in `resumed`. So a stage that blocks its worker holds up nobody else.
#[derive(Debug)]
pub(crate) struct Queues {
    /// Pending stages that were woken, in the order of their waking. Not there before there is one.
    resumed: OnceLock<Box<SegQueue<Arc<Node>>>>,
    /// Whether there ever was one.
    woken: AtomicBool,
    /// Whether there ever was a deque or a row to steal from.
    shared: AtomicBool,
    stealers: Mutex<Vec<Stealer<u32>>>,
    rows: Mutex<Slab<Arc<Row>>>,
    /// Whether workers hold anything back.
    holding: bool,
    /// The scopes of the workers there are, for what they hold.
    scopes: Mutex<Vec<Weak<WorkerScope>>>,
    /// Deques of helpers that have left.
    spare_deques: Mutex<Vec<Deque<u32>>>,
    /// Helpers that run or have been asked to come.
    helpers: AtomicU32,
    max_helpers: u32,
    pub(crate) gate: Gate,
    closed: AtomicBool,
    driver: Mutex<Option<Waker>>,
    parked: AtomicBool,
    /// Drives the order of ready stages, where a seed was given.
    pub(crate) seed: Option<u64>,
}

impl Queues {
    /// `holding` says whether some stage is told of its edges in bundles.
    pub(crate) fn new(handle: &Handle, seed: Option<u64>, holding: bool) -> Self {
        let several = seed.is_none() && handle.runtime_flavor() == RuntimeFlavor::MultiThread;
        let workers = if several { handle.metrics().num_workers() } else { 1 };
        Self {
            resumed: OnceLock::new(),
            woken: AtomicBool::new(false),
            shared: AtomicBool::new(false),
            stealers: Mutex::new(Vec::new()),
            rows: Mutex::new(Slab::new()),
            holding,
            scopes: Mutex::new(Vec::new()),
            spare_deques: Mutex::new(Vec::new()),
            helpers: AtomicU32::new(0),
            max_helpers: u32::try_from(workers - 1).unwrap_or(u32::MAX),
            gate: Gate::open(),
            closed: AtomicBool::new(false),
            driver: Mutex::new(None),
            parked: AtomicBool::new(false),
            seed,
        }
    }

    /// Queues a stage that was woken.
    pub(crate) fn push_resumed(&self, node: Arc<Node>) {
        self.resumed.get_or_init(Box::default).push(node);
        // In one order with the look of a driver or helper that is about to go: it sees this, or is seen.
        if !self.woken.load(Ordering::SeqCst) {
            self.woken.store(true, Ordering::SeqCst);
        }
    }

    /// Takes the stage that was woken first.
    #[inline]
    pub(crate) fn pop_resumed(&self) -> Option<Arc<Node>> {
        if self.woken.load(Ordering::SeqCst) { self.resumed.get()?.pop() } else { None }
    }

    /// Whether some stage was woken and not yet taken.
    pub(crate) fn has_resumed(&self) -> bool {
        self.woken.load(Ordering::SeqCst) && self.resumed.get().is_some_and(|resumed| !resumed.is_empty())
    }

    /// A deque for a worker, from which the others can steal.
    pub(crate) fn deque(&self) -> Deque<u32> {
        if let Some(spare) = lock(&self.spare_deques).pop() {
            return spare;
        }
        let deque = Deque::new_fifo();
        self.shared.store(true, Ordering::SeqCst);
        lock(&self.stealers).push(deque.stealer());
        deque
    }

    /// Takes the deque of a worker that leaves; others may still steal from it.
    pub(crate) fn return_deque(&self, deque: Deque<u32>) {
        lock(&self.spare_deques).push(deque);
    }

    /// Steals a batch of ready stages into `deque`, and one to start with.
    pub(crate) fn steal(&self, deque: &Deque<u32>) -> Option<u32> {
        let stealers = lock(&self.stealers);
        stealers.iter().find_map(|stealer| {
            loop {
                match stealer.steal_batch_and_pop(deque) {
                    Steal::Success(stage) => return Some(stage),
                    Steal::Empty => return None,
                    Steal::Retry => {}
                }
            }
        })
    }

    /// Whether there are ready stages that any worker can take.
    pub(crate) fn has_stealable(&self) -> bool {
        self.shared.load(Ordering::SeqCst) && self.has_some_stealable()
    }

    fn has_some_stealable(&self) -> bool {
        lock(&self.stealers).iter().any(|stealer| !stealer.is_empty())
            || lock(&self.rows).iter().any(|(_, row)| !row.is_empty())
    }

    /// Opens a row.
    pub(crate) fn open_row(&self, source: u32, from: u32, to: u32, ready: u64) -> Arc<Row> {
        self.shared.store(true, Ordering::SeqCst);
        let mut rows = lock(&self.rows);
        let entry = rows.vacant_entry();
        let row = Arc::new(Row::new(source, from, to, ready, entry.key()));
        entry.insert(Arc::clone(&row));
        row
    }

    /// The row an entry of a deque refers to, if it is still open.
    pub(crate) fn row(&self, key: u32) -> Option<Arc<Row>> {
        lock(&self.rows).get(key as usize).cloned()
    }

    /// Takes an exhausted row off the list.
    pub(crate) fn close_row(&self, row: &Row) {
        if row.close() {
            lock(&self.rows).try_remove(row.key);
        }
    }

    /// Half of a row, or a place at one.
    pub(crate) fn steal_row(&self) -> Option<Arc<Row>> {
        if !self.shared.load(Ordering::SeqCst) {
            return None;
        }
        let row = lock(&self.rows).iter().map(|(_, row)| row).find(|row| !row.is_empty()).cloned()?;
        Some(match row.split() {
            Some((source, from, to)) => self.open_row(source, from, to, row.ready),
            None => row,
        })
    }

    /// Whether some stage is told of its edges in bundles.
    #[inline]
    pub(crate) fn is_holding(&self) -> bool {
        self.holding
    }

    /// Remembers a worker.
    pub(crate) fn add_scope(&self, scope: &Arc<WorkerScope>) {
        if !self.holding {
            return;
        }
        let mut scopes = lock(&self.scopes);
        scopes.retain(|known| known.strong_count() > 0);
        scopes.push(Arc::downgrade(scope));
    }

    /// Whether some worker holds something back.
    pub(crate) fn has_held(&self) -> bool {
        if !self.holding {
            return false;
        }
        lock(&self.scopes).iter().any(|scope| scope.upgrade().is_some_and(|scope| !scope.held.is_empty()))
    }

    /// Takes what the workers have held back.
    pub(crate) fn take_held(&self) -> Vec<(u32, u32)> {
        if !self.holding {
            return Vec::new();
        }
        let scopes = lock(&self.scopes);
        scopes.iter().filter_map(|scope| scope.upgrade()?.held.take()).collect()
    }

    /// Whether nobody else ever works on the run.
    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        self.max_helpers == 0
    }

    /// Reserves a place for one more helper, if there is one.
    pub(crate) fn reserve_helper(&self) -> bool {
        if self.helpers.load(Ordering::SeqCst) >= self.max_helpers {
            return false;
        }
        let reserve = |seen| (seen < self.max_helpers).then_some(seen + 1);
        self.helpers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, reserve).is_ok()
    }

    pub(crate) fn release_helper(&self) {
        self.helpers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether every place for a helper is taken.
    pub(crate) fn is_crowded(&self) -> bool {
        self.helpers.load(Ordering::SeqCst) >= self.max_helpers
    }

    /// Whether the driver waits to be woken.
    pub(crate) fn driver_is_parked(&self) -> bool {
        self.parked.load(Ordering::SeqCst)
    }

    /// Remembers whom to wake for the driver.
    pub(crate) fn register_driver(&self, waker: &Waker) {
        let mut slot = lock(&self.driver);
        if slot.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Declares the driver parked: from here on whoever makes work wakes it.
    pub(crate) fn park_driver(&self) {
        self.parked.store(true, Ordering::SeqCst);
    }

    pub(crate) fn unpark_driver(&self) {
        self.parked.store(false, Ordering::SeqCst);
    }

    /// Wakes the driver if it is parked; `false` if it was not.
    pub(crate) fn wake_parked_driver(&self) -> bool {
        let was_parked = self.driver_is_parked() && self.parked.swap(false, Ordering::SeqCst);
        if was_parked {
            self.wake_driver();
        }
        was_parked
    }

    /// Wakes the driver, whatever it is doing.
    pub(crate) fn wake_driver(&self) {
        let waker = lock(&self.driver).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Lets no more helpers in; `true` if none is inside.
    pub(crate) fn close(&self) -> bool {
        self.closed.store(true, Ordering::SeqCst);
        self.gate.close()
    }

    /// Waits, for a few microseconds at the most, for the last helper to leave.
    pub(crate) fn empties_soon(&self) -> bool {
        (0..256).any(|_| {
            std::hint::spin_loop();
            self.gate.close()
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
