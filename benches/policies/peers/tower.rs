//! The policies of tower itself.

use std::{
    future::{Ready, ready},
    time::Duration,
};

use tower::{
    BoxError, Service, ServiceBuilder,
    limit::{ConcurrencyLimit, RateLimit, rate::Rate},
    retry::{Policy, Retry},
    timeout::Timeout,
};

use super::{Failure, Inner, nothing};
use crate::case::Pair;

/// So many more attempts, at once: the example of tower's documentation.
#[derive(Clone)]
pub(crate) struct Attempts(pub(crate) u32);

impl Policy<(), (), Failure> for Attempts {
    type Future = Ready<()>;

    fn retry(&mut self, (): &mut (), result: &mut Result<(), Failure>) -> Option<Self::Future> {
        if result.is_ok() || self.0 == 0 {
            return None;
        }
        self.0 -= 1;
        Some(ready(()))
    }

    fn clone_request(&mut self, (): &()) -> Option<()> {
        Some(())
    }
}

pub(crate) fn retry<S: Inner>(inner: S) -> Retry<Attempts, S> {
    Retry::new(Attempts(2), inner)
}

pub(crate) fn timeout<S: Inner>(inner: S, limit: Duration) -> Timeout<S> {
    Timeout::new(inner, limit)
}

pub(crate) fn concurrency<S: Inner>(inner: S, most: usize) -> ConcurrencyLimit<S> {
    ConcurrencyLimit::new(inner, most)
}

pub(crate) fn rate<S: Inner>(inner: S, most: u64) -> RateLimit<S> {
    RateLimit::new(inner, Rate::new(most, Duration::from_secs(3_600)))
}

/// Retry, concurrency limit, rate limit and timeout: what tower has of our default chain.
fn stack(inner: impl Inner) -> impl Service<(), Response = (), Error = BoxError, Future: Send> + Send {
    // The retry has to be innermost: it clones what it stands around, and a rate limit cannot be cloned.
    ServiceBuilder::new()
        .rate_limit(u64::MAX, Duration::from_secs(3_600))
        .concurrency_limit(25)
        .timeout(crate::ours::LONG)
        .retry(Attempts(2))
        .service(inner)
}

pub(crate) fn retry_pair() -> Pair {
    super::pair(retry(nothing()))
}

pub(crate) fn timeout_pair() -> Pair {
    super::pair(timeout(nothing(), crate::ours::LONG))
}

pub(crate) fn concurrency_pair() -> Pair {
    super::pair(concurrency(nothing(), 25))
}

pub(crate) fn rate_pair() -> Pair {
    super::pair(rate(nothing(), u64::MAX))
}

pub(crate) fn stack_pair() -> Pair {
    super::pair(stack(nothing()))
}
