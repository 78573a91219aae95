//! Every row does what it says: each policy is seen acting before anything is measured.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use backon::{ExponentialBuilder, Retryable as _};
use failsafe::{Config, futures::CircuitBreaker as _};
use governor::{Quota, RateLimiter};
use stageflow::{
    ClassifyExt as _, Engine, EngineBuilder, RunBuilder, StageResult,
    interceptors::{Credentials, Fallback, Idempotency, IdempotencyKey, InMemoryStore, Retry},
};
use stageflow_benches::report::runtime;
use tokio::time::{sleep, timeout};
use tower::{Service, ServiceExt as _};

use crate::{
    ours::{self, LONG, Limits, Own, single},
    peers::{Failure, calling, nothing, resilience, tower as peer},
    rows::{self, Make},
};

/// So long that what ought to be there at once is there.
const SHORT: Duration = Duration::from_millis(20);

pub(crate) fn all() -> Result<()> {
    let runtime = runtime(1)?;
    let _context = runtime.enter();
    let mut chains = 0;
    for row in rows::ALL {
        if let Make::Ours(own) = row.make {
            in_place(own)?;
            chains += 1;
        }
    }
    runtime.block_on(runtime.spawn(async {
        retries().await?;
        breakers().await?;
        limits().await?;
        who_calls().await?;
        answers().await?;
        time_limits().await
    }))??;
    crate::say(format_args!("verified {chains} chains, and that every policy acts where it has to"));
    Ok(())
}

/// The policies of a row stand around its stages, and around those of the bare chain stands nothing.
fn in_place(own: Own) -> Result<()> {
    let (bare, with) = own.chains();
    let found = (bare.interceptors(), with.interceptors());
    ensure!(found == (0, own.interceptors()), "{own:?}: {found:?} interceptors stand around a stage");
    Ok(())
}

fn engine(furnish: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Engine {
    furnish(Engine::builder()).build().expect("the engine is sound")
}

/// The code of a run that fails.
async fn failed(run: RunBuilder<()>) -> String {
    match run.await {
        Ok(_) => "none".to_owned(),
        Err(error) => error.code().to_string(),
    }
}

/// Asks a service of tower once.
async fn once<S: Service<()>>(service: &mut S) -> Result<S::Response, S::Error> {
    service.ready().await?.call(()).await
}

/// Fails at first, and counts.
fn flaky(
    calls: &Arc<AtomicU32>,
) -> impl Fn() -> std::future::Ready<Result<(), Failure>> + Clone + Send + 'static {
    let calls = Arc::clone(calls);
    move || std::future::ready(if calls.fetch_add(1, Ordering::SeqCst) == 0 { Err(Failure) } else { Ok(()) })
}

async fn retries() -> Result<()> {
    let flaky_stage =
        |attempt: u32| async move { if attempt == 1 { Err("not yet").transient() } else { Ok(()) } };
    let done = engine(|engine| engine.interceptor(Retry::default()))
        .run(&single(Limits::default(), flaky_stage), ())
        .await?;
    let attempts = done.report().stage("only").map(|stage| stage.attempts);
    ensure!(attempts == Some(2), "ours made {attempts:?} attempts");
    let calls = Arc::new(AtomicU32::new(0));
    ensure!(once(&mut peer::retry(calling(flaky(&calls)))).await.is_ok(), "tower did not try again");
    calls.store(0, Ordering::SeqCst);
    ensure!(
        once(&mut resilience::retry(calling(flaky(&calls)))).await.is_ok(),
        "tower-resilience did not try again"
    );
    ensure!(calls.load(Ordering::SeqCst) == 2, "a peer made {calls:?} calls");
    calls.store(0, Ordering::SeqCst);
    let retried = flaky(&calls).retry(ExponentialBuilder::default().with_min_delay(SHORT)).await;
    ensure!(retried.is_ok() && calls.load(Ordering::SeqCst) == 2, "backon did not try again");
    Ok(())
}

async fn failing(_: u32) -> StageResult<()> {
    Err("down").transient()
}

async fn breakers() -> Result<()> {
    let guarded = engine(|engine| engine.interceptor(ours::breaker()));
    let pipeline = single(Limits::default(), failing);
    for _ in 0..100 {
        failed(guarded.run(&pipeline, ()).tenant("acme")).await;
    }
    let code = failed(guarded.run(&pipeline, ()).tenant("acme")).await;
    ensure!(code == "BREAKER_OPEN", "our breaker let a call through: {code}");
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let mut service = resilience::breaker(calling(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Err(Failure))
    }));
    for _ in 0..200 {
        let refused = once(&mut service).await;
        ensure!(refused.is_err(), "tower-resilience made a success of a failure");
    }
    let calls = calls.load(Ordering::SeqCst);
    ensure!(calls < 200, "tower-resilience let all {calls} calls through");
    let breaker = Config::new().build();
    for _ in 0..200 {
        drop(breaker.call(std::future::ready(Err::<(), _>(Failure))).await);
    }
    let refused = breaker.call(std::future::ready(Ok::<(), Failure>(()))).await;
    ensure!(matches!(refused, Err(failsafe::Error::Rejected)), "failsafe's breaker let a call through");
    Ok(())
}

async fn limits() -> Result<()> {
    let bulkhead = ours::bulkhead(false);
    let held: Vec<_> = std::iter::from_fn(|| bulkhead.try_acquire(None).ok()).collect();
    let pipeline = single(Limits::default(), |_| std::future::ready(Ok(())));
    let full = engine(|engine| engine.interceptor(bulkhead.clone()));
    let code = failed(full.run(&pipeline, ()).deadline(SHORT)).await;
    ensure!(code != "none" && held.len() == 25, "{} hold our bulkhead, and the next run: {code}", held.len());
    drop(held);
    ensure!(full.run(&pipeline, ()).deadline(LONG).await.is_ok(), "our bulkhead stays full");

    let rated = engine(|engine| engine.interceptor(ours::rate(1, 1, false)));
    ensure!(rated.run(&pipeline, ()).await.is_ok(), "our limiter refuses the first call");
    let code = failed(rated.run(&pipeline, ()).deadline(LONG)).await;
    ensure!(code == "RATE_LIMITED", "our limiter lets a second call through: {code}");

    let hanging = || calling(std::future::pending::<Result<(), Failure>>);
    let mut concurrency = peer::concurrency(hanging(), 1);
    let held = concurrency.ready().await?.call(());
    ensure!(timeout(SHORT, concurrency.ready()).await.is_err(), "tower has room for two");
    drop(held);
    let bulkhead = resilience::bulkhead(hanging(), 1);
    let mut other = bulkhead.clone();
    let holder = tokio::spawn(async move { once(&mut { bulkhead }).await.is_ok() });
    sleep(SHORT).await;
    ensure!(
        matches!(timeout(SHORT, once(&mut other)).await, Ok(Err(_))),
        "tower-resilience has room for two"
    );
    holder.abort();

    let mut rate = peer::rate(nothing(), 1);
    ensure!(once(&mut rate).await.is_ok(), "tower's limit refuses the first call");
    ensure!(timeout(SHORT, once(&mut rate)).await.is_err(), "tower's limit lets a second call through");
    let mut rate = resilience::rate(nothing(), 1);
    ensure!(once(&mut rate).await.is_ok(), "tower-resilience refuses the first call");
    ensure!(once(&mut rate).await.is_err(), "tower-resilience lets a second call through");
    let limiter = RateLimiter::direct(Quota::per_hour(NonZeroU32::MIN));
    ensure!(limiter.check().is_ok() && limiter.check().is_err(), "governor does not limit");
    Ok(())
}

async fn who_calls() -> Result<()> {
    let pipeline = single(Limits::default(), |_| std::future::ready(Ok(())));
    let auth = ours::auth();
    let guard = ours::tenants(&auth);
    let authenticated = engine(|engine| engine.interceptor(auth));
    let code = failed(authenticated.run(&pipeline, ())).await;
    ensure!(code != "none", "a run without credentials is let in");
    let key = Credentials::api_key("k-1");
    ensure!(
        authenticated.run(&pipeline, ()).extension(key.clone()).await.is_ok(),
        "a good key is not let in"
    );
    let guarded = engine(|engine| engine.interceptor(guard));
    let code = failed(guarded.run(&pipeline, ()).tenant("globex").extension(key.clone())).await;
    ensure!(code != "none", "another tenant's run is let in");
    ensure!(
        guarded.run(&pipeline, ()).tenant("acme").extension(key).await.is_ok(),
        "its own run is not let in"
    );
    Ok(())
}

async fn answers() -> Result<()> {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let pipeline = single(Limits::default(), move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok(()))
    });
    let once = engine(|engine| engine.interceptor(Idempotency::new(InMemoryStore::new())));
    for _ in 0..2 {
        once.run(&pipeline, ()).extension(IdempotencyKey::new("order-17")).await?;
    }
    let calls = calls.load(Ordering::SeqCst);
    ensure!(calls == 1, "under one key {calls} calls were made");
    let falling = engine(|engine| engine.interceptor(Fallback::value(())));
    ensure!(
        falling.run(&single(Limits::default(), failing), ()).await.is_ok(),
        "our fallback does not answer"
    );
    let mut service = resilience::fallback(calling(|| std::future::ready(Err(Failure))));
    ensure!(self::once(&mut service).await.is_ok(), "tower-resilience's fallback does not answer");
    Ok(())
}

async fn time_limits() -> Result<()> {
    let hanging = |_| std::future::pending::<StageResult<()>>();
    let attempt = Limits { attempt: Some(SHORT), stage: None };
    let stage = Limits { stage: Some(SHORT), attempt: None };
    for limits in [attempt, stage] {
        let run = engine(|engine| engine).run(&single(limits, hanging), ());
        let ended = timeout(LONG, run.into_future()).await;
        ensure!(matches!(ended, Ok(Err(_))), "our time limit does not end a stage");
    }
    let inner = || calling(std::future::pending::<Result<(), Failure>>);
    ensure!(
        once(&mut peer::timeout(inner(), SHORT)).await.is_err(),
        "tower's time limit does not end a call"
    );
    let ended = once(&mut resilience::timeout(inner(), SHORT)).await;
    ensure!(ended.is_err(), "tower-resilience's time limit does not end a call");
    Ok(())
}
