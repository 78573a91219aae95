//! Counts of the calls of a scripted stage.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How many calls of a [`Script`](crate::Script) there were. Clones count the same calls.
///
/// A call begins at its first poll.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_testing::{call, ok};
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let stage = ok(7);
/// let calls = stage.calls();
/// call(&stage, Arc::new("input")).await;
/// assert_eq!((calls.began(), calls.ended(), calls.dropped()), (1, 1, 0));
/// # });
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    began: AtomicU64,
    ended: AtomicU64,
    dropped: AtomicU64,
    most: AtomicU64,
}

impl Calls {
    /// How many calls began.
    pub fn began(&self) -> u64 {
        self.0.began.load(Ordering::SeqCst)
    }

    /// How many calls ended by themselves: with an output, a failure or a panic.
    pub fn ended(&self) -> u64 {
        self.0.ended.load(Ordering::SeqCst)
    }

    /// How many calls were dropped before their end.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::SeqCst)
    }

    /// How many calls are neither ended nor dropped.
    pub fn in_flight(&self) -> u64 {
        let over = self.ended() + self.dropped();
        self.began().saturating_sub(over)
    }

    /// How many calls were in flight at the same time, at most.
    pub fn most_in_flight(&self) -> u64 {
        self.0.most.load(Ordering::SeqCst)
    }

    pub(super) fn begin(&self) -> OneCall {
        self.0.began.fetch_add(1, Ordering::SeqCst);
        self.0.most.fetch_max(self.in_flight(), Ordering::SeqCst);
        OneCall { calls: self.clone(), has_ended: false }
    }
}

/// A call in flight.
pub(super) struct OneCall {
    calls: Calls,
    has_ended: bool,
}

impl OneCall {
    pub(super) fn end(mut self) {
        self.has_ended = true;
    }
}

impl Drop for OneCall {
    fn drop(&mut self) {
        let counts = &self.calls.0;
        let count = if self.has_ended { &counts.ended } else { &counts.dropped };
        count.fetch_add(1, Ordering::SeqCst);
    }
}
