//! S-26: the lease of an idempotent call is its time, and what only stands in for an answer is not kept.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use stageflow::{
    Call, ErrorClass, Interceptor, Layer, Next, Placement, Recorder, RunOutcome, StageOutcome, Value, code,
    interceptors::{
        BreakerState, CircuitBreaker, Fallback, Idempotency, IdempotencyKey, InMemoryStore, Retry,
    },
    prelude::*,
};
use tokio::time::Instant;

use super::{
    kit::{error_of, idle, never, pipeline, recorded, within},
    lint::Placed,
};

fn key() -> IdempotencyKey {
    IdempotencyKey::new("order-17")
}

fn leased() -> Idempotency {
    Idempotency::new(InMemoryStore::new().lease(5.secs()))
}

fn breaker() -> CircuitBreaker {
    let breaker = CircuitBreaker::builder("provider").no_failure_rate().consecutive(1).jitter(0.0).build();
    breaker.expect("a breaker")
}

/// How often the only key of the breaker has failed, if it is open.
fn failed(breaker: &CircuitBreaker) -> Option<u64> {
    let is_open = matches!(breaker.state(&breaker.key(None)), BreakerState::Open { .. });
    is_open.then(|| breaker.snapshot()[0].totals.failed)
}

/// Three places of a breaker, of which the attempt timeout is one that has always told it.
#[tokio::test(start_paused = true)]
async fn s_25_the_end_of_a_lease_is_a_timeout_for_the_breaker_inside_around_and_below() {
    let (inside, around, below, attempt) = (breaker(), breaker(), breaker(), breaker());
    let child = pipeline(|p| p.stage("child", never()).intercept(below.clone()).inputs(()));
    let outer = Placed(around.clone(), Placement::Outside(Layer::Idempotency));
    let calls = [
        (
            pipeline(|p| p.stage("only", never()).intercept(inside.clone()).intercept(leased()).inputs(())),
            inside,
        ),
        (pipeline(|p| p.stage("only", never()).intercept(outer).intercept(leased()).inputs(())), around),
        (
            pipeline(|p| {
                let input = p.input();
                p.stage("only", child).intercept(leased()).inputs(input)
            }),
            below,
        ),
        (
            pipeline(|p| {
                p.stage("only", never()).intercept(attempt.clone()).attempt_timeout(5.secs()).inputs(())
            }),
            attempt,
        ),
    ];
    for (index, (calls, breaker)) in calls.into_iter().enumerate() {
        let (engine, recorder) = recorded();
        let began = Instant::now();
        let error = error_of(engine.run(&calls, ()).extension(key())).await;
        assert_eq!((began.elapsed(), failed(&breaker)), (5.secs(), Some(1)), "{index}");
        // For the report, the events and whoever may try again it is one, too.
        let failure = error.failure().expect("of the stage");
        assert_eq!((failure.class(), error.recoverable()), (ErrorClass::Timeout, true), "{index}");
        let report = error.report().expect("it ran");
        assert_eq!((error.outcome(), report.stages().count()), (Some(RunOutcome::Failed), 1), "{index}");
        let only = report.stage("only").expect("the stage");
        assert!(matches!(only.outcome, StageOutcome::Failed(_)), "{index}: {report}");
        assert_eq!(only.attempts, 1, "{index}");
        let told = |name: &str| recorder.events().iter().filter(|event| event.name() == name).count();
        assert_eq!((told("breaker.opened"), told("pipeline.failed")), (1, 1), "{index}");
        let lines = recorder.lines();
        assert_eq!(lines.iter().filter(|line| *line == "stage.failed only").count(), 1, "{index}: {lines:?}");
    }
}

/// A call that is dropped for another reason says nothing, as ever.
#[tokio::test(start_paused = true)]
async fn s_25_a_leased_call_that_is_cancelled_is_no_timeout() {
    let breaker = breaker();
    let call =
        pipeline(|p| p.stage("only", never()).intercept(breaker.clone()).intercept(leased()).inputs(()));
    let run = call.run(()).extension(key()).start();
    idle().await;
    run.cancel("changed my mind");
    error_of(run).await;
    assert_eq!((failed(&breaker), breaker.snapshot()[0].totals.neutral), (None, 1));
}

/// What waits inside a lease waits for nothing beyond it, and whoever stands around it may try again.
#[tokio::test(start_paused = true)]
async fn s_15_a_retry_inside_a_lease_sees_its_end_and_one_outside_a_timeout() {
    let busy = stage_fn(|_, (): ()| async { Err::<u32, _>("busy").transient() });
    let inside = pipeline(|p| {
        let retry = Retry::constant(3.secs()).no_jitter();
        p.stage("only", busy).retry(retry).intercept(leased()).inputs(())
    });
    let began = Instant::now();
    let error = error_of(inside.run(()).extension(key())).await;
    let failure = error.failure().expect("of the stage");
    assert_eq!((failure.code(), failure.attempts(), began.elapsed()), (code::STAGE_FAILED, 2, 3.secs()));

    let slow_once = stage_fn(|ctx: StageContext, (): ()| async move {
        if ctx.attempt() == 1 {
            assert_eq!(ctx.remaining(), Some(5.secs()), "the lease is all the time there is");
            std::future::pending::<()>().await;
        }
        Ok(ctx.attempt())
    });
    let outside = pipeline(|p| {
        let retry = Placed(Retry::constant(1.secs()).no_jitter(), Placement::Outside(Layer::Idempotency));
        p.stage("only", slow_once).intercept(retry).intercept(leased()).inputs(())
    });
    let began = Instant::now();
    let run = within(outside.run(()).extension(key())).await.expect("the second attempt succeeds");
    assert_eq!((*run.output(), began.elapsed()), (2, 6.secs()));
}

/// A stage that fails at first and is well from its second call on, behind a fallback: what runs under one key get.
async fn answers(idempotency: Idempotency, substitute: impl Interceptor, recorder: &Recorder) -> Vec<u32> {
    let calls = Arc::new(AtomicU32::new(0));
    let stage = stage_fn(move |_, (): ()| {
        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
        async move { if call == 1 { Err("down").permanent() } else { Ok(call) } }
    });
    let reply = pipeline(|p| p.stage("reply", stage).intercept(idempotency).intercept(substitute).inputs(()));
    let engine = Engine::builder().sink(recorder.clone()).build().expect("an engine");
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(*engine.run(&reply, ()).extension(key()).await.expect("it is answered").output());
    }
    answers
}

/// Stands in for a failure, as an interceptor of one's own.
struct StandIn {
    says_so: bool,
}

impl Interceptor for StandIn {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        match next.run().await {
            Err(exit) if exit.is_failure() => {
                if self.says_so {
                    call.mark_substitute();
                }
                Ok(Value::new(0_u32))
            }
            done => done,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s_26_what_stands_in_for_an_answer_is_not_kept_unless_it_is_asked_for() {
    let once = || Idempotency::new(InMemoryStore::new());
    let not_stored = |recorder: &Recorder| {
        recorder.events().iter().filter(|event| event.name() == "idempotency.not_stored").count()
    };
    for leased in [false, true] {
        let once = || if leased { self::leased() } else { once() };
        let recorder = Recorder::new();
        assert_eq!(answers(once(), Fallback::value(0_u32), &recorder).await, [0, 2, 2]);
        assert_eq!(not_stored(&recorder), 1);
        let recorder = Recorder::new();
        assert_eq!(answers(once().store_fallbacks(), Fallback::value(0_u32), &recorder).await, [0, 0, 0]);
        assert_eq!(not_stored(&recorder), 0);
    }
    // An interceptor of one's own has to say so.
    assert_eq!(answers(once(), StandIn { says_so: true }, &Recorder::new()).await, [0, 2, 2]);
    assert_eq!(answers(once(), StandIn { says_so: false }, &Recorder::new()).await, [0, 0, 0]);
}

/// A call of the worker that has ended leaves nothing to the next one, which may be made in the same memory.
#[tokio::test(start_paused = true)]
async fn s_26_the_answer_of_one_stage_says_nothing_about_the_next() {
    let store = InMemoryStore::new();
    let mut p = Pipeline::builder("two");
    let fails = stage_fn(|_, (): ()| async { Err::<u32, _>("down").permanent() });
    let first = p.stage("first", fails).intercept(Fallback::value(0_u32)).inputs(());
    let second = stage_fn(|_, n: Arc<u32>| async move { Ok(*n + 1) });
    let second = p.stage("second", second).intercept(Idempotency::new(store.clone())).inputs(first);
    let two = p.build(second).expect("it builds");
    assert_eq!(*two.run(()).extension(key()).await.expect("it runs").output(), 1);
    assert_eq!(store.len(), 1);
}

/// Of calls that wait for one whose fallback has answered, one is made, as after a failure.
#[tokio::test(start_paused = true)]
async fn s_26_after_a_fallback_one_of_those_who_wait_is_made() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let stage = stage_fn(move |_, (): ()| {
        let call = counted.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            // sleeps: on paused time
            tokio::time::sleep(1.secs()).await;
            if call == 1 { Err("down").permanent() } else { Ok(call) }
        }
    });
    let reply = pipeline(|p| {
        p.stage("reply", stage).intercept(leased()).intercept(Fallback::value(0_u32)).inputs(())
    });
    let runs: Vec<_> = (0..5).map(|_| reply.run(()).extension(key()).start()).collect();
    let mut answers = Vec::new();
    for run in runs {
        answers.push(*within(run).await.expect("it is answered").output());
    }
    answers.sort_unstable();
    assert_eq!((answers, calls.load(Ordering::SeqCst)), (vec![0, 2, 2, 2, 2], 2));
}
