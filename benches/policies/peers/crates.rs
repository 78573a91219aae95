//! backon's retry, failsafe's breaker and governor's rate limit, which are no services, and tokio's own `timeout` and semaphore.

use std::sync::Arc;

use backon::{ExponentialBuilder, Retryable as _};
use failsafe::{Config, futures::CircuitBreaker as _};
use governor::RateLimiter;
use tokio::{sync::Semaphore, time::timeout};

use super::Failure;
use crate::{
    case::{Calls, Pair},
    ours::LONG,
    plain,
};

async fn nothing() -> Result<(), Failure> {
    Ok(())
}

/// backon's retry with its defaults.
pub(crate) fn backon() -> Pair {
    let with = || async { nothing.retry(ExponentialBuilder::default()).await.expect("the call succeeds") };
    Pair::new(Calls(nothing), Calls(with))
}

/// failsafe's breaker with its defaults, which are consecutive failures and a success rate in a window of time.
pub(crate) fn failsafe() -> Pair {
    // Its futures borrow it.
    let breaker: &'static _ = Box::leak(Box::new(Config::new().build()));
    Pair::new(Calls(nothing), Calls(|| breaker.call(nothing())))
}

/// governor's direct limiter: `until_ready`, and then the call.
pub(crate) fn governor() -> Pair {
    let limiter = Arc::new(RateLimiter::direct(plain::most()));
    let with = move || {
        let limiter = Arc::clone(&limiter);
        async move {
            limiter.until_ready().await;
            nothing().await
        }
    };
    Pair::new(Calls(nothing), Calls(with))
}

/// By hand: `tokio::time::timeout`.
pub(crate) fn tokio_timeout() -> Pair {
    let with = || async { timeout(LONG, nothing()).await.expect("it is in time") };
    Pair::new(Calls(nothing), Calls(with))
}

/// By hand: a permit of `tokio::sync::Semaphore`.
pub(crate) fn tokio_semaphore() -> Pair {
    let places: &'static _ = Box::leak(Box::new(Semaphore::new(25)));
    let with = || async {
        let _place = places.acquire().await.expect("it is never closed");
        nothing().await
    };
    Pair::new(Calls(nothing), Calls(with))
}
