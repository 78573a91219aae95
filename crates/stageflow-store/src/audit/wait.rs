//! Waiting on a thread that nobody else needs.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake},
    thread::{self, Thread},
    time::{Duration, Instant},
};

/// Whether something ended in time.
pub(super) enum Waited<T> {
    Done(T),
    NotYet,
}

struct Unpark {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Polls on this thread until there is a result, or the time is up.
pub(super) fn block_on<F: Future>(future: F, limit: Duration) -> Waited<F::Output> {
    let begun = Instant::now();
    let unpark = Arc::new(Unpark { thread: thread::current(), woken: AtomicBool::new(true) });
    let waker = Arc::clone(&unpark).into();
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if unpark.woken.swap(false, Ordering::Acquire)
            && let Poll::Ready(output) = future.as_mut().poll(&mut cx)
        {
            return Waited::Done(output);
        }
        let left = limit.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Waited::NotYet;
        }
        thread::park_timeout(left);
    }
}
