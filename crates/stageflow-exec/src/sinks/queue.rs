//! A bounded queue of events in front of a sink that may take its time.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use stageflow_core::{
    Event, EventSink, SinkAccount,
    event::backlog::{Backlog, Lost, Rooms},
    text::panic_message,
};
use tokio::{runtime::Handle, sync::Notify};

/// How many events go to a sink at a time.
const BATCH: usize = 256;

/// A bounded queue with accounts, in which ends are dropped last.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Some events have been delivered or dropped.
    moved: Notify,
}

#[derive(Debug)]
struct State {
    backlog: Backlog,
    draining: bool,
    /// Somebody waits for everything that came up to this place.
    flush: u64,
    /// Readers that wait for the next event: each stream of a handle may have one.
    readers: Vec<Waker>,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State {
            backlog: Backlog::new(Rooms::Shared(capacity.max(1))),
            draining: false,
            flush: 0,
            readers: Vec::new(),
        };
        Self { state: Mutex::new(state), moved: Notify::new() }
    }

    /// Queues events; `true` obliges the caller to see to it that somebody drains.
    pub(crate) fn push(&self, events: Vec<Event>) -> bool {
        // Dropped after the lock: what a run carries is the user's.
        let mut lost = Lost::new();
        let mut state = self.lock();
        state.backlog.push_all(events, &mut lost);
        let readers = mem::take(&mut state.readers);
        let drains =
            !state.draining && state.backlog.queued() > 0 && !mem::replace(&mut state.draining, true);
        drop(state);
        readers.into_iter().for_each(Waker::wake);
        drains
    }

    pub(crate) fn account(&self) -> SinkAccount {
        self.lock().backlog.account()
    }

    /// Waits until everything that came so far was delivered or dropped, and, unless more has come, nobody drains any more.
    /// Where nobody drains, since the runtime that was to has ended, `drain` does; without it, or if it cannot, nothing is
    /// waited for.
    async fn settled(&self, mut drain: Option<impl FnOnce()>) {
        let last = {
            let mut state = self.lock();
            state.flush = state.backlog.last();
            state.flush
        };
        loop {
            let moved = self.moved.notified();
            let is_left = {
                let mut state = self.lock();
                let idle = !state.draining || state.backlog.last() > last;
                if state.backlog.is_settled_to(last) && idle {
                    return;
                }
                let is_left = !state.draining;
                state.draining |= is_left && drain.is_some();
                is_left
            };
            match (is_left, drain.take_if(|_| is_left)) {
                (true, Some(drain)) => drain(),
                (true, None) => return,
                (false, _) => moved.await,
            }
        }
    }

    /// Waits until everything that came so far was delivered or dropped, and the losses told that no event stands behind:
    /// for that `drain` has to start a thread.
    pub(crate) async fn drained(&self, drain: Option<impl Fn()>) {
        self.settled(drain.as_ref()).await;
        if let Some(drain) = drain
            && self.begin_to_tell()
        {
            drain();
            self.settled(Some(drain)).await;
        }
    }

    fn begin_to_tell(&self) -> bool {
        let mut state = self.lock();
        let tells = state.backlog.is_settled() && state.backlog.has_untold() && !state.draining;
        state.draining |= tells;
        tells
    }

    /// No event will come any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.backlog.close();
        let readers = mem::take(&mut state.readers);
        drop(state);
        readers.into_iter().for_each(Waker::wake);
    }

    /// The next event for a reader that takes one at a time.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut lost = Lost::new();
        let mut state = self.lock();
        if let Poll::Ready(next) = state.backlog.poll_pop(&mut lost) {
            return Poll::Ready(next);
        }
        if !state.readers.iter().any(|reader| reader.will_wake(cx.waker())) {
            state.readers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn take_batch(&self) -> Vec<Event> {
        let mut lost = Lost::new();
        let mut state = self.lock();
        let mut batch = state.backlog.take(BATCH, &mut lost);
        if batch.is_empty() && state.backlog.last() == state.flush {
            // Somebody waits: the last losses are told without an event that comes after them.
            batch = state.backlog.take_untold();
        }
        if batch.is_empty() {
            state.draining = false;
            drop(state);
            self.moved.notify_waiters();
        }
        batch
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drains a queue into its sink on a blocking thread, until it is empty.
pub(super) fn drain(queue: &Arc<Queue>, sink: &Arc<dyn EventSink>, handle: &Handle) {
    let (guard, queue, sink) = (DrainGuard(Some(Arc::clone(queue))), Arc::clone(queue), Arc::clone(sink));
    handle.spawn_blocking(move || {
        // From here on `take_batch` says when the draining is over.
        guard.disarm();
        loop {
            let batch = queue.take_batch();
            if batch.is_empty() {
                return;
            }
            let taken = catch_unwind(AssertUnwindSafe(|| sink.take_all(batch))).map_err(panic_message).ok();
            let run = queue.lock().backlog.settle(taken);
            let _ = catch_unwind(AssertUnwindSafe(|| drop(run))).map_err(panic_message);
            queue.moved.notify_waiters();
        }
    });
}

/// Lets somebody else drain if the runtime shuts down before the thread has started.
struct DrainGuard(Option<Arc<Queue>>);

impl DrainGuard {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        if let Some(queue) = &self.0 {
            queue.lock().draining = false;
            queue.moved.notify_waiters();
        }
    }
}
