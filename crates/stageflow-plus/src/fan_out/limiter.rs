//! [`FanOutLimiter`]: so many at a time, with weights, keys, orders and a bounded queue, and a limit that can be changed.

mod builder;
pub(crate) mod gate;
mod map;
mod nested;
mod permit;
pub(crate) mod ramp;
mod refused;
mod request;
pub(crate) mod state;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

pub use self::{
    builder::{FanOutLimiterBuilder, FanOutLimiterError},
    permit::FanOutPermit,
    refused::{FanOutRefused, RefusedBy},
    request::FanOutRequest,
    state::{Overflow, QueueOrder},
};

pub(super) use self::permit::{Answer, Ticket};
use self::{
    gate::Gate,
    nested::Maps,
    state::{Ask, Offer},
};

/// What `gate` uses, so that `tests/model` can run it under a model checker.
mod sync {
    pub(super) use std::sync::{Mutex, MutexGuard};
}

/// Lets so many go at a time, and has the others wait in a bounded queue.
///
/// A plain object for any code, and the limit that several maps share: [`MapBuilder::limiter`](super::MapBuilder::limiter).
/// Clones share the permits.
///
/// # Guarantees
///
/// - The weights of the permits that are held never add up to more than the limit, and for each key to no more than the limit of
///   keys. Who asks for more than there is takes all of it.
/// - All that one asks for is taken at once, or nothing: nobody holds one key and waits for another.
/// - Nobody waits while they could go: those for whose key there is no room are passed, and nobody else is.
/// - Who stops to wait frees their place at once, and a permit is given back on every path, unwinding included.
/// - A map within an item of another map under the same limiter never waits: its items run under permits that are free, and where none
///   is, one at a time in place of the item around it. Those count under the keys of that item, and not under their own.
/// - A key that nobody uses is forgotten: there are never more than permits and places in the queue.
///
/// # Limits
///
/// The figures are those of one process. The order is strict: who is always outranked waits until nobody is before them, so a
/// `queue_timeout` belongs to `QueueOrder::Lifo` and `QueueOrder::Priority`.
///
/// ```
/// use stageflow_plus::fan_out::{FanOutLimiter, FanOutRequest};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let provider = FanOutLimiter::builder("provider").limit(8).key_limit(2).build()?;
///
/// let acme = || FanOutRequest::new().key("acme");
/// let held = provider.acquire(acme().weight(2)).await?;
/// assert!(provider.try_acquire(acme()).is_err()); // acme has all it may have
/// assert!(provider.try_acquire(FanOutRequest::new().key("globex")).is_ok());
///
/// drop(held);
/// provider.set_limit(16); // while it is in use
/// let lengths = provider.map(["one", "three"], |word| async move { word.len() }).await?;
/// assert_eq!(lengths, [3, 5]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FanOutLimiter(Arc<Shared>);

/// What clones and permits share.
struct Shared {
    name: Arc<str>,
    queue_timeout: Option<Duration>,
    overflow: Overflow,
    max_queue: usize,
    order: QueueOrder,
    gate: Gate,
    maps: Maps,
}

/// How a [`FanOutLimiter`] stands, as of one moment: `offered = granted + refused + dropped + left + queued`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FanOutStats {
    /// What is allowed now: the limit, or less while it ramps up.
    pub allowed: usize,
    /// The weights of the permits that are held.
    pub in_use: usize,
    /// The permits that are held.
    pub in_flight: usize,
    /// Who waits.
    pub queued: usize,
    /// Keys that are in use.
    pub keys: usize,
    /// Who came, so far.
    pub offered: u64,
    /// Who was let in.
    pub granted: u64,
    /// Of those, who goes on without a permit: by [`Overflow::CallerRuns`], or in place of an item around it.
    pub by_caller: u64,
    /// Who was refused.
    pub refused: u64,
    /// Who was dropped.
    pub dropped: u64,
    /// Who stopped to wait, for want of time as well.
    pub left: u64,
    /// The most that were in use at any moment.
    pub peak: usize,
}

impl FanOutLimiter {
    /// A limiter before the dependency `name`, to be furnished.
    pub fn builder(name: impl Into<Arc<str>>) -> FanOutLimiterBuilder {
        FanOutLimiterBuilder::new(name.into())
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How many may go at a time.
    pub fn limit(&self) -> usize {
        self.0.gate.look(|state| state.limits.limit)
    }

    /// Changes how many may go at a time, from now on. With fewer than there are, nobody is stopped, and nobody comes in until there
    /// is room; with 0, nobody does until it is raised.
    pub fn set_limit(&self, limit: usize) {
        self.0.gate.set_limit(limit);
    }

    /// How it stands.
    pub fn stats(&self) -> FanOutStats {
        self.0.gate.look(|state| FanOutStats {
            allowed: state.allowed(),
            in_use: state.in_use,
            in_flight: state.holders,
            queued: state.queued(),
            keys: state.keys(),
            offered: state.counts.offered,
            granted: state.counts.granted,
            by_caller: state.counts.by_caller,
            refused: state.counts.refused,
            dropped: state.counts.dropped,
            left: state.counts.left,
            peak: state.counts.peak,
        })
    }

    /// Takes a permit if there is room and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`FanOutRefused`] if there is none.
    pub fn try_acquire(&self, request: FanOutRequest) -> Result<FanOutPermit, FanOutRefused> {
        let ask = request.into_ask();
        match self.0.gate.offer(&ask, false) {
            Offer::Granted(weight) => Ok(FanOutPermit::new(self, weight, ask)),
            _ => Err(FanOutRefused::new(self, RefusedBy::NoRoom)),
        }
    }

    /// Waits for a permit, at most for the queue timeout.
    ///
    /// # Errors
    ///
    /// [`FanOutRefused`] if the queue is full and the overflow says so, or the wait took too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future frees the place in the queue.
    pub async fn acquire(&self, request: FanOutRequest) -> Result<FanOutPermit, FanOutRefused> {
        self.acquire_within(request, Duration::MAX).await
    }

    /// Waits for a permit, at most for the queue timeout and at most for `within`.
    ///
    /// # Errors
    ///
    /// [`FanOutRefused`] if the queue is full and the overflow says so, or the wait took too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future frees the place in the queue.
    pub async fn acquire_within(
        &self,
        request: FanOutRequest,
        within: Duration,
    ) -> Result<FanOutPermit, FanOutRefused> {
        match self.offer(request, || within) {
            Answer::Granted(permit) => Ok(permit),
            Answer::Refused(refused) => Err(refused),
            Answer::Queued(ticket) => ticket.await,
        }
    }

    /// Asks for a permit, and waits for it later. `within` is asked of those alone that wait.
    #[inline]
    pub(super) fn offer(&self, request: FanOutRequest, within: impl FnOnce() -> Duration) -> Answer {
        let ask = request.into_ask();
        match self.0.gate.offer(&ask, true) {
            Offer::Granted(weight) => Answer::Granted(FanOutPermit::new(self, weight, ask)),
            other => self.not_at_once(other, ask, within()),
        }
    }

    #[cold]
    fn not_at_once(&self, offer: Offer, ask: Ask, within: Duration) -> Answer {
        Answer::Refused(FanOutRefused::new(
            self,
            match offer {
                Offer::Granted(weight) => return Answer::Granted(FanOutPermit::new(self, weight, ask)),
                Offer::CallerRuns => return Answer::Granted(FanOutPermit::of_caller(self)),
                Offer::Queued(number) if !within.is_zero() => {
                    return Answer::Queued(Box::new(Ticket::new(self, number, ask, within)));
                }
                Offer::Queued(number) => {
                    self.0.gate.leave(number, &ask);
                    RefusedBy::Time(within)
                }
                Offer::Refused => RefusedBy::QueueFull,
                Offer::Dropped => RefusedBy::Newest,
            },
        ))
    }

    pub(super) fn overflow(&self) -> Overflow {
        self.0.overflow
    }

    pub(super) fn max_queue(&self) -> usize {
        self.0.max_queue
    }

    /// Whether the order asks for more than who came first.
    pub(super) fn looks_ahead(&self) -> bool {
        self.0.order != QueueOrder::Fifo
    }

    /// Whether the order asks for what is said of an item.
    pub(super) fn ranks(&self) -> bool {
        matches!(self.0.order, QueueOrder::Priority | QueueOrder::EarliestDeadline)
    }
}

impl fmt::Debug for FanOutLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOutLimiter").field("name", &self.0.name).field("stats", &self.stats()).finish()
    }
}
