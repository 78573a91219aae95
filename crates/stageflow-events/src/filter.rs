//! A sink that is told of some events only.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use stageflow_core::{
    ContextSnapshot, Delivery, Event, EventSink, SinkAccount,
    event::{Flushing, Taken},
};

type Keep = Box<dyn Fn(&Event) -> bool + Send + Sync>;

/// A sink that is told of some events only; made by [`SinkExt::filter`](crate::SinkExt::filter) and its like.
///
/// What is filtered out is not lost: no gap tells of it, and the account of the sink behind it does not know it. An event
/// that the filter panics on is told.
///
/// ```
/// use stageflow_core::{EventClass, Recorder};
/// use stageflow_events::SinkExt;
///
/// let audit = Recorder::new().only([EventClass::Terminal, EventClass::Decision]);
/// let acme = Recorder::new().only_tenant("acme");
/// let slow = Recorder::new().filter(|event| event.elapsed().as_secs() > 1);
/// # drop((audit, acme, slow));
/// ```
pub struct Filter<S> {
    sink: S,
    keep: Keep,
}

impl<S: EventSink> Filter<S> {
    pub(crate) fn new(sink: S, keep: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Self {
        Self { sink, keep: Box::new(keep) }
    }

    /// The sink behind the filter.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    fn keeps(&self, event: &Event) -> bool {
        event.is_gap() || catch_unwind(AssertUnwindSafe(|| (self.keep)(event))).unwrap_or(true)
    }
}

impl<S: EventSink> EventSink for Filter<S> {
    fn on_event(&self, event: &Event) {
        if self.keeps(event) {
            self.sink.on_event(event);
        }
    }

    fn take_all(&self, mut events: Vec<Event>) -> Taken {
        events.retain(|event| self.keeps(event));
        if events.is_empty() { Taken::default() } else { self.sink.take_all(events) }
    }

    fn on_flush(&self) {
        self.sink.on_flush();
    }

    fn samples(&self, run: &ContextSnapshot) -> Option<bool> {
        self.sink.samples(run)
    }

    fn listens(&self) -> bool {
        self.sink.listens()
    }

    fn delivery(&self) -> Delivery {
        self.sink.delivery()
    }

    fn own_account(&self) -> Option<SinkAccount> {
        self.sink.own_account()
    }

    fn flushing(&self) -> Option<Flushing> {
        self.sink.flushing()
    }
}

impl<S: fmt::Debug> fmt::Debug for Filter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("sink", &self.sink).finish_non_exhaustive()
    }
}
