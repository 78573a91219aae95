//! A batch on its way: carried by one of its callers, and by the next if that one goes.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::{
    error,
    hub::{Answers, Calling, Hub},
    item::Batch,
    queue::{FlushedBy, Key},
};

/// What is known of a batch when it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dispatched {
    pub(super) size: usize,
    pub(super) weight: u64,
    pub(super) by: FlushedBy,
    /// How long the item that came first has waited.
    pub(super) waited: Duration,
}

/// The call of one batch. It belongs to its callers, and is dropped with the last of them.
pub(super) struct Flight<I, O> {
    pub(super) tickets: Vec<u64>,
    pub(super) facts: Dispatched,
    leader: AtomicU64,
    waker: OnceLock<Waker>,
    load: Mutex<Load<I, O>>,
}

enum Load<I, O> {
    /// Nobody has begun the call.
    Packed(Key, Vec<I>),
    Called {
        /// Those whose items were given.
        tickets: Vec<u64>,
        call: Calling<O>,
        timer: Option<Pin<Box<Sleep>>>,
    },
    /// It is being polled, or is over.
    Away,
}

impl<I, O> Flight<I, O> {
    pub(super) fn new(tickets: Vec<u64>, facts: Dispatched, key: Key, items: Vec<I>) -> Self {
        let leader = AtomicU64::new(tickets.first().copied().unwrap_or_default());
        Self { tickets, facts, leader, waker: OnceLock::new(), load: Mutex::new(Load::Packed(key, items)) }
    }

    pub(super) fn leader(&self) -> u64 {
        self.leader.load(Ordering::Acquire)
    }

    /// Changed under the lock of the hub alone.
    pub(super) fn lead(&self, ticket: u64) {
        self.leader.store(ticket, Ordering::Release);
    }

    fn load(&self) -> MutexGuard<'_, Load<I, O>> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I: Send + 'static, O: Send + 'static> Flight<I, O> {
    /// Goes on with the call, for the one who carries it. Once it is ready, all have their answers.
    pub(super) fn carry(self: &Arc<Self>, hub: &Arc<Hub<I, O>>) -> Poll<()> {
        // Out of its place while it is polled: nobody calls the user's code under a lock.
        let mut load = mem::replace(&mut *self.load(), Load::Away);
        if let Load::Packed(key, items) = load {
            load = self.begin(hub, key, items);
        }
        let Load::Called { tickets, mut call, mut timer } = load else { return Poll::Pending };
        let waker = self.waker.get_or_init(|| {
            Waker::from(Arc::new(Horn { hub: Arc::downgrade(hub), flight: Arc::downgrade(self) }))
        });
        let mut cx = Context::from_waker(waker);
        let polled = catch_unwind(AssertUnwindSafe(|| match call.as_mut().poll(&mut cx) {
            Poll::Pending => late(hub, &mut timer, &mut cx).map(Ok),
            Poll::Ready(answers) => Poll::Ready(Ok::<_, Box<dyn Any + Send>>((Some(answers), None))),
        }))
        .unwrap_or_else(|panic| Poll::Ready(Err(panic)));
        let answers = match polled {
            Poll::Pending => {
                *self.load() = Load::Called { tickets, call, timer };
                return Poll::Pending;
            }
            Poll::Ready(Ok((answers, too_late))) => error::sort(hub, tickets, answers, too_late),
            Poll::Ready(Err(panic)) => error::panicked(hub, tickets, panic),
        };
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(call)));
        hub.land(answers);
        Poll::Ready(())
    }

    /// Calls the handler with the items of those that are still here.
    fn begin(&self, hub: &Hub<I, O>, key: Key, items: Vec<I>) -> Load<I, O> {
        let here = hub.still_here(&self.tickets);
        let (mut tickets, mut given, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for ((ticket, item), is_here) in self.tickets.iter().zip(items).zip(here) {
            if is_here {
                tickets.push(*ticket);
                given.push(item);
            } else {
                gone.push(item);
            }
        }
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(gone)));
        let called = catch_unwind(AssertUnwindSafe(|| (hub.handler)(Batch::new(key, given))));
        let call = called.unwrap_or_else(|panic| Box::pin(async move { std::panic::resume_unwind(panic) }));
        Load::Called { tickets, call, timer: None }
    }
}

type Late<O> = (Option<Answers<O>>, Option<Duration>);

/// Whether the call takes too long. The timer begins with the first wait.
fn late<I, O>(hub: &Hub<I, O>, timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<Late<O>> {
    let Some(time) = hub.call_timeout else { return Poll::Pending };
    let timer = timer.get_or_insert_with(|| Box::pin(sleep(time)));
    Future::poll(timer.as_mut(), cx).map(|()| (None, Some(time)))
}

/// Wakes whoever carries the batch at that moment.
struct Horn<I, O> {
    hub: Weak<Hub<I, O>>,
    flight: Weak<Flight<I, O>>,
}

impl<I: Send + 'static, O: Send + 'static> Wake for Horn<I, O> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let (Some(hub), Some(flight)) = (self.hub.upgrade(), self.flight.upgrade()) {
            hub.wake_leader(&flight);
        }
    }
}
