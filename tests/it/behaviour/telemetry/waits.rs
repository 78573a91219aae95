//! What stages have waited for is in their reports, their events and their wide events, to the nanosecond.

use std::time::Duration;

use stageflow::{
    BackpressureMonitor, FailurePolicy, RunReport, WaitKind,
    interceptors::{
        Bulkhead, CircuitBreaker, Idempotency, IdempotencyKey, InMemoryStore, RateLimiter, Retry,
    },
    prelude::*,
};

use super::{
    super::kit::{naps, never, pipeline, recorded, report_of, solo, sum},
    Records,
    wide::agrees,
};

fn waits(report: &RunReport, stage: &str) -> Vec<(WaitKind, u64, Duration)> {
    let stage = report.stage(stage).expect("it is there");
    stage.waits.iter().map(|wait| (wait.kind, wait.count, wait.total)).collect()
}

/// A bulkhead with one place, a limiter of one call in four seconds, and a breaker that opens at once for three.
pub(super) fn policies_that_wait() -> (Bulkhead, RateLimiter, CircuitBreaker) {
    let bulkhead = Bulkhead::builder("db").max_concurrent(1).max_queue(9).build().expect("a bulkhead");
    let limiter = RateLimiter::builder("api").dimension("calls", 1, 4.secs(), 1).build().expect("a limiter");
    let breaker = CircuitBreaker::builder("llm").consecutive(1).open_for(3.secs()).jitter(0.0);
    let breaker = breaker.wait_while_open(1.mins()).build().expect("a breaker");
    (bulkhead, limiter, breaker)
}

/// Each reason, for as long as it was.
#[tokio::test(start_paused = true)]
async fn s_27_each_wait_is_told_by_its_reason_and_time() {
    let (bulkhead, limiter, breaker) = policies_that_wait();
    let flaky = || {
        stage_fn(|ctx: StageContext, (): ()| async move {
            if ctx.attempt() < 3 { Err("reset").transient() } else { Ok(1_u32) }
        })
    };
    let store = InMemoryStore::new();
    let waiting = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let retry = || Retry::constant(2.secs()).cap(2.secs()).no_jitter();
        let b1 = p.stage("b1", naps(5.secs(), 1)).intercept(bulkhead.clone()).inputs(());
        let b2 = p.stage("b2", naps(1.secs(), 1)).intercept(bulkhead).inputs(());
        let r1 = p.stage("r1", naps(0.secs(), 1)).intercept(limiter.clone()).inputs(());
        let r2 = p.stage("r2", naps(0.secs(), 1)).intercept(limiter).inputs(());
        let off = p.stage("off", flaky()).retry(retry()).inputs(());
        let open = p.stage("open", flaky()).retry(retry()).intercept(breaker).inputs(());
        let once = p.stage("once", naps(1.secs(), 1)).intercept(Idempotency::new(store)).inputs(());
        p.stage("sum", sum()).inputs([b1, b2, r1, r2, off, open, once])
    });
    let records = Records::default();
    let engine = records.of(Engine::builder());
    let run = engine.run(&waiting, ()).extension(IdempotencyKey::new("k")).start();
    tokio::time::sleep(500.millis()).await;
    let second = engine.run(&waiting, ()).extension(IdempotencyKey::new("k")).start();
    let report = run.await.expect("it completes").report();
    let second = second.await.expect("it completes").report();
    engine.flush().await;
    assert_eq!(waits(&report, "b1"), []);
    assert_eq!(waits(&report, "b2"), [(WaitKind::Bulkhead, 1, 5.secs())]);
    assert_eq!(waits(&report, "r2"), [(WaitKind::RateLimit, 1, 4.secs())]);
    assert_eq!(waits(&report, "off"), [(WaitKind::BackOff, 2, 4.secs())]);
    // Open for three seconds from the first failure, two of which were the back-off; and from the second.
    let open = waits(&report, "open");
    assert_eq!(
        open.iter().map(|wait| (wait.0, wait.1)).collect::<Vec<_>>(),
        [(WaitKind::BackOff, 2), (WaitKind::Breaker, 2)]
    );
    assert_eq!(open[0].2, 4.secs());
    assert_eq!(waits(&second, "once"), [(WaitKind::Idempotency, 1, 500.millis())]);
    agrees(&records.all(), &report);
    agrees(&records.all(), &second);
    let sum: u64 =
        records.runs()[0].waits.iter().filter(|it| it.reason == WaitKind::BackOff).map(|it| it.count).sum();
    assert_eq!(sum, 4, "those of the stages, added up");
}

/// Permits, and waits that came to nothing: of a run that is cancelled, of a call that is refused.
#[tokio::test(start_paused = true)]
async fn waits_that_came_to_nothing_are_told_as_well() {
    let starved = pipeline(|p| {
        p.max_in_flight(1);
        let a = p.stage("a", never()).inputs(());
        let b = p.stage("b", never()).inputs(());
        p.stage("sum", sum()).inputs([a, b])
    });
    let records = Records::default();
    let engine = records.of(Engine::builder());
    let report = report_of(engine.run(&starved, ()).deadline(3.secs())).await;
    let bulkhead = Bulkhead::builder("db").max_concurrent(1).max_queue(9).queue_timeout(2.secs());
    let bulkhead = bulkhead.build().expect("a bulkhead");
    let _place = bulkhead.try_acquire(None).expect("the only place");
    let refused = pipeline(|p| p.stage("only", naps(1.secs(), 1)).intercept(bulkhead).inputs(()));
    let refused = report_of(engine.run(&refused, ())).await;
    engine.flush().await;
    assert_eq!((waits(&report, "a"), waits(&report, "b")), (vec![], vec![(WaitKind::Permit, 1, 3.secs())]));
    assert_eq!(waits(&refused, "only"), [(WaitKind::Bulkhead, 1, 2.secs())]);
    agrees(&records.all(), &report);
    agrees(&records.all(), &refused);
    let only = records.stages().pop().expect("the last");
    assert_eq!((only.stage.as_str(), only.decisions.bulkhead_rejected), ("only", 1));
}

/// A run that waits to be let in, and one that is given up.
#[tokio::test(start_paused = true)]
async fn the_wait_at_the_entry_is_of_the_run() {
    let monitor = BackpressureMonitor::builder().max_active(1).queue_limit(5).queue_timeout(3.secs());
    let records = Records::default();
    let engine = records.of(Engine::builder().backpressure(monitor.build().expect("a monitor")));
    let (two, nine) = (solo(naps(2.secs(), 1)), solo(naps(9.secs(), 1)));
    let first = engine.start(&two, ());
    let second = engine.start(&nine, ());
    tokio::time::sleep(1.secs()).await;
    let third = engine.start(&two, ());
    first.await.expect("it completes");
    assert!(third.await.is_err(), "it was given up");
    second.await.expect("it completes");
    engine.flush().await;
    let told: Vec<_> =
        records.runs().iter().map(|run| (run.outcome, run.queued_ns / 1_000_000, run.cause)).collect();
    assert_eq!(
        told,
        [("completed", 0, None), ("cancelled", 3_000, Some("shed")), ("completed", 2_000, None)]
    );
    let kinds: Vec<_> = records.runs().iter().map(|run| run.waits.len()).collect();
    assert_eq!(kinds, [0, 1, 1]);
    let queued: Vec<_> = records.stages().iter().map(|stage| stage.queued_ns).collect();
    assert_eq!(queued, [Some(0), None, Some(0)], "the entry is no wait of the stage");
}

/// A stage that waits for nothing has no event of it.
#[tokio::test(start_paused = true)]
async fn a_stage_that_waits_for_nothing_says_nothing() {
    let (engine, recorder) = recorded();
    let run = engine.run(&solo(naps(2.secs(), 1)), ()).await.expect("it completes");
    assert_eq!(waits(&run.report(), "only"), []);
    assert!(!recorder.lines().iter().any(|line| line.contains("waited")), "{:?}", recorder.lines());
    assert!(!serde_json::to_string(&run.report()).expect("JSON").contains("waits"));
}
