//! Troubles: retries, refusals, breakers, denials, answers in place of a stage, clean-ups, and events that were lost.

use stageflow::{
    Budget, ErrorClass, FailurePolicy,
    events::{SinkExt, sink_fn},
    interceptors::{
        AuthError, Authenticate, Authenticator, Bulkhead, CircuitBreaker, Credentials, Fallback, Principal,
        RateLimiter, Retry, TenantGuard, WhenFull,
    },
    prelude::*,
};

use super::{
    super::super::kit::{Switch, exits, gives, naps, pipeline, report_of, solo, sum},
    Measured,
};

fn busy() -> StageExit {
    StageExit::fail("busy").class(ErrorClass::Transient)
}

/// Retries that recover, that come to the end of their attempts, and that the budget cuts short.
pub(super) async fn retries() -> Measured {
    let flaky = stage_fn(|ctx: StageContext, (): ()| async move {
        if ctx.attempt() < 3 { Err("reset").transient() } else { Ok(1_u32) }
    });
    let retry = || Retry::constant(500.millis()).no_jitter().max_attempts(3);
    let retried = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let up = p.stage("up", flaky).retry(retry()).inputs(());
        let down = p.stage("down", exits(busy)).retry(retry()).inputs(());
        p.stage("sum", sum()).inputs([up, down])
    });
    let mut m = Measured::new();
    let engine = m.of(Engine::builder());
    report_of(engine.run(&retried, ()).tenant("acme")).await;
    let poor = pipeline(|p| p.stage("poor", exits(busy)).retry(retry()).inputs(()));
    report_of(engine.run(&poor, ()).tenant("umbrella").budget(Budget::new().retries(0.0, 1))).await;
    m.read(&engine).await;
    assert_eq!(
        m.series("stageflow.stage.retries"),
        ["test down acme = 2", "test poor umbrella = 1", "test up acme = 2"]
    );
    assert_eq!(
        m.series("stageflow.stage.retry_delay"),
        ["test down acme = 2 in 1", "test poor umbrella = 1 in 0.5", "test up acme = 2 in 1"]
    );
    assert_eq!(
        m.series("stageflow.stage.retry_outcomes"),
        [
            "test down exhausted max_attempts acme = 1",
            "test poor exhausted budget umbrella = 1",
            "test up recovered - acme = 1"
        ]
    );
    assert_eq!(
        m.series("stageflow.stage.attempts"),
        [
            "test down failed acme = 1 in 3",
            "test poor failed umbrella = 1 in 2",
            "test up completed acme = 1 in 3"
        ]
    );
    assert_eq!(m.series("stageflow.budget.exhausted"), ["test retries umbrella = 1"]);
    m
}

/// Calls that a rate limit, a bulkhead and a breaker refuse.
pub(super) async fn refusals() -> Measured {
    let limiter = RateLimiter::builder("api").dimension("calls", 1, 4.secs(), 1).when_full(WhenFull::Reject);
    let limiter = limiter.build().expect("a limiter");
    let bulkhead = Bulkhead::builder("db").max_concurrent(1).when_full(WhenFull::Reject);
    let bulkhead = bulkhead.build().expect("a bulkhead");
    let breaker = CircuitBreaker::builder("llm")
        .consecutive(1)
        .open_for(1.mins())
        .per_tenant(false)
        .build()
        .expect("a breaker");
    let refused = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let limited = p.parallel("limited", 0..3, |_| naps(1.secs(), 1)).intercept(limiter).inputs(());
        let roomy = p.parallel("roomy", 0..2, |_| naps(1.secs(), 1)).intercept(bulkhead).inputs(());
        let broken = p.stage("broken", exits(busy)).intercept(breaker).inputs(());
        p.stage("sum", sum()).inputs(limited.into_iter().chain(roomy).chain([broken]).collect::<Vec<_>>())
    });
    let mut m = Measured::new();
    let engine = m.of(Engine::builder());
    for tenant in ["acme", "umbrella"] {
        report_of(engine.run(&refused, ()).tenant(tenant)).await;
        tokio::time::sleep(9.secs()).await;
    }
    m.read(&engine).await;
    let mut refused = Vec::new();
    for tenant in ["acme", "umbrella"] {
        refused.extend(["limited-001", "limited-002"].map(|stage| format!("rate test {stage} {tenant} = 1")));
        refused.push(format!("bulkhead test roomy-001 {tenant} = 1"));
    }
    refused.push("breaker test broken umbrella = 1".to_owned());
    refused.sort();
    assert_eq!(m.series("stageflow.limit.rejections"), refused);
    m
}

/// A breaker that opens, lets a probe through, and closes.
pub(super) async fn breaker() -> Measured {
    let breaker = CircuitBreaker::builder("llm").consecutive(1).open_for(3.secs()).jitter(0.0).probes(1);
    let breaker = breaker.build().expect("a breaker");
    let works = stage_fn(|ctx: StageContext, (): ()| async move {
        if ctx.snapshot().priority() == Priority::High {
            return Err("reset").transient();
        }
        tokio::time::sleep(1.secs()).await;
        Ok(1_u32)
    });
    let guarded = pipeline(|p| p.stage("guarded", works).intercept(breaker).inputs(()));
    let mut m = Measured::new();
    let engine = m.of(Engine::builder());
    report_of(engine.run(&guarded, ()).tenant("acme").priority(Priority::High)).await;
    m.read(&engine).await;
    assert_eq!(m.series("stageflow.breaker.state"), ["llm acme = 2"]);
    tokio::time::sleep(4.secs()).await;
    let probe = engine.run(&guarded, ()).tenant("acme").start();
    tokio::time::sleep(500.millis()).await;
    m.read(&engine).await;
    assert_eq!(m.series("stageflow.breaker.state"), ["llm acme = 1"]);
    probe.await.expect("it completes");
    m.read(&engine).await;
    assert_eq!(m.series("stageflow.breaker.state"), ["llm acme = 0"]);
    assert_eq!(
        m.series("stageflow.breaker.transitions"),
        ["llm closed acme = 1", "llm half_open acme = 1", "llm open acme = 1"]
    );
    // One that tenants share is of none of them.
    let shared = CircuitBreaker::builder("db").consecutive(1).per_tenant(false).build().expect("a breaker");
    let shared = pipeline(|p| p.stage("shared", exits(busy)).intercept(shared).inputs(()));
    report_of(engine.run(&shared, ()).tenant("acme")).await;
    m.read(&engine).await;
    assert_eq!(m.series("stageflow.breaker.state"), ["db - = 2", "llm acme = 0"]);
    m
}

/// Knows Ada of Acme, by her key.
struct Keys;

impl Authenticator for Keys {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
        if credentials.matches("t0p") {
            Ok(Principal::builder("ada").tenant("acme").build())
        } else {
            Err(AuthError::invalid("no such key"))
        }
    }
}

/// Runs that authentication denies, and runs of a principal whose tenant may not.
pub(super) async fn denials() -> Measured {
    let mut m = Measured::new();
    let strict = Authenticate::new(Keys);
    let strict = m.of(Engine::builder().interceptor(strict));
    let work = solo(gives(1_u32));
    let wrong = || strict.run(&work, ()).tenant("acme").extension(Credentials::api_key("wrong"));
    for _ in 0..2 {
        assert_eq!(report_of(wrong()).await.outcome(), stageflow::RunOutcome::Denied);
    }
    m.read(&strict).await;
    assert_eq!(m.series("stageflow.stage.denials"), ["solo - auth acme = 2"]);
    let auth = Authenticate::new(Keys);
    let guard = TenantGuard::new(&auth).allow(["globex"]);
    let guarded = m.of(Engine::builder().interceptor(auth).interceptor(guard));
    let known = guarded.run(&work, ()).tenant("acme").extension(Credentials::api_key("t0p"));
    assert_eq!(report_of(known).await.outcome(), stageflow::RunOutcome::Denied);
    m.read(&guarded).await;
    assert_eq!(m.series("stageflow.stage.denials"), ["solo - auth acme = 2", "solo - tenant acme = 1"]);
    assert_eq!(m.series("stageflow.run.duration"), ["solo denied acme = 3 in 0"]);
    m
}

/// A fallback that answers, and one that fails as well.
pub(super) async fn answers() -> Measured {
    let fails = || exits(|| StageExit::fail("no"));
    let backed = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let good = p.stage("good", fails()).fallback(gives(1_u32)).inputs(());
        let bad = p.stage("bad", fails()).intercept(Fallback::stage(fails())).inputs(());
        p.stage("sum", sum()).inputs([good, bad])
    });
    let mut m = Measured::new();
    let engine = m.of(Engine::builder());
    report_of(engine.run(&backed, ()).tenant("acme")).await;
    m.read(&engine).await;
    assert_eq!(
        m.series("stageflow.stage.answers"),
        ["test bad fallback_failed acme = 1", "test good fallback acme = 1"]
    );
    m
}

/// A clean-up that fails, and one that does not.
pub(super) async fn clean_ups() -> Measured {
    let leaves = stage_fn(|ctx: StageContext, (): ()| async move {
        ctx.on_cleanup(async { Err("left behind".into()) });
        ctx.on_cleanup(async { Ok(()) });
        Ok(1_u32)
    });
    let mut m = Measured::new();
    let engine = m.of(Engine::builder());
    engine.run(&solo(leaves), ()).tenant("acme").await.expect("it completes");
    m.read(&engine).await;
    assert_eq!(m.series("stageflow.cleanup.failures"), ["solo only acme = 1"]);
    m
}

/// Events that a stuck sink has dropped, and events that never came to the metrics themselves.
pub(super) async fn sinks() -> Measured {
    let mut m = Measured::new();
    let switch = Switch::default();
    let behind = switch.clone();
    let stuck = sink_fn(move |_| behind.spin()).bounded(2);
    let meter = stuck.meter();
    let metrics = m.metrics.clone();
    let only_starts = metrics.clone().filter(|event| !event.name().starts_with("said"));
    let engine = Engine::builder().sink(only_starts).sink(stuck).build().expect("an engine");
    let chatty = stage_fn(|ctx: StageContext, (): ()| async move {
        (0..50_u32).for_each(|n| ctx.emit("said", [("n", n)]));
        Ok(1_u32)
    });
    engine.run(&solo(chatty), ()).tenant("acme").await.expect("it completes");
    let account = meter.account();
    metrics.set_sink("stuck", &account);
    m.now = metrics.read();
    assert!(account.in_flight > 0 && account.dropped() > 0, "{account:?}");
    assert_eq!(m.series("stageflow.sink.in_flight"), [format!("stuck = {}", account.in_flight)]);
    switch.open();
    engine.flush().await;
    let account = meter.account();
    metrics.set_sink("stuck", &account);
    m.now = metrics.read();
    assert_eq!(m.series("stageflow.sink.in_flight"), ["stuck = 0"]);
    let told = m.series("stageflow.sink.events");
    let delivered = format!("stuck delivered = {}", account.delivered);
    assert!(told.contains(&delivered), "{told:?}");
    let all: u64 = told.iter().filter_map(|row| row.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    assert_eq!((all, account.emitted), (54, 54), "{told:?}");
    assert_eq!(m.series("stageflow.events.dropped"), ["solo acme = 50"]);
    m
}

macro_rules! tests {
    ($($name:ident = $scene:ident;)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            $scene().await;
        }
    )*};
}

tests! {
    retries_are_measured_with_their_delay_and_outcome = retries;
    refusals_are_measured_by_what_refuses = refusals;
    the_state_of_a_breaker_is_measured = breaker;
    denied_runs_are_measured_by_who_denies = denials;
    answers_in_place_of_a_stage_are_measured = answers;
    clean_ups_that_fail_are_measured = clean_ups;
    lost_events_are_measured = sinks;
}
