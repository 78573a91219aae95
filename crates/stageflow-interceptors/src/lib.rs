//! Policies: what stands around the call of a stage and decides whether, when and how often it happens.
//!
//! Each is an [`Interceptor`](stageflow_core::Interceptor) behind a feature of its own, in two parts: a decision that is a pure
//! function or a small state machine of the time, a random number and its state, and a thin shell that waits.

#[cfg(feature = "retry")]
mod retry;

#[cfg(feature = "retry")]
#[doc(inline)]
pub use retry::{Retry, RetryBudget, RetryInterceptor};

#[cfg(feature = "breaker")]
mod breaker;

#[cfg(feature = "breaker")]
pub use crate::breaker::{
    BreakerConfigError, BreakerKey, BreakerOpen, BreakerOutcome, BreakerReason, BreakerSnapshot,
    BreakerState, BreakerTotals, BreakerTransition, CircuitBreaker, CircuitBreakerBuilder, Forced, Permit,
};
