//! Engines in one call against stages that fail, hang and are too many.

use stageflow::{
    RunHandle, RunOutcome, code,
    interceptors::{Authenticate, Credentials, Retry},
    prelude::*,
};

use super::{
    super::kit::{error_of, gives, idle, never, pipeline, report_of, solo},
    Calls, Keys, nested, transient,
};

fn production() -> Engine {
    Engine::production().without_authentication().build().expect("the engine is right")
}

/// A pipeline of one stage of a kind that counts its calls and fails.
fn failing(kind: StageKind, calls: &Calls, exit: fn() -> StageExit) -> Pipeline<(), u32> {
    pipeline(|p| p.stage("call", calls.exits(exit)).kind(kind).inputs(()))
}

#[tokio::test(start_paused = true)]
async fn production_tries_transient_failures_again_but_no_work() {
    for kind in StageKind::ALL {
        let calls = Calls::default();
        error_of(production().run(&failing(kind, &calls, transient), ())).await;
        assert_eq!(calls.count(), if kind == StageKind::Work { 1 } else { 3 }, "{kind}");
    }
    let calls = Calls::default();
    let permanent = || StageExit::fail("no such order");
    error_of(production().run(&failing(StageKind::Enrich, &calls, permanent), ())).await;
    assert_eq!(calls.count(), 1, "a failure without a class is not tried again");
}

/// Retries do not multiply: a stage that has its own is tried again by that alone, and nested pipelines are not tried again as a whole.
#[tokio::test(start_paused = true)]
async fn production_does_not_multiply_retries() {
    let calls = Calls::default();
    let own = pipeline(|p| {
        p.stage("call", calls.exits(transient)).retry(Retry::constant(1.secs()).max_attempts(2)).inputs(())
    });
    error_of(production().run(&own, ())).await;
    assert_eq!(calls.count(), 2);

    let calls = Calls::default();
    let whole = nested(nested(failing(StageKind::Enrich, &calls, transient)));
    error_of(production().run(&whole, ())).await;
    assert_eq!(calls.count(), 3);
}

/// What hangs ends: three attempts of 30 s with two delays of at most 200 and 400 ms.
#[tokio::test(start_paused = true)]
async fn production_ends_what_hangs() {
    let report = report_of(production().run(&solo(never()), ())).await;
    assert_eq!(report.cause().map(|failure| failure.code()), Some(code::ATTEMPT_TIMEOUT));
    assert_eq!(report.stage("only").map(|stage| stage.attempts), Some(3));
    let took = report.duration();
    assert!(took >= 90.secs() && took <= 90_600.millis(), "{took:?}");
}

/// After 20 calls of which half failed no more are made; stages, tenants and pipelines do not close each other.
#[tokio::test(start_paused = true)]
async fn production_does_not_call_what_is_ill() {
    let engine = production();
    let calls = Calls::default();
    let ill = failing(StageKind::Enrich, &calls, transient);
    let run = |tenant: &str| engine.run(&ill, ()).tenant(tenant.to_owned()).deadline(5.secs());
    for _ in 0..7 {
        error_of(run("acme")).await;
    }
    assert_eq!(calls.count(), 20, "the 21st attempt was not made");
    let error = error_of(run("acme")).await;
    assert_eq!((error.code(), calls.count()), (code::BREAKER_OPEN, 20));
    error_of(run("globex")).await;
    assert_eq!(calls.count(), 23, "another tenant has a breaker to itself");
    let beside = pipeline(|p| p.stage("other", gives(1_u32)).kind(StageKind::Enrich).inputs(()));
    assert!(engine.run(&beside, ()).tenant("acme").await.is_ok(), "and so has another stage");
    let work = Calls::default();
    error_of(engine.run(&failing(StageKind::Work, &work, transient), ()).tenant("initech")).await;
    assert_eq!(work.count(), 1);
}

/// A stage that computes fails by what it is given: bad inputs close it to nobody.
#[tokio::test(start_paused = true)]
async fn production_closes_no_stage_that_only_computes() {
    let engine = production();
    let calls = Calls::default();
    let parse = failing(StageKind::Transform, &calls, || StageExit::fail("not a number"));
    for _ in 0..50 {
        error_of(engine.run(&parse, ())).await;
    }
    assert_eq!(calls.count(), 50);
}

/// 256 runs are active, 128 wait, and the next is refused; who has waited for 2 s is refused as well.
#[tokio::test(start_paused = true)]
async fn production_refuses_what_is_too_much() {
    let engine = production();
    let hold = solo(never());
    let runs: Vec<RunHandle<u32>> = (0..384).map(|_| engine.start(&hold, ())).collect();
    idle().await;
    let stats = engine.backpressure().expect("it has a monitor").stats();
    assert_eq!((stats.active, stats.queued, stats.shed), (256, 128, 0));
    let error = error_of(engine.run(&hold, ())).await;
    assert_eq!((error.code(), error.outcome()), (code::OVERLOADED, None));
    // sleeps: on paused time
    tokio::time::sleep(2.secs()).await;
    let stats = engine.backpressure().expect("it has a monitor").stats();
    assert_eq!((stats.active, stats.queued, stats.shed_queue_timeout), (256, 0, 128));
    drop(runs);
    idle().await;
    assert!(engine.run(&solo(gives(1_u32)), ()).await.is_ok(), "it recovers");
}

/// One tenant takes no more than half of the attempts.
#[tokio::test(start_paused = true)]
async fn production_leaves_room_for_other_tenants() {
    let engine = production();
    let calls = Calls::default();
    let wide = pipeline(|p| {
        let ports = p.parallel("hold", 0..600, |_| calls.waits()).inputs(());
        p.stage("sum", super::super::kit::sum()).inputs(ports)
    });
    let noisy = engine.run(&wide, ()).tenant("noisy").start();
    idle().await;
    assert_eq!(calls.count(), 256);
    assert!(engine.run(&solo(gives(1_u32)), ()).tenant("quiet").await.is_ok());
    drop(noisy);
}

#[tokio::test(start_paused = true)]
async fn production_asks_who_calls_and_for_which_tenant() {
    let auth = Authenticate::new(Keys);
    let engine =
        Engine::production().authenticated_tenants(auth.clone()).build().expect("the engine is right");
    let one = solo(gives(1_u32));
    let key = || Credentials::api_key("k-1");
    let outcome = async |run: stageflow::RunBuilder<u32>| report_of(run).await.outcome();
    assert_eq!(outcome(engine.run(&one, ()).tenant("acme").extension(key())).await, RunOutcome::Completed);
    for run in [
        engine.run(&one, ()),
        engine.run(&one, ()).tenant("acme"),
        engine.run(&one, ()).extension(key()), // for no tenant
        engine.run(&one, ()).tenant("globex").extension(key()),
    ] {
        assert_eq!(outcome(run).await, RunOutcome::Denied);
    }
    let no_tenants = Engine::production().authenticated(auth).build().expect("the engine is right");
    let completes = no_tenants.run(&one, ()).extension(key());
    assert_eq!(outcome(completes).await, RunOutcome::Completed);
    assert_eq!(outcome(no_tenants.run(&one, ())).await, RunOutcome::Denied);
}

#[tokio::test(start_paused = true)]
async fn development_shows_the_first_failure() {
    let engine = Engine::development().without_sinks().build().expect("the engine is right");
    let calls = Calls::default();
    for _ in 0..50 {
        error_of(engine.run(&failing(StageKind::Agent, &calls, transient), ())).await;
    }
    assert_eq!(calls.count(), 50, "nothing is tried again, and nothing is closed");
    let report = report_of(engine.run(&solo(never()), ())).await;
    assert_eq!((report.duration(), report.failures().len()), (30.secs(), 1));
    let runs: Vec<_> = (0..500).map(|_| engine.start(&solo(never()), ())).collect();
    idle().await;
    assert_eq!(runs.iter().filter(|run| run.run_id().is_some()).count(), 500, "nobody is refused");
}
