//! Our policies around a chain of stages that do nothing.

use std::{sync::Arc, time::Duration};

use stageflow::{
    Call, Engine, EngineBuilder, Interceptor, Layer, Next, Pipeline, Placement, Port, RunBuilder,
    StageContext, StageResult, Value,
    interceptors::{
        AuthError, Authenticate, Authenticator, Bulkhead, CircuitBreaker, Credentials, Fallback, Idempotency,
        IdempotencyKey, InMemoryStore, Principal, RateLimiter, Retry, TenantGuard,
    },
    stage_fn,
};
use stageflow_benches::stopwatch::Stopwatch;

use crate::case::{Batch, CALLS, Case, Pair};

/// Longer than any stage takes.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A chain of [`CALLS`] stages, and how its runs are asked for.
pub(crate) struct Chain {
    engine: Engine,
    pipeline: Pipeline<(), ()>,
    ask: Ask,
    runs: u64,
}

/// What the caller of a run says.
#[derive(Clone)]
pub(crate) enum Ask {
    /// The tenant.
    Tenant,
    /// The tenant and the proof of an admission.
    Admitted(Authenticate<Keys>),
    /// The tenant and an idempotency key that no run has had before.
    Keyed,
}

/// Time limits of the stages.
#[derive(Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) stage: Option<Duration>,
    pub(crate) attempt: Option<Duration>,
}

impl Chain {
    /// The chain in an engine that `furnish` gives its policies.
    pub(crate) fn new(
        ask: &Ask,
        limits: Limits,
        furnish: impl FnOnce(EngineBuilder) -> EngineBuilder,
    ) -> Self {
        let engine = furnish(Engine::builder()).build().expect("the engine is sound");
        Self { engine, pipeline: pipeline(limits), ask: ask.clone(), runs: 0 }
    }

    /// How many interceptors stand around a stage.
    pub(crate) fn interceptors(&self) -> usize {
        self.engine.order(&self.pipeline).of("s0").map_or(0, <[String]>::len)
    }

    async fn ask(&mut self) -> RunBuilder<()> {
        self.runs += 1;
        let run = self.engine.run(&self.pipeline, ()).tenant("acme");
        match &self.ask {
            Ask::Tenant => run,
            Ask::Admitted(auth) => {
                let admitted = auth.admit(&Credentials::api_key("k-1")).await.expect("the key is known");
                run.with(|snapshot| admitted.apply(snapshot))
            }
            Ask::Keyed => run.extension(IdempotencyKey::new(self.runs.to_string())),
        }
    }
}

impl Case for Chain {
    fn batch(&mut self) -> Batch<'_> {
        Box::pin(async {
            let run = self.ask().await;
            let watch = Stopwatch::start();
            let completed = run.await;
            let time = watch.elapsed();
            completed.expect("the run completes");
            time
        })
    }
}

async fn nothing(_: StageContext, (): ()) -> StageResult<()> {
    Ok(())
}

fn pipeline(limits: Limits) -> Pipeline<(), ()> {
    let mut builder = Pipeline::builder("chain");
    let mut last: Option<Port<()>> = None;
    for stage in 0..CALLS {
        let mut draft = builder.stage(format!("s{stage}"), stage_fn(nothing));
        if let Some(limit) = limits.stage {
            draft = draft.timeout(limit);
        }
        if let Some(limit) = limits.attempt {
            draft = draft.attempt_timeout(limit);
        }
        if let Some(before) = last {
            draft = draft.after(before);
        }
        last = Some(draft.inputs(()));
    }
    builder.build(last.expect("a chain has stages")).expect("the chain is sound")
}

/// Knows one key.
pub(crate) struct Keys;

impl Authenticator for Keys {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
        if !credentials.matches("k-1") {
            return Err(AuthError::invalid("no such key"));
        }
        Ok(Principal::builder("ada")
            .tenant("acme")
            .scope("run")
            .expires_in(Duration::from_secs(3_600))
            .build())
    }
}

/// An interceptor that does nothing.
struct Nothing;

impl Interceptor for Nothing {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        next.run().await
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Inner)
    }
}

pub(crate) fn auth() -> Authenticate<Keys> {
    Authenticate::new(Keys).require("run")
}

pub(crate) fn tenants(auth: &Authenticate<Keys>) -> TenantGuard<Keys> {
    TenantGuard::new(auth).allow(["acme", "globex"])
}

/// As it comes, which is with a window of time, per tenant.
pub(crate) fn breaker() -> CircuitBreaker {
    CircuitBreaker::builder("search").build().expect("the breaker is sound")
}

pub(crate) fn bulkhead(per_tenant: bool) -> Bulkhead {
    Bulkhead::builder("search").per_tenant(per_tenant).build().expect("the bulkhead is sound")
}

/// So many requests an hour, of which `burst` are there at once.
pub(crate) fn rate(limit: u64, burst: u64, per_tenant: bool) -> RateLimiter {
    let hour = Duration::from_secs(3_600);
    let limiter = RateLimiter::builder("provider").dimension("requests", limit, hour, burst);
    limiter.per_tenant(per_tenant).build().expect("the limiter is sound")
}

/// More than any bench uses up.
const PLENTY: u64 = 1 << 50;

fn around(ask: &Ask, policy: impl Interceptor) -> (Chain, Chain) {
    let bare = Chain::new(ask, Limits::default(), |engine| engine);
    let with = Chain::new(ask, Limits::default(), |engine| engine.interceptor(policy));
    (bare, with)
}

fn limited(limits: Limits) -> (Chain, Chain) {
    let chain = |limits| Chain::new(&Ask::Tenant, limits, |engine| engine);
    (chain(Limits::default()), chain(limits))
}

/// What a production set-up stacks: who calls and for whom, retries, a breaker, a bulkhead, a rate limit, and a time limit.
fn default_chain() -> (Chain, Chain) {
    let auth = auth();
    let ask = Ask::Admitted(auth.clone());
    let limits = Limits { attempt: Some(LONG), ..Limits::default() };
    let with = Chain::new(&ask, limits, |engine| {
        let guard = tenants(&auth);
        let engine = engine.interceptor(auth).interceptor(guard).interceptor(Retry::default());
        engine.interceptor(breaker()).interceptor(bulkhead(true)).interceptor(rate(PLENTY, PLENTY, true))
    });
    (Chain::new(&ask, Limits::default(), |engine| engine), with)
}

/// What a row puts around the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    Nothing,
    Retry,
    Breaker,
    Bulkhead,
    BulkheadPerTenant,
    Rate,
    RatePerTenant,
    Authenticate,
    TenantGuard,
    WithoutKey,
    FirstCall,
    Fallback,
    AttemptTimeout,
    StageTimeout,
    DefaultChain,
}

impl Own {
    /// The chain without and with it.
    pub(crate) fn chains(self) -> (Chain, Chain) {
        let tenant = &Ask::Tenant;
        let auth = auth();
        let admitted = Ask::Admitted(auth.clone());
        match self {
            Self::Nothing => around(tenant, Nothing),
            Self::Retry => around(tenant, Retry::default()),
            Self::Breaker => around(tenant, breaker()),
            Self::Bulkhead => around(tenant, bulkhead(false)),
            Self::BulkheadPerTenant => around(tenant, bulkhead(true)),
            Self::Rate => around(tenant, rate(PLENTY, PLENTY, false)),
            Self::RatePerTenant => around(tenant, rate(PLENTY, PLENTY, true)),
            Self::Authenticate => around(&admitted, auth),
            Self::TenantGuard => around(&admitted, tenants(&auth)),
            Self::WithoutKey => around(tenant, Idempotency::new(InMemoryStore::new())),
            Self::FirstCall => around(&Ask::Keyed, Idempotency::new(InMemoryStore::new())),
            Self::Fallback => around(tenant, Fallback::value(())),
            Self::AttemptTimeout => limited(Limits { attempt: Some(LONG), stage: None }),
            Self::StageTimeout => limited(Limits { stage: Some(LONG), attempt: None }),
            Self::DefaultChain => default_chain(),
        }
    }

    pub(crate) fn pair(self) -> Pair {
        let (bare, with) = self.chains();
        Pair::new(bare, with)
    }

    /// How many interceptors it puts around a stage.
    pub(crate) fn interceptors(self) -> usize {
        match self {
            Self::AttemptTimeout | Self::StageTimeout => 0,
            Self::DefaultChain => 6,
            _ => 1,
        }
    }
}

/// A pipeline of one stage, for checks of what policies do.
pub(crate) fn single<F, Fut>(limits: Limits, body: F) -> Pipeline<(), ()>
where
    F: Fn(u32) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = StageResult<()>> + Send + 'static,
{
    let body = Arc::new(body);
    let mut builder = Pipeline::builder("single");
    let stage = stage_fn(move |ctx: StageContext, (): ()| body(ctx.attempt()));
    let mut draft = builder.stage("only", stage);
    if let Some(limit) = limits.stage {
        draft = draft.timeout(limit);
    }
    if let Some(limit) = limits.attempt {
        draft = draft.attempt_timeout(limit);
    }
    let only = draft.inputs(());
    builder.build(only).expect("the pipeline is sound")
}
