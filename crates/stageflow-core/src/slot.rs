//! Memory for the futures of calls, used again by the next call.

use std::{
    any::Any,
    cell::Cell,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    exit::{StageExit, StageResult},
    value::Value,
};

/// A place for the future of a call. What one call leaves of it, memory for a future of its type, serves the next.
#[doc(hidden)]
#[derive(Default)]
pub struct FutureSlot(Option<Box<dyn Place>>);

/// How many places a thread keeps.
const KEPT: usize = 8;

/// Up to so many bytes a future is moved into its place.
const MOVED_MAX: usize = 128;

trait Place: Any + Send {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<StageResult<Value>>;
}

/// Memory for one type of future, moved into it. One that has ended stays in it, but has let go of what it held.
struct Moved<F>(Pin<Box<F>>);

impl<F: Future<Output = StageResult<Value>> + Send + 'static> Place for Moved<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<StageResult<Value>> {
        self.0.as_mut().poll(cx)
    }
}

/// The same for futures that are made in it.
struct Made<F>(Pin<Box<Option<F>>>);

impl<F: Future<Output = StageResult<Value>> + Send + 'static> Place for Made<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<StageResult<Value>> {
        match self.0.as_mut().as_pin_mut() {
            Some(future) => future.poll(cx),
            None => Poll::Ready(Err(not_begun())),
        }
    }
}

impl FutureSlot {
    /// A place, with memory if this thread has some left.
    #[inline]
    pub fn take() -> Self {
        let taken = IDLE.try_with(|idle| {
            let top = idle.count.get().checked_sub(1)?;
            idle.count.set(top);
            idle.places.get(top)?.take()
        });
        Self(taken.ok().flatten())
    }

    /// Leaves the memory of a future that has ended to the next call on this thread.
    #[inline]
    pub fn keep(self) {
        let Some(place) = self.0 else { return };
        let _kept = IDLE.try_with(|idle| {
            let top = idle.count.get();
            if let Some(free) = idle.places.get(top) {
                free.set(Some(place));
                idle.count.set(top + 1);
            }
        });
    }

    /// Puts a future in, which must let go of everything as it ends, as those of async blocks do. What is left of the last
    /// one is dropped.
    #[inline]
    pub fn put<F>(&mut self, future: F)
    where
        F: Future<Output = StageResult<Value>> + Send + 'static,
    {
        let place = self.0.as_deref_mut().map(|place| place as &mut dyn Any);
        match place.and_then(<dyn Any>::downcast_mut::<Moved<F>>) {
            Some(place) => place.0.set(future),
            None => self.0 = Some(Box::new(Moved(Box::pin(future)))),
        }
    }

    /// The same for a future that is made in its place where moving it there would cost more.
    #[inline]
    pub fn put_with<F>(&mut self, make: impl FnOnce() -> F)
    where
        F: Future<Output = StageResult<Value>> + Send + 'static,
    {
        if size_of::<F>() <= MOVED_MAX {
            return self.put(make());
        }
        let place = self.0.as_deref_mut().map(|place| place as &mut dyn Any);
        match place.and_then(<dyn Any>::downcast_mut::<Made<F>>) {
            Some(place) => {
                // First of all, so that nothing stands between the making and the place.
                place.0.set(None);
                place.0.set(Some(make()));
            }
            None => self.0 = Some(Box::new(Made(Box::pin(Some(make()))))),
        }
    }

    /// Polls the future.
    #[inline]
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<StageResult<Value>> {
        match &mut self.0 {
            Some(place) => place.poll(cx),
            None => Poll::Ready(Err(not_begun())),
        }
    }
}

#[cold]
fn not_begun() -> StageExit {
    StageExit::internal("a call was polled before it began, or after it had ended")
}

impl fmt::Debug for FutureSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FutureSlot")
    }
}

/// Places that wait for the next call, the last one on top.
struct Idle {
    count: Cell<usize>,
    places: [Cell<Option<Box<dyn Place>>>; KEPT],
}

thread_local! {
    static IDLE: Idle = const { Idle { count: Cell::new(0), places: [const { Cell::new(None) }; KEPT] } };
}
