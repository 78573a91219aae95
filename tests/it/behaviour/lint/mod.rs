//! Policies that go wrong together are found and told with numbers, and running pipelines do what the findings say.

mod budgets;
mod describe;
mod nested;
mod report;
mod running;
mod runs;
mod table;
mod table_of_runs;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use stageflow::{
    Budget, Builder, Call, EngineBuilder, ErrorClass, Interceptor, LintReport, Next, Placement, PolicyFacts,
    Value,
    interceptors::{
        AuthError, Authenticate, Authenticator, Bulkhead, CircuitBreaker, Credentials, Principal,
        RateLimiter, Retry,
    },
    prelude::*,
};

use super::kit::pipeline;

/// What an engine finds about a pipeline.
fn lint_in(engine: EngineBuilder, build: impl FnOnce(&mut Builder<()>) -> Port<u32>) -> LintReport {
    engine.build().expect("the engine is right").lint(&pipeline(build))
}

/// What an engine without anything finds.
fn lint(build: impl FnOnce(&mut Builder<()>) -> Port<u32>) -> LintReport {
    lint_in(Engine::builder(), build)
}

/// An engine whose runs have any number of retries: what the policies allow is what happens.
fn unlimited() -> EngineBuilder {
    Engine::builder().budget(Budget::new().unlimited_retries())
}

/// An interceptor at another place than its own.
pub(super) struct Placed<I>(pub(super) I, pub(super) Placement);

impl<I: Interceptor> Interceptor for Placed<I> {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        self.0.around(call, next).await
    }

    fn placement(&self) -> Placement {
        self.1
    }

    fn describe(&self) -> PolicyFacts {
        self.0.describe()
    }
}

/// How often a stage was called.
#[derive(Clone, Debug, Default)]
struct Calls(Arc<AtomicU64>);

impl Calls {
    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// A stage that counts its calls, and fails so that another may help.
    fn failing(&self) -> impl Stage<Input = (), Output = u32> + use<> {
        let calls = self.clone();
        stage_fn(move |_, (): ()| {
            calls.0.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Err(StageExit::fail("down").class(ErrorClass::Transient)))
        })
    }

    /// A stage that counts its calls, and hangs.
    fn hanging(&self) -> impl Stage<Input = (), Output = u32> + use<> {
        let calls = self.clone();
        stage_fn(move |_, (): ()| {
            calls.0.fetch_add(1, Ordering::SeqCst);
            std::future::pending()
        })
    }
}

/// One attempt a second, without chance.
fn each_second(attempts: u32) -> Retry {
    Retry::constant(1.secs()).no_jitter().max_attempts(attempts)
}

fn bulkhead(places: u32) -> stageflow::interceptors::BulkheadBuilder {
    Bulkhead::builder("database").max_concurrent(places)
}

fn quota(limit: u64, burst: u64) -> stageflow::interceptors::RateLimiterBuilder {
    RateLimiter::builder("provider").dimension("requests", limit, 1.mins(), burst)
}

fn breaker() -> stageflow::interceptors::CircuitBreakerBuilder {
    CircuitBreaker::builder("search").jitter(0.0)
}

/// Knows one key.
struct Keys;

impl Authenticator for Keys {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
        if credentials.matches("k-1") {
            return Ok(Principal::builder("ada").build());
        }
        Err(AuthError::invalid("no such key"))
    }
}

fn auth() -> Authenticate<Keys> {
    Authenticate::new(Keys)
}
