//! Takes items from a source as there is room for them, and polls what they have become.

use std::{
    any::Any,
    future::Future,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    limiter::{
        Answer, FanOutLimiter, FanOutPermit, FanOutRefused, FanOutRequest, Overflow, Ticket, ramp::Ramp,
    },
    pool::Pool,
};

/// How many items one poll begins, so that a source of items that end at once lets others go on, and can be cancelled.
const BUDGET: usize = 256;

/// Where the items come from, one after the other.
pub(crate) trait Source {
    type Item;
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::Item>>;
}

/// How an item has ended.
pub(super) enum End<O> {
    Output(O),
    Panicked(Box<dyn Any + Send>),
    Refused(FanOutRefused),
}

/// What follows from the end of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    /// No further item is begun.
    Finish,
    /// Those that run are dropped as well.
    Abort,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) begun: usize,
    pub(super) ended: usize,
    pub(super) running: usize,
    pub(super) queued: usize,
}

/// A limiter, and what items ask it for.
pub(super) struct Lane<Ask, Within> {
    pub(super) limiter: FanOutLimiter,
    pub(super) request: Ask,
    /// How many items may wait, where those that find no place are not refused.
    pub(super) read_ahead: usize,
    /// How long one may wait from now on.
    pub(super) within: Within,
    /// Whether all of it is part of an item that has a permit of the limiter.
    pub(super) is_nested: bool,
}

/// What is in a place of the pool.
struct InPlace<T> {
    index: usize,
    waiting: Option<(T, Box<Ticket>)>,
    by_caller: bool,
}

/// Takes items from `source` and makes futures of them with `start`; `end` is told how each has ended.
pub(super) struct Drive<S: Source, F, Start, Finish, Ask, Within> {
    pub(super) source: S,
    pub(super) start: Start,
    pub(super) end: Finish,
    lane: Option<Lane<Ask, Within>>,
    max_in_flight: usize,
    ramp: Ramp,
    // Before the pool: those that wait leave before permits come free that would be handed to them.
    places: Vec<Option<InPlace<S::Item>>>,
    pool: Pool<F>,
    batch: Vec<usize>,
    running: usize,
    by_caller: usize,
    begun: usize,
    ended: usize,
    pub(super) peak: usize,
    /// How many ran when they were dropped.
    pub(super) aborted: usize,
    is_exhausted: bool,
    is_stopped: bool,
}

impl<S, F, Start, Finish, Ask, Within> Drive<S, F, Start, Finish, Ask, Within>
where
    Ask: Fn(&S::Item) -> FanOutRequest,
    Within: Fn() -> Duration,
    S: Source,
    F: Future,
    Start: FnMut(usize, S::Item, Option<FanOutPermit>) -> F,
    Finish: FnMut(usize, End<F::Output>) -> Then,
{
    pub(super) fn new(
        source: S,
        lane: Option<Lane<Ask, Within>>,
        (max_in_flight, ramp_from): (usize, Option<usize>),
        start: Start,
        end: Finish,
    ) -> Self {
        Self {
            source,
            start,
            end,
            lane,
            max_in_flight,
            ramp: Ramp::new(ramp_from, max_in_flight),
            pool: Pool::new(),
            places: Vec::new(),
            batch: Vec::new(),
            running: 0,
            by_caller: 0,
            begun: 0,
            ended: 0,
            peak: 0,
            aborted: 0,
            is_exhausted: false,
            is_stopped: false,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            begun: self.begun,
            ended: self.ended,
            running: self.running,
            queued: self.pool.in_use() - self.running,
        }
    }

    /// Goes on as far as it can; ready when no item is left.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut batch = std::mem::take(&mut self.batch);
        self.pool.take_woken(&mut batch);
        for place in &batch {
            self.poll_place(*place);
        }
        self.batch = batch;
        let mut budget = BUDGET;
        while self.has_room() {
            if budget == 0 {
                cx.waker().wake_by_ref();
                break;
            }
            budget -= 1;
            match self.source.poll_next(cx) {
                Poll::Ready(Some(item)) => self.begin(item),
                Poll::Ready(None) => self.is_exhausted = true,
                Poll::Pending => break,
            }
        }
        if (self.is_exhausted || self.is_stopped) && self.pool.in_use() == 0 {
            return Poll::Ready(());
        }
        if !self.pool.park(cx) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn has_room(&self) -> bool {
        let in_use = self.pool.in_use();
        let may_ask = self.lane.as_ref().is_none_or(|lane| match lane.limiter.overflow() {
            _ if lane.is_nested => self.by_caller == 0,
            Overflow::Wait => in_use - self.running < lane.read_ahead,
            Overflow::CallerRuns => self.by_caller == 0,
            _ => true,
        });
        may_ask && !self.is_exhausted && !self.is_stopped && in_use < self.ramp.allowed(self.max_in_flight)
    }

    fn begin(&mut self, item: S::Item) {
        let index = self.begun;
        self.begun += 1;
        let mut permit = None;
        if let Some(lane) = &self.lane {
            match lane.limiter.offer((lane.request)(&item), &lane.within) {
                Answer::Granted(granted) => permit = Some(granted),
                Answer::Refused(refused) => return self.conclude(index, End::Refused(refused)),
                Answer::Queued(ticket) => {
                    let place = self.occupy(index, Some((item, ticket)));
                    return self.poll_place(place);
                }
            }
        }
        let place = self.occupy(index, None);
        self.run(place, index, item, permit);
    }

    fn occupy(&mut self, index: usize, waiting: Option<(S::Item, Box<Ticket>)>) -> usize {
        let place = self.pool.take();
        if place >= self.places.len() {
            self.places.resize_with(place + 1, || None);
        }
        if let Some(free) = self.places.get_mut(place) {
            *free = Some(InPlace { index, waiting, by_caller: false });
        }
        place
    }

    /// Begins an item that has what it needs.
    fn run(&mut self, place: usize, index: usize, item: S::Item, permit: Option<FanOutPermit>) {
        self.running += 1;
        self.peak = self.peak.max(self.running);
        if permit.as_ref().is_some_and(FanOutPermit::is_by_caller) {
            self.by_caller += 1;
            if let Some(Some(known)) = self.places.get_mut(place) {
                known.by_caller = true;
            }
        }
        let start = &mut self.start;
        if let Poll::Ready(ended) = self.pool.start(place, || start(index, item, permit)) {
            self.leave(place, true);
            self.conclude(index, ended.map_or_else(End::Panicked, End::Output));
        }
    }

    fn poll_place(&mut self, place: usize) {
        let Some(Some(known)) = self.places.get_mut(place) else { return };
        let index = known.index;
        if let Some((_, ticket)) = &mut known.waiting {
            let Some(waker) = self.pool.waker(place) else { return };
            let polled = std::pin::Pin::new(ticket).poll(&mut Context::from_waker(waker));
            let Poll::Ready(answer) = polled else { return };
            let Some((item, _)) = known.waiting.take() else { return };
            return match answer {
                Ok(permit) => self.run(place, index, item, Some(permit)),
                Err(refused) => {
                    self.leave(place, false);
                    self.conclude(index, End::Refused(refused));
                }
            };
        }
        if let Poll::Ready(ended) = self.pool.poll(place) {
            self.leave(place, true);
            self.conclude(index, ended.map_or_else(End::Panicked, End::Output));
        }
    }

    fn leave(&mut self, place: usize, was_running: bool) {
        let known = self.places.get_mut(place).and_then(Option::take);
        self.by_caller -= usize::from(known.is_some_and(|known| known.by_caller));
        self.running -= usize::from(was_running);
        self.pool.give_back(place);
        if was_running {
            self.ramp.ended(self.max_in_flight);
        }
    }

    fn conclude(&mut self, index: usize, end: End<F::Output>) {
        self.ended += 1;
        match (self.end)(index, end) {
            Then::GoOn => {}
            Then::Finish => self.stop(false),
            Then::Abort => self.stop(true),
        }
    }

    /// Begins no further item. Those that wait for a permit are not begun either.
    fn stop(&mut self, aborts: bool) {
        self.is_stopped = true;
        for place in 0..self.places.len() {
            let waits = |known: &InPlace<S::Item>| known.waiting.is_some();
            if self.places.get(place).and_then(Option::as_ref).is_some_and(waits) {
                self.leave(place, false);
                self.begun -= 1;
            }
        }
        if aborts {
            self.aborted = self.running;
            self.pool.clear();
            self.places.clear();
            self.running = 0;
            self.by_caller = 0;
        }
    }
}
