//! S-25: of many callers at once a half-open breaker admits exactly as many as it has probes, on real threads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use stageflow::{
    Call, Interceptor, Layer, Next, Placement, Value, code,
    interceptors::{BreakerState, CircuitBreaker},
    prelude::*,
};
use tokio::runtime::Builder;

const CALLERS: usize = 64;
const PROBES: u32 = 5;

/// What the callers and the dependency know of each other.
#[derive(Default)]
struct Service {
    is_well: AtomicBool,
    called: AtomicUsize,
    refused: AtomicUsize,
}

/// Whether exactly so many of all callers reach the dependency after the breaker was open, though it is not known yet how any of
/// these calls has ended; and whether it closes once they have.
fn admits_exactly_its_probes(breaker: &CircuitBreaker, interceptor: impl Interceptor) -> Result<(), String> {
    let service = Arc::new(Service::default());
    let called = Arc::clone(&service);
    let stage = stage_fn(move |_, (): ()| {
        let service = Arc::clone(&called);
        async move {
            if !service.is_well.load(SeqCst) {
                return Err("down").transient();
            }
            service.called.fetch_add(1, SeqCst);
            // None ends before all have asked.
            while service.called.load(SeqCst) + service.refused.load(SeqCst) < CALLERS {
                tokio::task::yield_now().await;
            }
            Ok(1_u32)
        }
    });
    let mut p = Pipeline::builder("calls");
    let only = p.stage("only", stage).intercept(interceptor).inputs(());
    let only = Arc::new(p.build(only).expect("a pipeline"));
    let runtime = Builder::new_multi_thread().worker_threads(8).enable_time().build().expect("a runtime");
    runtime.block_on(async {
        assert!(only.run(()).await.is_err());
        service.is_well.store(true, SeqCst);
        // sleeps: as long as it is open, on real threads
        tokio::time::sleep(Duration::from_millis(20)).await;
        let calls: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (only, service) = (Arc::clone(&only), Arc::clone(&service));
                tokio::spawn(async move {
                    let Err(error) = only.run(()).await else { return };
                    assert_eq!(error.failure().expect("of the stage").code(), code::BREAKER_OPEN);
                    service.refused.fetch_add(1, SeqCst);
                })
            })
            .collect();
        for call in calls {
            call.await.expect("it does not panic");
        }
    });
    let (called, state) = (service.called.load(SeqCst), breaker.state(&breaker.key(None)));
    if called == PROBES as usize && state == BreakerState::Closed {
        Ok(())
    } else {
        Err(format!("{called} of {CALLERS} were let through, and then it is {state:?}"))
    }
}

fn breaker(probes: u32) -> CircuitBreaker {
    let breaker = CircuitBreaker::builder("search").consecutive(1).jitter(0.0).probes(probes);
    breaker.open_for(Duration::from_millis(10)).build().expect("a breaker")
}

#[test]
fn s_25_half_open_admits_exactly_so_many_of_all_that_call_at_once() {
    for _round in 0..20 {
        let breaker = breaker(PROBES);
        assert_eq!(admits_exactly_its_probes(&breaker, breaker.clone()), Ok(()));
        thread::yield_now();
    }
}

/// The double: it asks the breaker, and calls whatever the answer is.
struct FailOpen(CircuitBreaker);

impl Interceptor for FailOpen {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        match self.0.around(call, next.clone()).await {
            Err(exit) if exit.error_code() == Some(code::BREAKER_OPEN) => next.run().await,
            done => done,
        }
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Breaker)
    }
}

#[test]
fn control_a_breaker_that_lets_all_through_is_found_out() {
    let open = breaker(PROBES);
    assert!(admits_exactly_its_probes(&open, FailOpen(open.clone())).is_err());
    let more = breaker(PROBES + 1);
    assert!(admits_exactly_its_probes(&more, more.clone()).is_err(), "one too many");
}
