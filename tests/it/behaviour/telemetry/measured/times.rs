//! Times: of runs and stages, in the queue, by what was waited for, and at the entry.

use stageflow::{
    BackpressureMonitor, FailurePolicy,
    interceptors::{Idempotency, IdempotencyKey, InMemoryStore, Retry},
    prelude::*,
};

use super::{
    super::super::kit::{exits, gives, naps, pipeline, report_of, same, solo, sum},
    super::waits::policies_that_wait,
    Measured,
};

/// One stage at a time: the second waits for the first, and is not charged with what stands before it.
pub(super) async fn of_stages() -> Measured {
    let mut m = Measured::new();
    let engine = m.of(Engine::builder());
    let chained = pipeline(|p| {
        p.max_in_flight(1);
        let first = p.stage("first", naps(2.secs(), 1)).kind(StageKind::Enrich).inputs(());
        let other = p.stage("other", naps(3.secs(), 1)).inputs(());
        let after = p.stage("after", same()).inputs(first);
        p.stage("sum", sum()).inputs([other, after])
    });
    let run = engine.run(&chained, ()).tenant("acme").start();
    tokio::time::sleep(1.secs()).await;
    m.read(&engine).await;
    assert_eq!(m.series("stageflow.run.active"), ["test acme = 1"]);
    assert_eq!(m.series("stageflow.stage.active"), ["test first acme = 1"]);
    run.await.expect("it completes");
    m.read(&engine).await;
    assert_eq!(m.series("stageflow.run.active"), ["test acme = 0"]);
    let idle = ["after", "first", "other", "sum"].map(|stage| format!("test {stage} acme = 0"));
    assert_eq!(m.series("stageflow.stage.active"), idle);
    assert_eq!(m.series("stageflow.run.duration"), ["test completed acme = 1 in 5"]);
    assert_eq!(
        m.series("stageflow.stage.duration"),
        [
            "test after transform completed acme = 1 in 0",
            "test first enrich completed acme = 1 in 2",
            "test other transform completed acme = 1 in 3",
            "test sum transform completed acme = 1 in 0"
        ]
    );
    assert_eq!(
        m.series("stageflow.stage.queue_time"),
        [
            "test after acme = 1 in 3",
            "test first acme = 1 in 0",
            "test other acme = 1 in 2",
            "test sum acme = 1 in 0"
        ]
    );
    assert_eq!(
        m.series("stageflow.stage.wait"),
        ["test after permit acme = 1 in 3", "test other permit acme = 1 in 2"]
    );

    // Stages that end without an attempt are in none of these.
    let ends = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let skip = p.stage("skip", exits(|| StageExit::skip("no"))).inputs(());
        let fail = p.stage("fail", exits(|| StageExit::fail("no"))).inputs(());
        let left = p.stage("left", same()).inputs(skip);
        let blocked = p.stage("blocked", same()).inputs(fail);
        p.stage("sum", sum()).inputs([left, blocked])
    });
    report_of(engine.run(&ends, ()).tenant("umbrella")).await;
    m.read(&engine).await;
    assert_eq!(
        m.series("stageflow.stage.not_run"),
        [
            "test blocked blocked umbrella = 1",
            "test left skipped umbrella = 1",
            "test sum blocked umbrella = 1"
        ]
    );
    assert_eq!(m.series("stageflow.stage.failures"), ["test fail STAGE_FAILED unclassified umbrella = 1"]);
    m
}

/// Each reason, for as long as it was.
pub(super) async fn of_waits() -> Measured {
    let (bulkhead, limiter, breaker) = policies_that_wait();
    let flaky = || {
        stage_fn(|ctx: StageContext, (): ()| async move {
            if ctx.attempt() < 2 { Err("reset").transient() } else { Ok(1_u32) }
        })
    };
    let waiting = pipeline(|p| {
        let retry = || Retry::constant(2.secs()).cap(2.secs()).no_jitter();
        let b1 = p.stage("b1", naps(5.secs(), 1)).intercept(bulkhead.clone()).inputs(());
        let b2 = p.stage("b2", naps(1.secs(), 1)).intercept(bulkhead).inputs(());
        let r1 = p.stage("r1", naps(0.secs(), 1)).intercept(limiter.clone()).inputs(());
        let r2 = p.stage("r2", naps(0.secs(), 1)).intercept(limiter).inputs(());
        let off = p.stage("off", flaky()).retry(retry()).inputs(());
        let open = p.stage("open", flaky()).retry(retry()).intercept(breaker).inputs(());
        p.stage("sum", sum()).inputs([b1, b2, r1, r2, off, open])
    });
    let mut m = Measured::new();
    let engine = m.of(Engine::builder());
    engine.run(&waiting, ()).tenant("acme").await.expect("it completes");
    let once = Idempotency::new(InMemoryStore::new());
    let once = pipeline(|p| p.stage("once", naps(1.secs(), 1)).intercept(once).inputs(()));
    let asked = || engine.run(&once, ()).tenant("acme").extension(IdempotencyKey::new("k")).start();
    let first = asked();
    tokio::time::sleep(250.millis()).await;
    asked().await.expect("it completes");
    first.await.expect("it completes");
    m.read(&engine).await;
    assert_eq!(
        m.series("stageflow.stage.wait"),
        [
            "test b2 bulkhead acme = 1 in 5",
            "test off back_off acme = 1 in 2",
            "test once idempotency acme = 1 in 0.75",
            "test open back_off acme = 1 in 2",
            "test open breaker acme = 1 in 1",
            "test r2 rate_limit acme = 1 in 4"
        ]
    );
    assert_eq!(m.series("stageflow.stage.answers"), ["test once replay acme = 1"]);
    m
}

/// One run at a time: of three the second waits and is let in, and the third is given up.
pub(super) async fn at_the_entry() -> Measured {
    let monitor = BackpressureMonitor::builder().max_active(1).queue_limit(5).queue_timeout(3.secs());
    let mut m = Measured::new();
    let engine = m.of(Engine::builder().backpressure(monitor.build().expect("a monitor")));
    let (two, nine) = (solo(naps(2.secs(), 1)), solo(naps(9.secs(), 1)));
    let first = engine.run(&two, ()).tenant("acme").start();
    let second = engine.run(&nine, ()).tenant("umbrella").start();
    tokio::time::sleep(1.secs()).await;
    let third = engine.run(&solo(gives(1_u32)), ()).tenant("acme").start();
    first.await.expect("it completes");
    assert!(third.await.is_err(), "it was given up");
    second.await.expect("it completes");
    m.read(&engine).await;
    assert_eq!(
        m.series("stageflow.admission.decisions"),
        [
            "solo admitted umbrella = 1",
            "solo queued acme = 1",
            "solo queued umbrella = 1",
            "solo shed acme = 1"
        ]
    );
    assert_eq!(m.series("stageflow.admission.wait"), ["solo acme = 1 in 3", "solo umbrella = 1 in 2"]);
    assert_eq!(
        m.series("stageflow.run.duration"),
        ["solo cancelled acme = 1 in 3", "solo completed acme = 1 in 2", "solo completed umbrella = 1 in 11"]
    );
    m
}

#[tokio::test(start_paused = true)]
async fn times_of_stages_are_measured() {
    of_stages().await;
}

#[tokio::test(start_paused = true)]
async fn waits_are_measured_by_their_reason() {
    of_waits().await;
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_runs_at_the_entry_is_measured() {
    at_the_entry().await;
}
