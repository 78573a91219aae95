//! The futures of the items in flight, in places that are used again: nothing is allocated for an item that follows another.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// What a future gave, or what it panicked with.
pub(super) type Ended<O> = Result<O, Box<dyn Any + Send>>;

/// A number of places for futures, of which only those are polled that were woken.
pub(super) struct Pool<F> {
    places: Vec<Place<F>>,
    free: Vec<usize>,
    woken: Arc<Woken>,
}

struct Place<F> {
    future: Pin<Box<Option<F>>>,
    waker: Waker,
    signal: Arc<Signal>,
}

/// Who was woken, and whom that wakes.
#[derive(Default)]
struct Woken(Mutex<WokenState>);

#[derive(Default)]
struct WokenState {
    places: Vec<usize>,
    parent: Option<Waker>,
}

impl Woken {
    fn lock(&self) -> MutexGuard<'_, WokenState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes one place.
struct Signal {
    place: usize,
    is_woken: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let parent = {
            let mut woken = self.woken.lock();
            woken.places.push(self.place);
            woken.parent.take()
        };
        if let Some(parent) = parent {
            parent.wake();
        }
    }
}

impl<F> Pool<F> {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), woken: Arc::default() }
    }

    /// A place that nobody uses.
    pub(super) fn take(&mut self) -> usize {
        if let Some(place) = self.free.pop() {
            return place;
        }
        let place = self.places.len();
        let signal =
            Arc::new(Signal { place, is_woken: AtomicBool::new(false), woken: Arc::clone(&self.woken) });
        self.places.push(Place { future: Box::pin(None), waker: Waker::from(Arc::clone(&signal)), signal });
        place
    }

    /// Nobody uses it any more.
    pub(super) fn give_back(&mut self, place: usize) {
        self.free.push(place);
    }

    /// How many are in use.
    pub(super) fn in_use(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// What wakes the place.
    pub(super) fn waker(&self, place: usize) -> Option<&Waker> {
        self.places.get(place).map(|place| &place.waker)
    }

    /// Drops all futures, and whatever panics in that.
    pub(super) fn clear(&mut self) {
        for place in &mut self.places {
            let _panicked = catch_unwind(AssertUnwindSafe(|| place.future.set(None)));
        }
        self.free.clear();
        self.free.extend(0..self.places.len());
    }

    /// Moves the numbers of those that were woken over into `into`.
    pub(super) fn take_woken(&mut self, into: &mut Vec<usize>) {
        into.clear();
        std::mem::swap(&mut self.woken.lock().places, into);
        for place in into.iter() {
            if let Some(place) = self.places.get(*place) {
                place.signal.is_woken.store(false, Ordering::Release);
            }
        }
    }

    /// Has `cx` woken by the next that is woken; `false` if one was already.
    pub(super) fn park(&self, cx: &Context<'_>) -> bool {
        let parent = cx.waker().clone();
        let (last, is_quiet) = {
            let mut woken = self.woken.lock();
            (woken.parent.replace(parent), woken.places.is_empty())
        };
        drop(last);
        is_quiet
    }
}

impl<F: Future> Pool<F> {
    /// Makes a future in a place and polls it.
    pub(super) fn start(&mut self, place: usize, make: impl FnOnce() -> F) -> Poll<Ended<F::Output>> {
        let Some(Place { future, waker, .. }) = self.places.get_mut(place) else { return Poll::Pending };
        guarded(|| {
            future.set(Some(make()));
            poll(future, waker)
        })
    }

    /// Polls the future in a place.
    pub(super) fn poll(&mut self, place: usize) -> Poll<Ended<F::Output>> {
        let Some(Place { future, waker, .. }) = self.places.get_mut(place) else { return Poll::Pending };
        let polled = guarded(|| poll(future, waker));
        if matches!(polled, Poll::Ready(Err(_))) {
            let _panicked = catch_unwind(AssertUnwindSafe(|| future.set(None)));
        }
        polled
    }
}

/// Polls it, and drops what has ended.
fn poll<F: Future>(future: &mut Pin<Box<Option<F>>>, waker: &Waker) -> Poll<F::Output> {
    let Some(running) = future.as_mut().as_pin_mut() else { return Poll::Pending };
    let output = std::task::ready!(running.poll(&mut Context::from_waker(waker)));
    future.set(None);
    Poll::Ready(output)
}

/// One boundary for everything of an item: making its future, polling it, dropping it.
fn guarded<O>(polled: impl FnOnce() -> Poll<O>) -> Poll<Ended<O>> {
    match catch_unwind(AssertUnwindSafe(polled)) {
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic)),
    }
}
