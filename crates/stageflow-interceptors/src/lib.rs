//! Policies: what stands around the call of a stage and decides whether, when and how often it happens.
//!
//! Each is an [`Interceptor`](stageflow_core::Interceptor) behind a feature of its own, in two parts: a decision that is a pure
//! function or a small state machine of the time, a random number and its state, and a thin shell that waits.

#[cfg(feature = "auth")]
mod auth;
#[cfg(feature = "breaker")]
mod breaker;
#[cfg(feature = "bulkhead")]
mod bulkhead;
#[cfg(feature = "retry")]
mod classify;
#[cfg(any(feature = "auth", feature = "breaker", feature = "rate-limit"))]
mod clock;
#[cfg(feature = "fallback")]
mod fallback;
#[cfg(feature = "idempotency")]
mod idempotency;
#[cfg(any(feature = "fallback", feature = "idempotency"))]
mod inputs;
#[cfg(any(feature = "bulkhead", feature = "rate-limit"))]
mod limit;
#[cfg(feature = "rate-limit")]
mod rate;
#[cfg(feature = "retry")]
mod retry;

#[cfg(feature = "auth")]
#[doc(inline)]
pub use crate::auth::{
    Admitted, AuthError, AuthReason, Authenticate, Authenticated, Authenticator, Credentials, Principal,
    PrincipalBuilder, TenantGuard, admit,
};
#[cfg(feature = "jwt")]
#[doc(inline)]
pub use crate::auth::{
    JwtAlgorithm, JwtAuthenticator, JwtAuthenticatorBuilder, JwtConfigError, JwtKey, JwtKeys,
};
#[cfg(feature = "breaker")]
#[doc(inline)]
pub use crate::breaker::{
    BreakerConfigError, BreakerKey, BreakerOpen, BreakerOutcome, BreakerPermit, BreakerReason,
    BreakerSnapshot, BreakerState, BreakerTotals, BreakerTransition, CircuitBreaker, CircuitBreakerBuilder,
    Forced,
};
#[cfg(feature = "bulkhead")]
#[doc(inline)]
pub use crate::bulkhead::{Bulkhead, BulkheadBuilder, BulkheadFull, BulkheadPermit};
#[cfg(feature = "fallback")]
#[doc(inline)]
pub use crate::fallback::Fallback;
#[cfg(feature = "idempotency")]
#[doc(inline)]
pub use crate::idempotency::{
    Answer, Begin, Fingerprint, Idempotency, IdempotencyError, IdempotencyKey, IdempotencyStore,
    InMemoryStore, Lease, StoreFuture, StoreKey, StoredFailure, Wait,
};
#[cfg(any(feature = "fallback", feature = "idempotency"))]
#[doc(inline)]
pub use crate::inputs::CallInputs;
#[cfg(any(feature = "bulkhead", feature = "rate-limit"))]
#[doc(inline)]
pub use crate::limit::{LimitBuildError, WhenFull};
#[cfg(feature = "rate-limit")]
#[doc(inline)]
pub use crate::rate::{
    RateCall, RateCharge, RateError, RateHeaders, RateLimiter, RateLimiterBuilder, RateRequest,
};
#[cfg(feature = "retry")]
#[doc(inline)]
pub use crate::{
    classify::{ErrorClassifier, Refused, retry_after},
    retry::{Retry, RetryBudget, RetryInterceptor},
};
