//! A request for some of the quota, and the wait for its turn.

use std::{sync::Arc, time::Duration};

use smallvec::smallvec;
use stageflow_core::time::nanos;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    RateCharge, RateError, RateLimiter, Shared,
    bucket::{Arrival, Bucket, Costs, Turn},
    charge::{Charge, Held},
};

/// A request for some of the quota of a [`RateLimiter`]: made by [`RateLimiter::request`].
#[derive(Debug)]
#[must_use = "nothing is taken before `acquire` or `try_acquire`"]
pub struct RateRequest {
    limiter: RateLimiter,
    tenant: Option<String>,
    costs: Costs,
    unknown: Option<RateError>,
    within: Duration,
}

impl RateRequest {
    pub(super) fn new(limiter: RateLimiter) -> Self {
        let costs = smallvec![1; limiter.0.quotas.len()];
        Self { limiter, tenant: None, costs, unknown: None, within: Duration::MAX }
    }

    /// For whom; of use with [`per_tenant`](super::RateLimiterBuilder::per_tenant) alone.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// What it costs in a dimension; 1 unless set. A cost of 0 takes nothing and waits for nothing.
    pub fn cost(mut self, dimension: &str, cost: u64) -> Self {
        match self.limiter.0.index(dimension) {
            Some(index) => self.costs[index] = cost,
            None => self.unknown = Some(self.limiter.0.unknown(dimension)),
        }
        self
    }

    /// The wait has to be shorter than this; without a limit of its own unless set.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Waits for its turn and takes the costs, all of them at once.
    ///
    /// # Errors
    ///
    /// [`RateError`]: at once, if the wait would be too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes nothing and frees the place in the queue. One that is kept without being polled keeps
    /// its place, and with it all who stand behind.
    pub async fn acquire(self) -> Result<RateCharge, RateError> {
        let within = self.limiter.0.max_wait.map_or(self.within, |max| max.min(self.within));
        let place = match self.arrive(within)? {
            Ok(charge) => return Ok(charge),
            Err(place) => place,
        };
        Ok(RateCharge::new(&self.limiter.0, place.turn().await?))
    }

    /// Takes the costs, all of them at once, if it need not wait.
    ///
    /// # Errors
    ///
    /// [`RateError`], with the wait that it would have taken.
    pub fn try_acquire(self) -> Result<RateCharge, RateError> {
        // Nobody queues who may not wait.
        self.arrive(Duration::ZERO)?.map_err(|place| place.too_late())
    }

    /// Its costs, or a place in the queue for them.
    fn arrive(&self, within: Duration) -> Result<Result<RateCharge, Place>, RateError> {
        if let Some(unknown) = &self.unknown {
            return Err(unknown.clone());
        }
        let shared = &self.limiter.0;
        match shared.admit(self.tenant.as_deref(), &self.costs, || within, shared.now()) {
            Ok(charge) => Ok(Ok(RateCharge::new(shared, charge.kept()))),
            Err(not_at_once) => match *not_at_once {
                NotAtOnce::Queued(place) => Ok(Err(place)),
                NotAtOnce::Refused(error) => Err(error),
            },
        }
    }
}

/// A call that came and could not go at once. On the heap, for those alone.
pub(super) enum NotAtOnce {
    Queued(Place),
    Refused(RateError),
}

impl Shared {
    /// A call comes that may wait for less than `within`.
    #[inline]
    pub(super) fn admit<'a>(
        self: &'a Arc<Self>,
        tenant: Option<&str>,
        costs: &[u64],
        within: impl FnOnce() -> Duration,
        now: u64,
    ) -> Result<Charge<'a>, Box<NotAtOnce>> {
        let bucket = self.bucket(tenant, now);
        match bucket.pass(now, costs) {
            Some(taken) => Ok(Charge::new(bucket, taken)),
            None => self.queue(bucket, costs, within(), now),
        }
    }

    #[inline(never)]
    fn queue<'a>(
        self: &'a Arc<Self>,
        bucket: Held<'a>,
        costs: &[u64],
        within: Duration,
        now: u64,
    ) -> Result<Charge<'a>, Box<NotAtOnce>> {
        let limiter = || Arc::clone(&self.name);
        let refused = match bucket.arrive(now, costs, nanos(within), self.max_queue) {
            Arrival::Granted(taken) => return Ok(Charge::new(bucket, taken)),
            Arrival::Queued { id, wake } => {
                let until = now.checked_add(nanos(within)).filter(|until| *until != u64::MAX);
                let place = Place { shared: Arc::clone(self), bucket: bucket.kept(), id, wake, until };
                return Err(Box::new(NotAtOnce::Queued(place)));
            }
            Arrival::TooLate(wait) => {
                RateError::Limited { limiter: limiter(), wait: Duration::from_nanos(wait) }
            }
            Arrival::NoPlace(wait) => {
                RateError::QueueFull { limiter: limiter(), wait: Duration::from_nanos(wait) }
            }
            Arrival::Never(index) => RateError::TooCostly {
                limiter: limiter(),
                dimension: Arc::clone(&self.dimensions[index]),
                cost: costs[index],
                burst: self.quotas[index].burst,
            },
        };
        Err(Box::new(NotAtOnce::Refused(refused)))
    }
}

/// A place in the queue; free again when dropped.
pub(super) struct Place {
    shared: Arc<Shared>,
    bucket: Arc<Bucket>,
    id: u64,
    wake: Arc<Notify>,
    /// When it may not wait any longer, in nanoseconds of the limiter.
    until: Option<u64>,
}

impl Place {
    /// Waits for its turn. Whoever goes wakes the next, and whatever changes the gauges wakes the first; so the first
    /// alone has a timer for its turn, and the others for the end of their time.
    pub(super) async fn turn(self) -> Result<Charge<'static>, RateError> {
        loop {
            let now = self.shared.now();
            let turn = match self.bucket.turn(now, self.id) {
                Turn::Granted(taken) => return Ok(Charge::new(Held::Kept(Arc::clone(&self.bucket)), taken)),
                Turn::Wait(wait) => Some(now.saturating_add(wait)),
                Turn::Behind => None,
            };
            // What others have settled may have made the wait longer than it was on arrival.
            if self.until.is_some_and(|until| until <= turn.unwrap_or(now)) {
                return Err(self.too_late());
            }
            let at = turn.into_iter().chain(self.until).min().and_then(|at| self.instant(at));
            let woken = self.wake.notified();
            match at {
                Some(at) => drop(timeout_at(at, woken).await),
                None => woken.await,
            }
        }
    }

    /// The refusal, with what would still have to be waited for.
    fn too_late(&self) -> RateError {
        let wait = self.bucket.remaining_wait(self.shared.now(), self.id);
        RateError::Limited { limiter: Arc::clone(&self.shared.name), wait: Duration::from_nanos(wait) }
    }

    fn instant(&self, nanos: u64) -> Option<Instant> {
        self.shared.origin.checked_add(Duration::from_nanos(nanos))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.bucket.leave(self.id);
    }
}
