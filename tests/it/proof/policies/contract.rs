//! Each interceptor that is shipped keeps the contract of interceptors.

use std::time::Duration;

use stageflow::{
    ErrorClass, Interceptor,
    interceptors::{
        AuthError, Authenticate, Authenticator, Bulkhead, CircuitBreaker, Credentials, Fallback, Forced,
        Idempotency, InMemoryStore, Principal, RateLimiter, Retry, RetryBudget, TenantGuard, WhenFull,
    },
    prelude::*,
    testing::contract,
};

/// Knows nobody, after a while.
struct Nobody;

impl Authenticator for Nobody {
    async fn authenticate(&self, _: &Credentials) -> Result<Principal, AuthError> {
        tokio::task::yield_now().await;
        Err(AuthError::invalid("nobody"))
    }
}

async fn keeps(what: &str, interceptor: impl Interceptor) {
    if let Err(error) = contract::interceptor(interceptor).await {
        panic!("{what}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn retries_keep_the_contract() {
    keeps("by default", Retry::default()).await;
    keeps("greedy", Retry::constant(1.millis()).max_attempts(20).retry_if(|_| true)).await;
    keeps("without a budget left", Retry::default().budget(&RetryBudget::new(0.0, 0))).await;
    keeps("short of time", Retry::default().max_elapsed(1.millis())).await;
}

#[tokio::test(start_paused = true)]
async fn breakers_keep_the_contract() {
    let breaker = || CircuitBreaker::builder("b");
    keeps("by default", breaker().build().expect("it fits")).await;
    keeps("touchy", breaker().consecutive(1).build().expect("it fits")).await;
    let waits = breaker().consecutive(1).probes(1).wait_while_open(30.secs());
    keeps("waiting", waits.build().expect("it fits")).await;
    keeps("counting only", breaker().metrics_only().build().expect("it fits")).await;
    let open = breaker().per_tenant(false).build().expect("it fits");
    drop(open.force(&open.key(None), Forced::Open));
    keeps("opened by an operator", open).await;
}

#[tokio::test(start_paused = true)]
async fn limits_keep_the_contract() {
    for when_full in [WhenFull::Wait, WhenFull::Reject, WhenFull::Skip] {
        let bulkhead = Bulkhead::builder("b").max_concurrent(1).when_full(when_full);
        keeps(&format!("bulkhead, {when_full:?}"), bulkhead.build().expect("it fits")).await;
        let narrow = Bulkhead::builder("b").max_concurrent(1).max_queue(0).per_tenant(true);
        keeps(&format!("narrow, {when_full:?}"), narrow.when_full(when_full).build().expect("it fits")).await;
        let rate = RateLimiter::builder("r").dimension("requests", 1_000, Duration::from_secs(1), 100);
        keeps(&format!("rate, {when_full:?}"), rate.when_full(when_full).build().expect("it fits")).await;
    }
    let slow = RateLimiter::builder("r").dimension("requests", 10, Duration::from_secs(1), 1);
    keeps("slow", slow.build().expect("it fits")).await;
}

#[tokio::test(start_paused = true)]
async fn guards_keep_the_contract() {
    keeps("authentication", Authenticate::new(Nobody)).await;
    keeps("tenants", TenantGuard::new(&Authenticate::new(Nobody))).await;
}

#[tokio::test(start_paused = true)]
async fn idempotency_and_fallbacks_keep_the_contract() {
    keeps("idempotency", Idempotency::new(InMemoryStore::new())).await;
    keeps("with failures", Idempotency::new(InMemoryStore::new()).store_failures()).await;
    keeps("with a key required", Idempotency::new(InMemoryStore::new()).required()).await;
    keeps("a value", Fallback::value(0_u32)).await;
    keeps("none that fits", Fallback::value(0_u32).on([ErrorClass::Timeout])).await;
    let fails = Fallback::to(|_, _, _| async { StageResult::<u32>::Err(StageExit::fail("x")) });
    keeps("one that fails", fails.or_value(0_u32)).await;
}
