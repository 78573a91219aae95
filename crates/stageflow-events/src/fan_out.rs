//! Several sinks as one.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stageflow_core::{
    ContextSnapshot, Delivery, DropReason, Event, EventSink, SinkAccount,
    event::{Flushing, Taken},
};

use crate::SinkExt;

/// Tells several sinks of every event. None of them slows or breaks another.
///
/// A sink that wants a queue gets a [bounded](crate::Bounded) one of the capacity it asks for, with a thread of its own;
/// the others are called one after the other.
///
/// ```
/// use stageflow_core::Recorder;
/// use stageflow_events::{FanOut, SinkExt, sink_fn};
///
/// let sinks = FanOut::new().to(Recorder::new()).to(sink_fn(|event| println!("{event}"))).to(Recorder::new().bounded(10));
/// assert_eq!(sinks.accounts().len(), 3);
/// ```
#[derive(Default)]
pub struct FanOut {
    branches: Vec<Branch>,
}

struct Branch {
    sink: Arc<dyn EventSink>,
    /// For a sink without an account of its own.
    account: Mutex<SinkAccount>,
}

impl FanOut {
    /// Nobody is told.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells this sink as well.
    #[must_use]
    pub fn to(mut self, sink: impl EventSink) -> Self {
        let sink: Arc<dyn EventSink> = match sink.delivery() {
            Delivery::Queued { capacity } => Arc::new(sink.bounded(capacity)),
            _ => Arc::new(sink),
        };
        self.branches.push(Branch { sink, account: Mutex::default() });
        self
    }

    /// What became of the events of each sink, in the order in which they were added.
    pub fn accounts(&self) -> Vec<SinkAccount> {
        self.branches.iter().map(Branch::account).collect()
    }
}

impl Branch {
    fn account(&self) -> SinkAccount {
        self.sink.own_account().unwrap_or_else(|| *self.lock())
    }

    fn give(&self, events: Vec<Event>) {
        let count = Taken::all(&events).delivered;
        {
            let mut account = self.lock();
            account.emitted += count;
            account.in_flight += count;
        }
        let taken = catch_unwind(AssertUnwindSafe(|| self.sink.take_all(events)));
        let mut account = self.lock();
        account.in_flight -= count;
        let Ok(Taken { losses, .. }) = taken else {
            account.drop_for(DropReason::Panic, count);
            return;
        };
        account.delivered += count - losses.total().min(count);
        DropReason::ALL.iter().for_each(|reason| account.drop_for(*reason, losses.for_reason(*reason)));
    }

    fn lock(&self) -> MutexGuard<'_, SinkAccount> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for FanOut {
    fn on_event(&self, event: &Event) {
        self.branches.iter().for_each(|branch| branch.give(vec![event.clone()]));
    }

    fn take_all(&self, events: Vec<Event>) -> Taken {
        let taken = Taken::all(&events);
        if let Some((last, others)) = self.branches.split_last() {
            others.iter().for_each(|branch| branch.give(events.clone()));
            last.give(events);
        }
        taken
    }

    fn on_flush(&self) {
        for branch in &self.branches {
            // What one panics with is no matter of the next.
            let _ = catch_unwind(AssertUnwindSafe(|| branch.sink.on_flush()));
        }
    }

    fn samples(&self, run: &ContextSnapshot) -> Option<bool> {
        self.branches.iter().filter_map(|branch| branch.sink.samples(run)).reduce(|one, other| one || other)
    }

    fn listens(&self) -> bool {
        self.branches.iter().any(|branch| branch.sink.listens())
    }

    fn delivery(&self) -> Delivery {
        Delivery::Inline
    }

    fn flushing(&self) -> Option<Flushing> {
        let all: Vec<_> = self.branches.iter().filter_map(|branch| branch.sink.flushing()).collect();
        Some(Box::pin(async move {
            for one in all {
                one.await;
            }
        }))
    }
}

impl fmt::Debug for FanOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOut").field("accounts", &self.accounts()).finish()
    }
}
