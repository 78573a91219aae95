//! [`RateLimiter`]: so much cost per time in several dimensions, such as requests and tokens of a model provider.
//!
//! The algorithm is GCRA, our own in `stageflow_core::gcra`. The crate `governor` has it as well, but a limiter of it knows one dimension, and
//! cannot take from several at once or from none; it gives nothing back, knows no debt, and its quota is fixed. Nor has it a queue:
//! its waiters sleep and try again, so that small costs pass large ones, and none knows in advance how long it will wait.

mod bucket;
mod builder;
mod charge;
mod error;
mod headers;
mod intercept;
mod request;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use stageflow_core::{
    StageContext,
    gcra::{self, Quota},
    time::nanos,
};
use tokio::time::Instant;

pub use self::{
    builder::RateLimiterBuilder, charge::RateCharge, error::RateError, headers::RateHeaders,
    intercept::RateCall, request::RateRequest,
};

use self::{bucket::Bucket, charge::Held, intercept::Hooks};
use crate::{
    clock,
    limit::{Keyed, WhenFull},
};

/// What `bucket` uses, so that `tests/model` can run it under a model checker.
mod sync {
    pub(super) use std::sync::{Mutex, MutexGuard};
    pub(super) use tokio::sync::Notify;
}

/// Lets so much cost per time through, in several dimensions at once.
///
/// It is an interceptor in [`Layer::Limit`](stageflow_core::Layer::Limit), for each attempt of its own, and as well a plain
/// object for code that is no stage. Clones share the quota.
///
/// # Guarantees
///
/// - In any span of time the admitted cost of a dimension is at most `burst + limit × span / period`, exactly, for each tenant if so
///   asked. What [`settle`](RateCharge::settle) finds to be missing becomes a debt that later calls wait for.
/// - A call takes its cost from all dimensions or from none.
/// - Who waits goes in the order of arrival, within one tenant: small costs do not pass large ones.
/// - A call whose wait would take all of its [`slack`](stageflow_core::StageContext::slack), or more, is refused at once, and says how long it would have been.
/// - Who stops to wait frees its place at once. A call that never began an attempt is given its cost back.
/// - It knows at most `max_keys` tenants. While none can be forgotten without harm, the others share one more quota of the same size.
///
/// # Limits
///
/// The figures are those of one process: with n replicas each gets the nth part. Timers of tokio have the resolution of a
/// millisecond, so that a burst smaller than what the rate gives in a millisecond slows waiting calls down to one burst each.
///
/// ```
/// use stageflow_core::DurationExt;
/// use stageflow_interceptors::{RateError, RateLimiter};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let provider = RateLimiter::builder("provider")
///     .dimension("requests", 500, 1.mins(), 10)
///     .dimension("tokens", 90_000, 1.mins(), 3_000)
///     .build()?;
///
/// // 3,000 tokens are there, and another 1,500 come within a second.
/// let mut charge = provider.request().cost("tokens", 3_000).acquire().await?;
/// let refused = provider.request().cost("tokens", 1_500).try_acquire().unwrap_err();
/// assert_eq!(refused.retry_after(), Some(1.secs()));
///
/// // The answer was short: what it did not use is there for others.
/// charge.settle("tokens", 1_000)?;
/// assert!(provider.request().cost("tokens", 1_500).try_acquire().is_ok());
///
/// // No wait would help here.
/// let refused = provider.request().cost("tokens", 3_001).acquire().await.unwrap_err();
/// assert!(matches!(refused, RateError::TooCostly { .. }));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RateLimiter(Arc<Shared>);

/// What clones and charges share.
struct Shared {
    name: Arc<str>,
    dimensions: Box<[Arc<str>]>,
    quotas: Arc<[Quota]>,
    per_tenant: bool,
    max_queue: usize,
    max_wait: Option<Duration>,
    when_full: WhenFull,
    hooks: Hooks,
    buckets: Keyed<Bucket>,
    /// When its time began, and when that was since the epoch.
    origin: Instant,
    began: u64,
}

impl RateLimiter {
    /// A limiter before the dependency `name`, to be furnished.
    pub fn builder(name: impl Into<Arc<str>>) -> RateLimiterBuilder {
        RateLimiterBuilder::new(name.into())
    }

    /// The name of the dependency.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A request for some of the quota: a cost of 1 in each dimension unless said otherwise.
    pub fn request(&self) -> RateRequest {
        RateRequest::new(self.clone())
    }

    /// How much cost of a dimension would be let through at once if nobody waited; `None` for one that it does not have.
    pub fn available(&self, tenant: Option<&str>, dimension: &str) -> Option<u64> {
        let index = self.0.index(dimension)?;
        let now = self.0.now();
        Some(self.0.bucket(tenant, now).available(now, index))
    }

    /// Learns what a response has said about the quota of a dimension.
    ///
    /// It can make the limiter stricter than it was built and never laxer, and for one period at most: a header that is wrong, whatever
    /// it says, lets no call through too many and stops none for good. What is said next replaces it.
    ///
    /// # Errors
    ///
    /// [`RateError::UnknownDimension`].
    pub fn learn(&self, tenant: Option<&str>, dimension: &str, said: RateHeaders) -> Result<(), RateError> {
        let index = self.0.index(dimension).ok_or_else(|| self.0.unknown(dimension))?;
        let now = self.0.now();
        self.0.bucket(tenant, now).learn(now, index, said.parts());
        Ok(())
    }

    /// How many tenants are known at the moment.
    pub fn keys(&self) -> usize {
        self.0.buckets.len()
    }
}

impl Shared {
    fn now(&self) -> u64 {
        nanos(Instant::now().saturating_duration_since(self.origin))
    }

    /// The same, for a call.
    fn now_in(&self, ctx: &StageContext) -> u64 {
        clock::now(ctx).saturating_sub(self.began)
    }

    fn index(&self, dimension: &str) -> Option<usize> {
        self.dimensions.iter().position(|known| **known == *dimension)
    }

    fn unknown(&self, dimension: &str) -> RateError {
        RateError::UnknownDimension { limiter: Arc::clone(&self.name), dimension: dimension.into() }
    }

    #[inline]
    fn bucket(&self, tenant: Option<&str>, now: u64) -> Held<'_> {
        match self.per_tenant {
            false => Held::Lent(self.buckets.without_key()),
            true => Held::Kept(self.buckets.get(Some(tenant.unwrap_or_default()), now)),
        }
    }

    /// What listings call the key of a tenant.
    fn key(&self, tenant: Option<&str>) -> String {
        match tenant {
            Some(tenant) if self.per_tenant => format!("{}/{tenant}", self.name),
            _ => self.name.to_string(),
        }
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("name", &self.0.name)
            .field("dimensions", &self.0.dimensions)
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}
