//! A queue with an account in front of a sink that may be slow, dead or broken.

mod drain;
mod policy;
mod shared;
mod spill;
mod verdict;

use std::{
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Poll,
    thread,
    time::Duration,
};

use stageflow_core::{
    ContextSnapshot, Delivery, DropReason, Event, EventClass, EventSink, SinkAccount,
    event::{
        Flushing, Taken,
        backlog::{Room, Rooms, Rule},
    },
};

pub use self::{
    policy::{Policy, Spill},
    spill::Spilled,
    verdict::{Pressure, Receipt, Verdict},
};
use self::{shared::Shared, spill::Spiller};
use crate::filter::Filter;

/// The name that this sink has had from the beginning.
pub type BackpressureAwareEventSink<S> = Bounded<S>;

/// How many events that end something are kept, unless the policy says otherwise.
const ENDS: usize = 65_536;

/// What every sink can be wrapped in.
pub trait SinkExt: EventSink + Sized {
    /// Puts a bounded queue before the sink, with a thread of its own and an account.
    ///
    /// | class | room | when it is full |
    /// |---|---|---|
    /// | terminal | 65,536, or `capacity` if that is more | the event is dropped |
    /// | decision | `capacity` | the event is dropped |
    /// | progress | `capacity` | the oldest one is dropped |
    /// | debug | a quarter of `capacity` | from half of it on one event of ten is kept |
    ///
    /// Room is taken as it is used. At least one event of each class has room.
    fn bounded(self, capacity: usize) -> Bounded<Self> {
        Bounded::new(self, capacity)
    }

    /// Tells the sink only of those events that `keep` is true for. Gaps are always told.
    fn filter(self, keep: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Filter<Self> {
        Filter::new(self, keep)
    }

    /// Tells the sink only of events of these classes.
    fn only(self, classes: impl IntoIterator<Item = EventClass>) -> Filter<Self> {
        let classes: Vec<_> = classes.into_iter().collect();
        self.filter(move |event| classes.contains(&event.kind().class()))
    }

    /// Tells the sink only of the runs of one tenant.
    fn only_tenant(self, tenant: impl Into<String>) -> Filter<Self> {
        let tenant = tenant.into();
        self.filter(move |event| event.tenant() == Some(&tenant))
    }
}

impl<S: EventSink> SinkExt for S {}

type Classify = Box<dyn Fn(&Event) -> EventClass + Send + Sync>;

/// A sink behind a bounded queue with an account; made by [`SinkExt::bounded`].
///
/// - Whoever emits never waits, unless it asks to: not for a lock that is held while a sink works, not for room.
/// - `emitted = delivered + dropped + in flight` holds at every instant, and each drop has a reason.
/// - Before the next event of a run that is delivered stands an `events.gap`, which tells what of that run is missing.
/// - The sink is called on one thread of its own, which starts with the first event. What it panics on is counted; the
///   next event is delivered nevertheless. While it is stuck nobody else is.
/// - Events are delivered in the order in which they came, those of a run in the order of their numbers. At most 256
///   events at a time are in the hands of the sink; they are not counted against the room.
///
/// To keep a hand on it while an engine has it, share it: `Arc<Bounded<S>>` is a sink as well. When the last one is
/// dropped the queue is delivered, and the drop waits for that for at most a second ([`linger`](Self::linger)).
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{DurationExt, Recorder};
/// use stageflow_events::SinkExt;
///
/// let recorder = Recorder::new();
/// let sink = Arc::new(recorder.clone().bounded(1_000)); // `Arc::clone(&sink)` goes to `Engine::builder().sink(…)`
/// let receipt = sink.shutdown_blocking(1.secs());
/// assert!(receipt.is_complete());
/// assert_eq!(receipt.account.delivered, recorder.len() as u64);
/// ```
pub struct Bounded<S> {
    shared: Arc<Shared>,
    sink: Arc<S>,
    classify: Option<Classify>,
    capacity: usize,
    linger: Duration,
}

impl<S: EventSink> Bounded<S> {
    fn new(sink: S, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let rooms = Rooms::Own([
            Room { capacity: capacity.max(ENDS), rule: Rule::DropNewest },
            Room { capacity, rule: Rule::DropNewest },
            Room { capacity, rule: Rule::DropOldest },
            Room { capacity: (capacity / 4).max(1), rule: Rule::Sample(10) },
        ]);
        let shared = Arc::new(Shared::new(rooms));
        Self { shared, sink: Arc::new(sink), classify: None, capacity, linger: Duration::from_secs(1) }
    }

    /// Replaces the policy of a class.
    #[must_use]
    pub fn class(self, class: EventClass, policy: impl Into<Policy>) -> Self {
        let policy = policy.into();
        let default = match class {
            EventClass::Terminal => self.capacity.max(ENDS),
            EventClass::Debug => self.capacity / 4,
            EventClass::Decision | EventClass::Progress => self.capacity,
        };
        self.shared.set_room(class, policy.room(default));
        self.shared.set_spiller(class, policy.files().map(|files| Spiller::new(class, files)));
        self
    }

    /// Replaces the table of [`EventClass`]. An event that `classify` panics on has the class of the table.
    #[must_use]
    pub fn classify(mut self, classify: impl Fn(&Event) -> EventClass + Send + Sync + 'static) -> Self {
        self.classify = Some(Box::new(classify));
        self
    }

    /// Calls `on_drop` for each event that is dropped out of the queue or before it, on the thread that found out.
    ///
    /// It must not block. What the sink itself loses is not told: it had the event. What is lost in files is not told
    /// either: nobody has the event.
    #[must_use]
    pub fn on_drop(self, on_drop: impl Fn(&Event, DropReason) + Send + Sync + 'static) -> Self {
        self.shared.set_on_drop(Arc::new(on_drop));
        self
    }

    /// Calls `on_trouble` when files of [`Policy::spill`] begin to fail, with the class and what is wrong, on the thread
    /// that found out. Writing and reading are told once each, and again only if it has
    /// worked in between.
    #[must_use]
    pub fn on_spill_trouble(self, on_trouble: impl Fn(EventClass, &str) + Send + Sync + 'static) -> Self {
        self.shared.set_on_trouble(Arc::new(on_trouble));
        self
    }

    /// How long the drop of this waits for the queue to be delivered; a second by default. What is left is delivered
    /// afterwards, as long as the process lives.
    #[must_use]
    pub fn linger(mut self, time: Duration) -> Self {
        self.linger = time;
        self
    }

    /// Emits an event without waiting.
    pub fn emit(&self, event: Event) -> Verdict {
        let class = self.class_of(&event);
        let verdict = self.shared.push_one(event, class);
        self.see_to_drain();
        verdict.into()
    }

    /// Emits an event, and waits for room where the policy of its class is [`Policy::wait`].
    ///
    /// It blocks the thread: it is not for async code.
    pub fn emit_blocking(&self, event: Event) -> Verdict {
        let class = self.class_of(&event);
        self.see_to_drain();
        let verdict = self.shared.push_waiting(event, class);
        self.see_to_drain();
        verdict.into()
    }

    /// The sink behind the queue.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// What became of the events so far.
    pub fn account(&self) -> SinkAccount {
        self.shared.account()
    }

    /// How full it is.
    pub fn pressure(&self) -> Pressure {
        self.shared.pressure()
    }

    /// What of the events of a class is in files, for [`Policy::spill`]; all zero for other policies.
    pub fn spilled(&self, class: EventClass) -> Spilled {
        self.shared.spilled(class)
    }

    /// Reads the account, now and after this is gone.
    pub fn meter(&self) -> Meter {
        Meter { shared: Arc::clone(&self.shared) }
    }

    /// Waits until what was emitted so far was delivered or dropped, and the sink was [flushed](EventSink::on_flush).
    ///
    /// A sink that is stuck keeps it waiting until a shutdown.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn flush(&self) {
        self.see_to_drain();
        let shared = Arc::clone(&self.shared);
        let Some(mark) = shared.ask_for_flush() else { return };
        poll_fn(|cx| shared.poll_flushed(mark, cx)).await;
    }

    /// Lets no further event in, waits up to `budget` for the sink to take and flush what is queued, and says what
    /// became of all events. What is left then is dropped and counted. A second shutdown gives the account again.
    ///
    /// It needs no runtime: the time is kept by a thread of its own.
    ///
    /// # Cancel safety
    ///
    /// The shutdown goes on when the future is dropped.
    pub async fn shutdown(&self, budget: Duration) -> Receipt {
        self.see_to_drain();
        let shared = Arc::clone(&self.shared);
        let watch = move || {
            shared.shut_down(budget);
        };
        if thread::Builder::new().name("stageflow-shutdown".to_owned()).spawn(watch).is_err() {
            return self.shared.shut_down(Duration::ZERO);
        }
        poll_fn(|cx| match self.shared.poll_receipt(cx) {
            Some(receipt) => Poll::Ready(receipt),
            None => Poll::Pending,
        })
        .await
    }

    /// [`shutdown`](Self::shutdown) for code that is not async: it blocks the thread.
    pub fn shutdown_blocking(&self, budget: Duration) -> Receipt {
        self.see_to_drain();
        self.shared.shut_down(budget)
    }

    fn class_of(&self, event: &Event) -> EventClass {
        let own = self.classify.as_ref();
        own.and_then(|classify| catch_unwind(AssertUnwindSafe(|| classify(event))).ok())
            .unwrap_or_else(|| event.kind().class())
    }

    /// Starts the thread if there are events and there is none. Where it cannot be started the next event tries again.
    fn see_to_drain(&self) {
        if self.shared.needs_thread() {
            drain::start(&self.shared, &self.sink);
            let spillers = self.shared.take_spillers();
            if !spillers.is_empty() {
                spill::start(&self.shared, spillers);
            }
        }
    }
}

impl<S: EventSink> EventSink for Bounded<S> {
    fn on_event(&self, event: &Event) {
        // What became of it is in the account.
        let _ = self.emit(event.clone());
    }

    fn take_all(&self, events: Vec<Event>) -> Taken {
        let taken = Taken::all(&events);
        let own = self.classify.is_some();
        let classes = own.then(|| events.iter().map(|event| self.class_of(event)).collect());
        self.shared.push_all(events, classes);
        self.see_to_drain();
        taken
    }

    fn samples(&self, run: &ContextSnapshot) -> Option<bool> {
        self.sink.samples(run)
    }

    fn listens(&self) -> bool {
        self.sink.listens()
    }

    /// Directly: there is a queue here already.
    fn delivery(&self) -> Delivery {
        Delivery::Inline
    }

    fn own_account(&self) -> Option<SinkAccount> {
        Some(self.shared.account())
    }

    fn flushing(&self) -> Option<Flushing> {
        self.see_to_drain();
        let shared = Arc::clone(&self.shared);
        let mark = shared.ask_for_flush()?;
        Some(Box::pin(poll_fn(move |cx| shared.poll_flushed(mark, cx))))
    }
}

impl<S> Drop for Bounded<S> {
    fn drop(&mut self) {
        self.shared.leave(self.linger);
    }
}

impl<S> fmt::Debug for Bounded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded").field("account", &self.shared.account()).finish_non_exhaustive()
    }
}

/// Reads the account of a [`Bounded`] sink, also after it is gone.
#[derive(Clone)]
pub struct Meter {
    shared: Arc<Shared>,
}

impl Meter {
    /// What became of the events so far.
    pub fn account(&self) -> SinkAccount {
        self.shared.account()
    }

    /// How full it is.
    pub fn pressure(&self) -> Pressure {
        self.shared.pressure()
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("account", &self.account()).finish()
    }
}

#[cfg(test)]
mod tests;
