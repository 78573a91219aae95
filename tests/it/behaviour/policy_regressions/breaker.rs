//! §18.6: the circuit breaker around stages.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use stageflow::{
    code,
    interceptors::{BreakerState, CircuitBreaker, CircuitBreakerBuilder, Retry},
    prelude::*,
};

use super::super::kit::{error_of, pipeline};

/// A dependency that is ill until it is well again, the pipeline that calls it, and how often it was called.
struct Service {
    pipeline: Pipeline<bool, u32>,
    breaker: CircuitBreaker,
    calls: Arc<AtomicU32>,
}

fn five() -> CircuitBreakerBuilder {
    CircuitBreaker::builder("search").no_failure_rate().consecutive(5).jitter(0.0).probes(1)
}

impl Service {
    fn new(breaker: CircuitBreakerBuilder) -> Self {
        let (breaker, calls) = (breaker.build().expect("a breaker"), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&calls);
        let mut p = Pipeline::builder("calls");
        let well = p.input();
        let stage = stage_fn(move |_: StageContext, well: Arc<bool>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move { if *well { Ok(1_u32) } else { Err("connection refused").transient() } }
        });
        let called = p.stage("called", stage).intercept(breaker.clone()).inputs(well);
        Self { pipeline: p.build(called).expect("a pipeline"), breaker, calls }
    }

    async fn fail(&self) -> stageflow::Code {
        error_of(self.pipeline.run(false)).await.failure().expect("of the stage").code()
    }

    fn is_closed(&self) -> bool {
        self.breaker.state(&self.breaker.key(None)) == BreakerState::Closed
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn item_171_an_open_breaker_refuses_with_an_error_that_names_it() {
    let service = Service::new(five().consecutive(1));
    service.fail().await;
    let error = error_of(service.pipeline.run(true)).await;
    let failure = error.failure().expect("of the stage");
    assert_eq!((failure.code(), failure.stage(), service.calls()), (code::BREAKER_OPEN, "called", 1));
    assert_eq!(failure.message(), "the breaker `search` is open for another 10s");
    assert!(error.recoverable() && error.hint().is_some_and(|hint| hint.contains("10s")));
}

/// Five open it and four do not, and a success in between begins the count anew.
#[tokio::test(start_paused = true)]
async fn item_172_five_failures_open_it_and_a_success_begins_anew() {
    let service = Service::new(five());
    for _ in 0..4 {
        service.fail().await;
    }
    service.pipeline.run(true).await.expect("it is well for once");
    for failures in 1..=5 {
        assert!(service.is_closed(), "after {failures}");
        assert_ne!(service.fail().await, code::BREAKER_OPEN);
    }
    assert!(!service.is_closed());
    assert_eq!((service.fail().await, service.calls()), (code::BREAKER_OPEN, 10));
}

/// Returned failures, panics and timeouts alike.
#[tokio::test(start_paused = true)]
async fn item_173_a_failure_counts_once_w13() {
    let ends: [fn() -> StageResult<u32>; 3] =
        [|| Err("down").transient(), || Err("down".into()), || panic!("down (on purpose)")];
    for (index, end) in ends.into_iter().enumerate() {
        let breaker = five().build().expect("a breaker");
        let fails = pipeline(|p| {
            let stage = stage_fn(move |_, (): ()| async move { end() });
            p.stage("fails", stage).intercept(breaker.clone()).inputs(())
        });
        for failures in 1..=5_u64 {
            let seen = breaker.snapshot().first().map_or(0, |key| key.totals.failed);
            assert_eq!(
                (seen, breaker.state(&breaker.key(None))),
                (failures - 1, BreakerState::Closed),
                "{index}"
            );
            error_of(fails.run(())).await;
        }
        assert!(matches!(breaker.state(&breaker.key(None)), BreakerState::Open { .. }), "{index}");
    }
}

/// As often as it is asked: what it refuses is no success, and brings nothing nearer.
#[tokio::test(start_paused = true)]
async fn item_174_an_open_breaker_stays_open_until_its_time_and_never_reports_success_w13() {
    let service = Service::new(five().consecutive(1));
    service.fail().await;
    for second in 0..10 {
        for _ in 0..20 {
            let error = error_of(service.pipeline.run(true)).await;
            assert_eq!(error.failure().expect("of the stage").code(), code::BREAKER_OPEN, "second {second}");
        }
        assert!(!service.is_closed());
        tokio::time::sleep(1.secs()).await;
    }
    assert_eq!(service.calls(), 1);
    let run = service.pipeline.run(true).await.expect("it is a probe");
    assert_eq!((*run.output(), service.is_closed(), service.calls()), (1, true, 2));
}

/// Its state is the breaker's, not the run's, so that runs add up (W18), and each attempt of a retry is a call.
#[tokio::test(start_paused = true)]
async fn item_174_runs_add_up_and_attempts_count_w18() {
    let breaker = five().build().expect("a breaker");
    let fails = pipeline(|p| {
        let stage = stage_fn(|_, (): ()| async { Err::<u32, _>("down").transient() });
        let retry = Retry::constant(1.millis()).max_attempts(3);
        p.stage("fails", stage).retry(retry).intercept(breaker.clone()).inputs(())
    });
    error_of(fails.run(())).await;
    assert_eq!(breaker.snapshot()[0].totals.failed, 3);
    let error = error_of(fails.run(())).await;
    assert_eq!(error.failure().expect("of the stage").code(), code::BREAKER_OPEN);
    assert_eq!(breaker.snapshot()[0].totals.failed, 5);
}
