//! Permits, and the tickets of those who wait for one.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::{
    FanOutLimiter, FanOutRefused, RefusedBy,
    state::{Ask, Fate, Held},
};

/// Leave to go, until it is dropped.
#[must_use = "the permit is given back when this is dropped"]
pub struct FanOutPermit {
    limiter: FanOutLimiter,
    /// What is given back; `None` of one who goes without a permit.
    held: Option<Held>,
}

impl FanOutPermit {
    #[inline]
    pub(super) fn new(limiter: &FanOutLimiter, weight: usize, ask: Ask) -> Self {
        Self { limiter: limiter.clone(), held: Some(Held { weight, asked: ask.weight, keys: ask.keys }) }
    }

    pub(super) fn of_caller(limiter: &FanOutLimiter) -> Self {
        Self { limiter: limiter.clone(), held: None }
    }

    /// Whether it is beyond the limit, because the queue was full: [`Overflow::CallerRuns`](super::Overflow::CallerRuns).
    pub fn is_by_caller(&self) -> bool {
        self.held.is_none()
    }

    /// How many permits it holds.
    pub fn weight(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.weight)
    }
}

impl Drop for FanOutPermit {
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.limiter.0.gate.release(&held);
        }
    }
}

impl fmt::Debug for FanOutPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOutPermit")
            .field("limiter", &self.limiter.name())
            .field("weight", &self.weight())
            .finish()
    }
}

/// What a limiter says to one who asks.
pub(in crate::fan_out) enum Answer {
    Granted(FanOutPermit),
    /// On the heap, for those alone that wait.
    Queued(Box<Ticket>),
    Refused(FanOutRefused),
}

/// A place in the queue, which it leaves when it is dropped.
pub(in crate::fan_out) struct Ticket {
    limiter: FanOutLimiter,
    number: u64,
    /// Until it is known what has become of it.
    ask: Option<Ask>,
    within: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Ticket {
    pub(super) fn new(limiter: &FanOutLimiter, number: u64, ask: Ask, within: Duration) -> Self {
        let within = limiter.0.queue_timeout.map_or(within, |timeout| timeout.min(within));
        let timer = (within != Duration::MAX).then(|| Box::pin(sleep(within)));
        Self { limiter: limiter.clone(), number, ask: Some(ask), within, timer }
    }
}

impl Future for Ticket {
    type Output = Result<FanOutPermit, FanOutRefused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let by = match this.limiter.0.gate.poll(this.number, cx.waker()) {
            Poll::Ready(Fate::Granted(weight)) => {
                let ask = this.ask.take().unwrap_or_default();
                return Poll::Ready(Ok(FanOutPermit::new(&this.limiter, weight, ask)));
            }
            Poll::Ready(Fate::Dropped) => {
                this.ask = None;
                RefusedBy::Oldest
            }
            Poll::Pending => match &mut this.timer {
                Some(timer) => {
                    std::task::ready!(timer.as_mut().poll(cx));
                    RefusedBy::Time(this.within)
                }
                None => return Poll::Pending,
            },
        };
        if let Some(ask) = this.ask.take() {
            this.limiter.0.gate.leave(this.number, &ask);
        }
        Poll::Ready(Err(FanOutRefused::new(&this.limiter, by)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(ask) = self.ask.take() {
            self.limiter.0.gate.leave(self.number, &ask);
        }
    }
}
