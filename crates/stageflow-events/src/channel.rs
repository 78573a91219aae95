//! Events as a stream, for whoever shows them while they happen.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use stageflow_core::{
    Delivery, Event, EventSink, SinkAccount,
    event::{
        Taken,
        backlog::{Backlog, Lost, Rooms},
    },
};

/// A sink, and the stream of the events that it is given: for user interfaces that show what goes on.
///
/// The events of a run come in the order of their numbers, those of several runs mix. At most `capacity` events wait; the
/// last eighth of the room is kept for events that end a stage, and there is more room, beyond it, for those that end a
/// run. What does not fit is dropped and counted, and an `events.gap` stands before the next event of that run.
///
/// The stream ends when the sink is dropped, which an engine does when it is dropped itself. For the events of one
/// run only, see `RunHandle::events`, or [`filter`](crate::SinkExt::filter) the sink.
///
/// ```
/// use stageflow_core::{Event, EventSink};
/// use stageflow_events::channel;
///
/// let (sink, mut events) = channel(1_000);
/// drop(sink); // it goes to `Engine::builder().sink(…)`
/// # std::thread::spawn(move || {
/// # let mut next = std::pin::pin!(events.next());
/// # let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// # assert!(next.as_mut().poll(&mut cx).is_ready());
/// # }).join().unwrap();
/// ```
pub fn channel(capacity: usize) -> (ChannelSink, EventReceiver) {
    let backlog = Backlog::new(Rooms::Shared(capacity.max(1)));
    let state = State { backlog, reader: None };
    let shared = Arc::new(Shared(Mutex::new(state)));
    (ChannelSink { shared: Arc::clone(&shared) }, EventReceiver { shared })
}

struct Shared(Mutex<State>);

struct State {
    backlog: Backlog,
    reader: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, events: Vec<Event>) {
        let mut lost = Lost::new();
        let mut state = self.lock();
        state.backlog.push_all(events, &mut lost);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    fn close(&self) {
        let mut state = self.lock();
        state.backlog.close();
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }
}

/// The end of a [`channel`] that an engine has.
pub struct ChannelSink {
    shared: Arc<Shared>,
}

impl EventSink for ChannelSink {
    fn on_event(&self, event: &Event) {
        self.shared.push(vec![event.clone()]);
    }

    fn take_all(&self, events: Vec<Event>) -> Taken {
        let taken = Taken::all(&events);
        self.shared.push(events);
        taken
    }

    fn delivery(&self) -> Delivery {
        Delivery::Inline
    }

    fn own_account(&self) -> Option<SinkAccount> {
        Some(self.shared.lock().backlog.account())
    }
}

impl Drop for ChannelSink {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for ChannelSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSink").field("account", &self.shared.lock().backlog.account()).finish()
    }
}

/// The end of a [`channel`] that is read. When it is dropped, what waits is dropped and counted, and so is what comes.
pub struct EventReceiver {
    shared: Arc<Shared>,
}

impl EventReceiver {
    /// The next event; `None` when the sink is gone and everything was read.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        let mut lost = Lost::new();
        self.shared.lock().backlog.pop(&mut lost)
    }

    /// [`next`](Self::next) for those who write a stream of their own.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut lost = Lost::new();
        let mut state = self.shared.lock();
        if let Poll::Ready(next) = state.backlog.poll_pop(&mut lost) {
            return Poll::Ready(next);
        }
        let before = state.reader.replace(cx.waker().clone());
        drop(state);
        drop(before);
        Poll::Pending
    }

    /// What became of the events so far.
    pub fn account(&self) -> SinkAccount {
        self.shared.lock().backlog.account()
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        let mut lost = Lost::new();
        self.shared.lock().backlog.abandon(&mut lost);
    }
}

impl fmt::Debug for EventReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReceiver").field("account", &self.account()).finish()
    }
}

#[cfg(test)]
mod tests;
