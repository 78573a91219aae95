//! Delivery of events: in the order of their numbers, outside every lock, with accounts for each sink.

mod queue;
mod stream;

use std::{
    cmp,
    collections::{BinaryHeap, binary_heap::PeekMut},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    vec,
};

use smallvec::SmallVec;
use stageflow_core::{
    ContextSnapshot, Delivery, DropReason, Event, EventKind, EventSink, RunInfo, SinkAccount,
    event::EventRecord, text::panic_message,
};
use tokio::runtime::Handle;

pub(crate) use self::queue::Queue;
pub use self::stream::EventStream;

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

    /// The sink's own account where it keeps one: it knows what became of events later.
    pub(crate) fn account(&self) -> SinkAccount {
        match &self.mode {
            Mode::Inline(account) => self.own_account().unwrap_or_else(|| *lock(account)),
            Mode::Queued(queue) => queue.account(),
        }
    }

    /// Whether it listens to a run that begins now. One that panics does.
    pub(crate) fn listens(&self) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.sink.listens())).map_err(panic_message).unwrap_or(true)
    }

    fn own_account(&self) -> Option<SinkAccount> {
        catch_unwind(AssertUnwindSafe(|| self.sink.own_account())).map_err(panic_message).ok().flatten()
    }

    /// Waits until everything emitted so far was delivered or dropped, and written.
    pub(crate) async fn flushed(&self) {
        let handle = Handle::try_current().ok();
        if let Mode::Queued(queue) = &self.mode {
            let drain = |handle: &Handle| queue::drain(queue, &self.sink, handle);
            queue.drained(handle.as_ref().map(|handle| move || drain(handle))).await;
        }
        let flushing =
            catch_unwind(AssertUnwindSafe(|| self.sink.flushing())).map_err(panic_message).ok().flatten();
        if let Some(flushing) = flushing {
            flushing.await;
        }
        if let Some(handle) = handle {
            // It may block, and what it panics with is no matter of the engine's.
            let sink = Arc::clone(&self.sink);
            let _ = handle.spawn_blocking(move || sink.on_flush()).await;
        }
    }

    /// Whether it records the trace of a run, where it records traces and can say so.
    pub(crate) fn samples(&self, run: &ContextSnapshot) -> Option<bool> {
        catch_unwind(AssertUnwindSafe(|| self.sink.samples(run))).map_err(panic_message).ok().flatten()
    }

    fn deliver(&self, events: Vec<Event>, handle: &Handle) {
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
        // Whatever panics in there: a worker calls this, and others wait for it to have delivered.
        let taken = catch_unwind(AssertUnwindSafe(|| self.sink.take_all(events))).map_err(panic_message);
        let mut account = lock(account);
        account.in_flight -= count;
        let Ok(taken) = taken else { return account.drop_for(DropReason::Panic, count) };
        account.delivered += count;
        if !taken.losses.is_empty() {
            account.delivered -= taken.losses.total().min(count);
            for reason in DropReason::ALL {
                account.drop_for(reason, taken.losses.for_reason(reason));
            }
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
    /// The last number given, and whether it was the last of all.
    seq: AtomicU64,
    /// The number of the last event of all.
    last: AtomicU64,
    outbox: Mutex<Outbox>,
    /// What the events of the run have in common.
    info: Arc<RunInfo>,
    sinks: SmallVec<[Arc<SinkHandle>; 4]>,
    stream: Option<Arc<Queue>>,
    handle: Handle,
}

/// Events that wait for one with a lower number.
#[derive(Default)]
struct Outbox {
    /// The number of the last event that went out.
    sent: u64,
    /// The batch whose next event has the lowest number is on top.
    waiting: BinaryHeap<Batch>,
    delivering: bool,
}

impl Outbox {
    /// Whether `events` are just the next ones.
    fn are_next(&self, events: &[Event]) -> bool {
        self.waiting.is_empty()
            && events.first().is_some_and(|first| first.seq() == self.sent + 1)
            && events.last().is_some_and(|last| last.seq() == self.sent + events.len() as u64)
    }

    /// Merges what can go out.
    fn take_ready(&mut self) -> Vec<Event> {
        let mut ready = Vec::new();
        while let Some(mut batch) = self.waiting.peek_mut() {
            if batch.next_seq() != Some(self.sent + 1) {
                break;
            }
            if ready.is_empty() {
                ready.reserve(batch.0.len());
            }
            while batch.next_seq() == Some(self.sent + 1) {
                ready.extend(batch.0.next());
                self.sent += 1;
            }
            if batch.next_seq().is_none() {
                PeekMut::pop(batch);
            }
        }
        ready
    }
}

/// Events of one worker, in order; the lower its next number, the greater it is.
struct Batch(vec::IntoIter<Event>);

impl Batch {
    fn next_seq(&self) -> Option<u64> {
        self.0.as_slice().first().map(Event::seq)
    }
}

impl Ord for Batch {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        other.next_seq().cmp(&self.next_seq())
    }
}

impl PartialOrd for Batch {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Batch {}

/// Set in the number of the last event of a run.
const CLOSED: u64 = 1 << 63;

impl RunEvents {
    /// `None` if nobody listens.
    pub(crate) fn new(
        info: impl FnOnce() -> RunInfo,
        sinks: impl IntoIterator<Item = Arc<SinkHandle>>,
        stream: Option<Arc<Queue>>,
        handle: &Handle,
    ) -> Option<Self> {
        let sinks: SmallVec<_> = sinks.into_iter().collect();
        if sinks.is_empty() && stream.is_none() {
            return None;
        }
        Some(Self {
            seq: AtomicU64::new(0),
            last: AtomicU64::new(0),
            outbox: Mutex::default(),
            info: Arc::new(info()),
            sinks,
            stream,
            handle: handle.clone(),
        })
    }

    pub(crate) fn info(&self) -> &Arc<RunInfo> {
        &self.info
    }

    /// An event of the run.
    pub(crate) fn event(&self, record: EventRecord) -> Event {
        Event::new(Arc::clone(&self.info), record)
    }

    /// A record with the next number: from here on the number has to be delivered. `None` after the last event.
    #[inline]
    pub(crate) fn record(
        &self,
        nanos: u64,
        stage: u32,
        attempt: u32,
        kind: EventKind,
    ) -> Option<EventRecord> {
        Some(EventRecord { seq: self.next_seqs(1)?, nanos, stage, attempt, kind })
    }

    /// The record of the last event: no other gets a number.
    pub(crate) fn last_record(&self, nanos: u64, stage: u32, kind: EventKind) -> Option<EventRecord> {
        let before = self.seq.fetch_or(CLOSED, Ordering::SeqCst);
        (before & CLOSED == 0).then(|| {
            self.last.store(before + 1, Ordering::SeqCst);
            EventRecord { seq: before + 1, nanos, stage, attempt: 0, kind }
        })
    }

    /// The next `count` numbers: the first of them.
    #[inline]
    pub(crate) fn next_seqs(&self, count: u64) -> Option<u64> {
        let before = self.seq.fetch_add(count, Ordering::SeqCst);
        (before & CLOSED == 0).then_some(before + 1)
    }

    /// Delivers events, in the order of their numbers across all workers. Those given must be in order themselves.
    ///
    /// Whoever finds nobody delivering delivers for all. Sinks are called outside the lock.
    pub(crate) fn deliver(&self, events: Vec<Event>) {
        let mut outbox = lock(&self.outbox);
        let mut ready = if !outbox.delivering && outbox.are_next(&events) {
            outbox.sent += events.len() as u64;
            events
        } else {
            outbox.waiting.push(Batch(events.into_iter()));
            if outbox.delivering {
                return;
            }
            outbox.take_ready()
        };
        while !ready.is_empty() {
            outbox.delivering = true;
            drop(outbox);
            self.hand_out(ready);
            outbox = lock(&self.outbox);
            ready = outbox.take_ready();
        }
        outbox.delivering = false;
    }

    fn hand_out(&self, events: Vec<Event>) {
        let Some((last, others)) = self.sinks.split_last() else {
            if let Some(stream) = &self.stream {
                stream.push(events);
            }
            return;
        };
        if let Some(stream) = &self.stream {
            stream.push(events.clone());
        }
        for sink in others {
            sink.deliver(events.clone(), &self.handle);
        }
        last.deliver(events, &self.handle);
    }

    /// Whether every event with a number has gone out.
    pub(crate) fn is_settled(&self) -> bool {
        let outbox = lock(&self.outbox);
        !outbox.delivering && outbox.sent == self.last.load(Ordering::SeqCst)
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
