//! A bounded queue of items that are to be exported, with an account that adds up at every instant.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::otel::{
    account::{ExportAccount, LossReason},
    clock,
};

/// Items of one signal on their way.
#[derive(Debug)]
pub(crate) struct Lane<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    /// There is more, or it is urgent: for the one that takes batches.
    pub(crate) more: Notify,
    /// Something has left, or it is urgent: for all others.
    pub(crate) changed: Notify,
}

/// Items that left the queue together: the number of the first, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    first: u64,
    pub(crate) count: u64,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    /// The number of the next item that is taken in.
    next: u64,
    /// Batches of which it is not known yet what becomes of them.
    under_way: BTreeMap<u64, u64>,
    account: ExportAccount,
    /// Since when the oldest has waited.
    since: Option<Instant>,
    /// How many have to leave without waiting for others, or for the end of a back-off.
    urgent: bool,
    closed: bool,
}

impl<T> Lane<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            next: 0,
            under_way: BTreeMap::new(),
            account: ExportAccount::default(),
            since: None,
            urgent: false,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            capacity: capacity.max(1),
            more: Notify::new(),
            changed: Notify::new(),
        }
    }

    /// Queues items. What finds no room is dropped and counted; after the end, all of them: how many that were.
    pub(crate) fn push(&self, items: impl IntoIterator<Item = T>, batch: usize) -> u64 {
        let mut late = 0;
        let mut state = self.lock();
        let was_empty = state.waiting.is_empty();
        for item in items {
            state.account.offered += 1;
            if state.closed {
                state.account.dropped_shutdown += 1;
                late += 1;
            } else if state.account.in_flight >= self.capacity as u64 {
                state.account.dropped_full += 1;
            } else {
                state.account.in_flight += 1;
                state.next += 1;
                state.waiting.push_back(item);
            }
        }
        let (is_empty, is_batch) = (state.waiting.is_empty(), state.waiting.len() >= batch);
        if was_empty && !is_empty {
            state.since = Some(clock::now());
        }
        drop(state);
        if (was_empty && !is_empty) || is_batch {
            self.more.notify_one();
        }
        late
    }

    /// Items that are counted though they stand in no queue: nothing after the end.
    pub(crate) fn offer(&self, count: u64) -> Option<Batch> {
        let mut state = self.lock();
        state.account.offered += count;
        if state.closed {
            state.account.dropped_shutdown += count;
            return None;
        }
        state.account.in_flight += count;
        let first = state.next;
        state.next += count;
        Some(state.leaves(first, count))
    }

    /// The next batch, or how long to wait for one; for ever where there is nothing.
    pub(crate) fn take(&self, batch: usize, delay: Duration) -> Result<(Batch, Vec<T>), Option<Duration>> {
        let mut state = self.lock();
        let Some(since) = state.since.filter(|_| !state.waiting.is_empty()) else { return Err(None) };
        let left = delay.saturating_sub(since.elapsed());
        if state.waiting.len() < batch && !state.urgent && !left.is_zero() {
            return Err(Some(left));
        }
        let first = state.next - state.waiting.len() as u64;
        let count = batch.min(state.waiting.len());
        let taken = state.waiting.drain(..count).collect();
        if state.waiting.is_empty() {
            state.since = None;
        }
        Ok((state.leaves(first, count as u64), taken))
    }

    /// A batch has arrived, and so many of it were rejected.
    pub(crate) fn arrived(&self, batch: Batch, rejected: u64) {
        let mut state = self.lock();
        let count = state.is_over(batch);
        let rejected = rejected.min(count);
        state.account.exported += count - rejected;
        state.account.rejected += rejected;
        drop(state);
        self.changed.notify_waiters();
    }

    /// A batch is lost.
    pub(crate) fn lost(&self, batch: Batch, reason: LossReason) {
        let mut state = self.lock();
        let count = state.is_over(batch);
        match reason {
            LossReason::QueueFull => state.account.dropped_full += count,
            LossReason::Rejected => state.account.rejected += count,
            LossReason::Refused => state.account.dropped_refused += count,
            LossReason::Unreachable => state.account.dropped_unreachable += count,
            LossReason::Tls => state.account.dropped_tls += count,
            LossReason::Shutdown => state.account.dropped_shutdown += count,
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Lets everything leave at once, or no longer.
    pub(crate) fn hurry(&self, urgent: bool) {
        self.lock().urgent = urgent;
        self.changed.notify_waiters();
        self.more.notify_one();
    }

    pub(crate) fn is_urgent(&self) -> bool {
        self.lock().urgent
    }

    /// Nothing else is taken from here on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Writes off what is still on its way: how much that is.
    pub(crate) fn write_off(&self) -> u64 {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        state.under_way.clear();
        let left = std::mem::take(&mut state.account.in_flight);
        state.account.dropped_shutdown += left;
        left
    }

    pub(crate) fn account(&self) -> ExportAccount {
        self.lock().account
    }

    /// Waits until it is known what became of everything that was offered before; what comes meanwhile is no reason to wait.
    pub(crate) async fn settled(&self) {
        let mark = self.lock().next;
        loop {
            let changed = self.changed.notified();
            if self.lock().oldest() >= mark {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn leaves(&mut self, first: u64, count: u64) -> Batch {
        self.under_way.insert(first, count);
        Batch { first, count }
    }

    /// How many items of a batch are decided on now: none, where the end has written them off.
    fn is_over(&mut self, batch: Batch) -> u64 {
        let count = self.under_way.remove(&batch.first).unwrap_or(0);
        self.account.in_flight -= count;
        count
    }

    /// The number of the oldest item on its way, or of the next one.
    fn oldest(&self) -> u64 {
        let waiting = self.next - self.waiting.len() as u64;
        self.under_way.first_key_value().map_or(waiting, |(first, _)| waiting.min(*first))
    }
}
