//! Who is told of events, and how they are handed over.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
};

use super::{DropReason, Event, EventKind, Losses, SinkAccount};
use crate::{snapshot::ContextSnapshot, text::panic_message};

/// Is told what happened; cannot change it.
///
/// The engine delivers the events of a run in the order of their sequence numbers. What a sink does, its panics
/// included, changes no run (rule S-29).
///
/// ```
/// use stageflow_core::{Event, EventSink};
///
/// struct Print;
///
/// impl EventSink for Print {
///     fn on_event(&self, event: &Event) {
///         println!("{event}");
///     }
/// }
/// ```
pub trait EventSink: Send + Sync + 'static {
    /// Takes one event.
    fn on_event(&self, event: &Event);

    /// Takes events that came together, in order: all of one run, but for gaps at the very end.
    #[doc(hidden)]
    fn take_all(&self, events: Vec<Event>) -> Taken {
        let mut taken = Taken::default();
        for event in &events {
            match catch_unwind(AssertUnwindSafe(|| self.on_event(event))) {
                Ok(()) => taken.took(event),
                Err(panic) => {
                    // What it carries is dropped here: that may panic as well.
                    panic_message(panic);
                    taken.lost(event, DropReason::Panic);
                }
            }
        }
        taken
    }

    /// Writes what it has kept back, such as in a buffer. It may block: workers do not call it.
    ///
    /// `Engine::flush` and `Engine::shutdown` call it after the last event, and so does what wraps a sink.
    fn on_flush(&self) {}

    /// Whether it records the trace of a run, for a sink that records traces: asked for the headers that stages send, at any
    /// time and often, and always answered in the same way for the same run. What wraps a sink asks it.
    fn samples(&self, _run: &ContextSnapshot) -> Option<bool> {
        None
    }

    /// Whether it listens to a run that begins now; asked once per run.
    ///
    /// A run to which no sink listens costs nothing, as if there were none. Gaps do not tell of runs nobody listened to, and
    /// no account knows them.
    fn listens(&self) -> bool {
        true
    }

    /// How the engine hands events over.
    fn delivery(&self) -> Delivery {
        Delivery::default()
    }

    /// The account of a sink that keeps its own, which the engine then shows in place of its own.
    #[doc(hidden)]
    fn own_account(&self) -> Option<SinkAccount> {
        None
    }

    /// For a sink that hands events on later: resolves when it has handed on what it was given so far.
    #[doc(hidden)]
    fn flushing(&self) -> Option<Flushing> {
        None
    }
}

/// A sink that several places share.
impl<S: EventSink + ?Sized> EventSink for Arc<S> {
    fn on_event(&self, event: &Event) {
        (**self).on_event(event);
    }

    fn take_all(&self, events: Vec<Event>) -> Taken {
        (**self).take_all(events)
    }

    fn on_flush(&self) {
        (**self).on_flush();
    }

    fn samples(&self, run: &ContextSnapshot) -> Option<bool> {
        (**self).samples(run)
    }

    fn listens(&self) -> bool {
        (**self).listens()
    }

    fn delivery(&self) -> Delivery {
        (**self).delivery()
    }

    fn own_account(&self) -> Option<SinkAccount> {
        (**self).own_account()
    }

    fn flushing(&self) -> Option<Flushing> {
        (**self).flushing()
    }
}

/// Resolves when a sink has handed on what it was given.
#[doc(hidden)]
pub type Flushing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What became of events that a sink was given. Gaps are not counted.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Taken {
    pub delivered: u64,
    /// Events that were dropped.
    pub losses: Losses,
    /// What the gaps told that did not get through either.
    pub untold: Losses,
}

impl Taken {
    /// It has taken this one.
    pub fn took(&mut self, event: &Event) {
        self.delivered += u64::from(!event.is_gap());
    }

    /// It has not taken this one.
    pub fn lost(&mut self, event: &Event, reason: DropReason) {
        match event.kind() {
            EventKind::Gap { losses, .. } => self.untold.merge(losses),
            kind => self.losses.add(event, kind.class(), reason),
        }
    }

    /// It has taken all of these.
    pub fn all(events: &[Event]) -> Self {
        let delivered = events.iter().filter(|event| !event.is_gap()).count() as u64;
        Self { delivered, ..Self::default() }
    }
}

/// How the engine hands events to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// Through a bounded queue, on a thread of its own: the sink may take its time. When the queue is full
    /// events are dropped and counted, those that end a stage or a run last, and a
    /// [`Gap`](EventKind::Gap) stands in their place.
    Queued {
        /// How many events the queue holds.
        capacity: usize,
    },
    /// Directly, by the worker that runs the stages: for sinks that only append to memory.
    Inline,
}

impl Default for Delivery {
    fn default() -> Self {
        Self::Queued { capacity: 65_536 }
    }
}
