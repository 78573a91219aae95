//! Delivery of events: in the order of their numbers, outside every lock, with accounts for each sink.

mod queue;
mod stream;

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use smallvec::SmallVec;
use stageflow_core::{Delivery, Event, EventKind, EventSink, RunInfo, event::EventRecord};
use tokio::runtime::Handle;

pub(crate) use self::queue::Queue;
pub use self::stream::EventStream;

/// How many events a sink was given and what became of them (rule S-29).
///
/// `emitted = delivered + dropped + in_flight` holds at every instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SinkAccount {
    /// Events meant for the sink.
    pub emitted: u64,
    /// Events the sink has taken.
    pub delivered: u64,
    /// Events dropped because the queue was full.
    pub dropped_full: u64,
    /// Events the sink panicked on.
    pub dropped_panic: u64,
    /// Events on their way.
    pub in_flight: u64,
}

impl SinkAccount {
    /// All dropped events.
    pub fn dropped(&self) -> u64 {
        self.dropped_full + self.dropped_panic
    }
}

/// A sink of an engine.
pub(crate) struct SinkHandle {
    sink: Arc<dyn EventSink>,
    mode: Mode,
}

enum Mode {
    Inline(Mutex<SinkAccount>),
    Queued(Arc<Queue>),
}

impl SinkHandle {
    pub(crate) fn new(sink: impl EventSink) -> Self {
        let mode = match sink.delivery() {
            Delivery::Queued { capacity } => Mode::Queued(Arc::new(Queue::new(capacity))),
            _ => Mode::Inline(Mutex::default()),
        };
        Self { sink: Arc::new(sink), mode }
    }

    pub(crate) fn account(&self) -> SinkAccount {
        match &self.mode {
            Mode::Inline(account) => *lock(account),
            Mode::Queued(queue) => queue.account(),
        }
    }

    /// Waits until everything emitted so far was delivered or dropped.
    pub(crate) async fn flushed(&self) {
        if let Mode::Queued(queue) = &self.mode {
            queue.drained().await;
        }
    }

    fn deliver(&self, events: &[Event], handle: &Handle) {
        let account = match &self.mode {
            Mode::Queued(queue) => {
                if queue.push(events) {
                    queue::drain(queue, &self.sink, handle);
                }
                return;
            }
            Mode::Inline(account) => account,
        };
        let count = events.len() as u64;
        {
            let mut account = lock(account);
            account.emitted += count;
            account.in_flight += count;
        }
        let panicked = catch_unwind(AssertUnwindSafe(|| self.sink.on_events(events))).is_err();
        let mut account = lock(account);
        account.in_flight -= count;
        if panicked {
            account.dropped_panic += count;
        } else {
            account.delivered += count;
        }
    }
}

impl fmt::Debug for SinkHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkHandle").field("account", &self.account()).finish()
    }
}

/// The events of one run on their way to its sinks.
pub(crate) struct RunEvents {
    seq: AtomicU64,
    outbox: Mutex<Outbox>,
    sinks: SmallVec<[Arc<SinkHandle>; 4]>,
    stream: Option<Arc<Queue>>,
    handle: Handle,
}

/// Events that wait for one with a lower number.
#[derive(Default)]
struct Outbox {
    /// The number of the last event that went out.
    sent: u64,
    waiting: VecDeque<Option<EventRecord>>,
    delivering: bool,
}

impl Outbox {
    fn insert(&mut self, record: EventRecord) {
        let index = usize::try_from(record.seq - self.sent - 1).unwrap_or(usize::MAX);
        if index == self.waiting.len() {
            self.waiting.push_back(Some(record));
            return;
        }
        if index > self.waiting.len() {
            self.waiting.resize_with(index + 1, || None);
        }
        self.waiting[index] = Some(record);
    }

    fn take_ready(&mut self, info: &Arc<RunInfo>) -> Vec<Event> {
        let mut ready = Vec::with_capacity(self.waiting.len());
        while let Some(Some(_)) = self.waiting.front() {
            if let Some(Some(record)) = self.waiting.pop_front() {
                self.sent += 1;
                ready.push(Event::new(Arc::clone(info), record));
            }
        }
        ready
    }
}

impl RunEvents {
    pub(crate) fn new(
        sinks: impl IntoIterator<Item = Arc<SinkHandle>>,
        stream: Option<Arc<Queue>>,
        handle: Handle,
    ) -> Self {
        Self {
            seq: AtomicU64::new(0),
            outbox: Mutex::default(),
            sinks: sinks.into_iter().collect(),
            stream,
            handle,
        }
    }

    /// A record with the next number: from here on the number has to be delivered.
    pub(crate) fn record(&self, nanos: u64, stage: u32, attempt: u32, kind: EventKind) -> EventRecord {
        let seq = self.seq.fetch_add(1, Ordering::SeqCst) + 1;
        EventRecord { seq, nanos, stage, attempt, kind }
    }

    /// Delivers records, in the order of their numbers across all workers. Gives the emptied list back.
    ///
    /// Whoever finds nobody delivering delivers for all. Sinks are called outside the lock.
    pub(crate) fn deliver(&self, info: &Arc<RunInfo>, mut records: Vec<EventRecord>) -> Vec<EventRecord> {
        let mut outbox = lock(&self.outbox);
        for record in records.drain(..) {
            outbox.insert(record);
        }
        if outbox.delivering {
            return records;
        }
        loop {
            let ready = outbox.take_ready(info);
            if ready.is_empty() {
                outbox.delivering = false;
                return records;
            }
            outbox.delivering = true;
            drop(outbox);
            for sink in &self.sinks {
                sink.deliver(&ready, &self.handle);
            }
            if let Some(stream) = &self.stream {
                stream.push(&ready);
            }
            outbox = lock(&self.outbox);
        }
    }

    /// Whether every event with a number has gone out.
    pub(crate) fn is_settled(&self) -> bool {
        let outbox = lock(&self.outbox);
        !outbox.delivering && outbox.sent == self.seq.load(Ordering::SeqCst)
    }

    pub(crate) fn close_stream(&self) {
        if let Some(stream) = &self.stream {
            stream.close();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
