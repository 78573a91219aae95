//! A bounded queue of events in front of a sink that may take its time.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use stageflow_core::{Event, EventKind, EventSink, event::EventRecord};
use tokio::{runtime::Handle, sync::Notify};

use super::SinkAccount;

/// How many events go to a sink at a time.
const BATCH: usize = 256;

/// A bounded queue with accounts. The last eighth of its room is kept for events that end a stage, and as much again,
/// beyond the capacity, for those that end a run.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    capacity: usize,
    empty: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    account: SinkAccount,
    /// Dropped since the last gap mark.
    gap: u64,
    draining: bool,
    closed: bool,
    /// Readers that wait for the next event: each stream of a handle may have one.
    readers: Vec<Waker>,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), capacity: capacity.max(1), empty: Notify::new() }
    }

    /// Queues events; `true` obliges the caller to see to it that somebody drains.
    pub(crate) fn push(&self, events: &[Event]) -> bool {
        let reserve = self.capacity / 8;
        let mut state = self.lock();
        for event in events {
            state.account.emitted += 1;
            // The end of a run tells the reader what it missed, so it has room even in a full queue.
            let room = match event.kind() {
                EventKind::PipelineEnded { .. } => self.capacity + reserve + 1,
                kind if kind.is_terminal() => self.capacity,
                _ => self.capacity - reserve,
            };
            let queued = usize::try_from(state.account.in_flight).unwrap_or(usize::MAX);
            if queued >= room {
                state.account.dropped_full += 1;
                state.gap += 1;
                continue;
            }
            let gap = std::mem::take(&mut state.gap);
            if gap > 0 {
                state.events.push_back(gap_before(event, gap));
            }
            state.account.in_flight += 1;
            state.events.push_back(event.clone());
        }
        state.readers.drain(..).for_each(Waker::wake);
        !state.draining && !state.events.is_empty() && !std::mem::replace(&mut state.draining, true)
    }

    pub(crate) fn account(&self) -> SinkAccount {
        self.lock().account
    }

    pub(crate) async fn drained(&self) {
        loop {
            let emptied = self.empty.notified();
            if self.lock().account.in_flight == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// No event will come any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.readers.drain(..).for_each(Waker::wake);
    }

    /// The next event for a reader that takes one at a time.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut state = self.lock();
        match state.events.pop_front() {
            Some(event) => {
                if !is_gap(&event) {
                    state.account.in_flight -= 1;
                    state.account.delivered += 1;
                }
                Poll::Ready(Some(event))
            }
            None if state.closed => Poll::Ready(None),
            None => {
                if !state.readers.iter().any(|reader| reader.will_wake(cx.waker())) {
                    state.readers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn take_batch(&self) -> Vec<Event> {
        let mut state = self.lock();
        let Some(first) = state.events.front() else {
            state.draining = false;
            drop(state);
            self.empty.notify_waiters();
            return Vec::new();
        };
        // All events of a batch are of one run.
        let run = first.run_id();
        let same = state.events.iter().take(BATCH).take_while(|event| event.run_id() == run).count();
        state.events.drain(..same).collect()
    }

    /// So many events have gone to the sink, and it panicked on so many of them.
    fn settle(&self, count: u64, lost: u64) {
        let mut state = self.lock();
        state.account.in_flight -= count;
        state.account.delivered += count - lost;
        state.account.dropped_panic += lost;
        state.gap += lost;
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
            let (count, events) =
                (batch.len() as u64, batch.iter().filter(|event| !is_gap(event)).count() as u64);
            let lost = count - sink.take_all(batch).min(count);
            queue.settle(events, lost.min(events));
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
        }
    }
}

fn gap_before(event: &Event, dropped: u64) -> Event {
    let record = EventRecord {
        seq: event.seq().saturating_sub(1),
        nanos: stageflow_core::time::nanos(event.elapsed()),
        stage: stageflow_core::event::NO_STAGE,
        attempt: 0,
        kind: EventKind::Gap { dropped },
    };
    Event::new(Arc::clone(event.run()), record)
}

fn is_gap(event: &Event) -> bool {
    matches!(event.kind(), EventKind::Gap { .. })
}
