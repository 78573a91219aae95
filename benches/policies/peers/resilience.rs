//! The policies of tower-resilience, by their presets where there is one.

use std::{fmt::Debug, time::Duration};

use tower::{Layer as _, Service, ServiceBuilder};
use tower_resilience::{
    bulkhead::BulkheadLayer, circuitbreaker::CircuitBreakerLayer, fallback::FallbackLayer,
    ratelimiter::RateLimiterLayer, retry::RetryLayer, timelimiter::TimeLimiterLayer,
};

use super::{Failure, Inner, nothing};
use crate::{case::Pair, ours::LONG};

/// A service that stands around the call.
pub(crate) trait Around:
    Service<(), Response = (), Error: Debug + Send, Future: Send> + Clone + Send + 'static
{
}

impl<S> Around for S where
    S: Service<(), Response = (), Error: Debug + Send, Future: Send> + Clone + Send + 'static
{
}

pub(crate) fn retry(inner: impl Inner) -> impl Around {
    RetryLayer::<(), (), Failure>::exponential_backoff().build().layer(inner)
}

pub(crate) fn breaker(inner: impl Inner) -> impl Around {
    CircuitBreakerLayer::standard().build().expect("the breaker is sound").layer(inner)
}

pub(crate) fn bulkhead(inner: impl Inner, most: usize) -> impl Around {
    let layer = BulkheadLayer::builder().max_concurrent_calls(most).reject_when_full();
    layer.build().expect("the bulkhead is sound").layer(inner)
}

pub(crate) fn rate(inner: impl Inner, most: usize) -> impl Around {
    let layer = RateLimiterLayer::per_minute(most).timeout_duration(Duration::from_millis(10));
    layer.build().expect("the limiter is sound").layer(inner)
}

pub(crate) fn timeout(inner: impl Inner, limit: Duration) -> impl Around {
    TimeLimiterLayer::builder().timeout_duration(limit).build().layer(inner)
}

pub(crate) fn fallback(inner: impl Inner) -> impl Around {
    FallbackLayer::<(), (), Failure>::value(()).layer(inner)
}

/// Bulkhead, rate limit, breaker, retry and time limit: what it has of our default chain.
fn stack(inner: impl Inner) -> impl Around {
    let bulkhead = BulkheadLayer::medium().build().expect("the bulkhead is sound");
    let rate = RateLimiterLayer::per_minute(usize::MAX).build().expect("the limiter is sound");
    let breaker = CircuitBreakerLayer::standard().build().expect("the breaker is sound");
    let timeout = TimeLimiterLayer::builder().timeout_duration(LONG).build();
    let retry = RetryLayer::<(), (), Failure>::exponential_backoff().build();
    // The retry has to be innermost: each of the others has an error of its own.
    ServiceBuilder::new()
        .layer(bulkhead)
        .layer(rate)
        .layer(breaker)
        .layer(timeout)
        .layer(retry)
        .service(inner)
}

pub(crate) fn retry_pair() -> Pair {
    super::pair(retry(nothing()))
}

pub(crate) fn breaker_pair() -> Pair {
    super::pair(breaker(nothing()))
}

pub(crate) fn bulkhead_pair() -> Pair {
    super::pair(bulkhead(nothing(), 25))
}

pub(crate) fn rate_pair() -> Pair {
    super::pair(rate(nothing(), usize::MAX))
}

pub(crate) fn timeout_pair() -> Pair {
    super::pair(timeout(nothing(), LONG))
}

pub(crate) fn fallback_pair() -> Pair {
    super::pair(fallback(nothing()))
}

pub(crate) fn stack_pair() -> Pair {
    super::pair(stack(nothing()))
}
