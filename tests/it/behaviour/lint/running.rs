//! What the findings claim is what running pipelines do: calls are counted, times measured.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use stageflow::{
    Budget, Builder, Code, EngineBuilder, FailurePolicy, Finding, Layer, Lint, Placement, RunBuilder, code,
    interceptors::{Credentials, Fallback, Idempotency, IdempotencyKey, InMemoryStore, Retry, RetryBudget},
    prelude::*,
};
use tokio::time::Instant;

use super::{
    super::kit::{Gauge, error_of, gives, idle, never, pipeline, report_of, sum},
    Calls, Placed, auth, breaker, bulkhead, each_second, quota,
};

/// What an engine finds about a pipeline, and both of them.
fn found(
    engine: EngineBuilder,
    lint: Lint,
    build: impl FnOnce(&mut Builder<()>) -> Port<u32>,
) -> (Finding, Engine, Pipeline<(), u32>) {
    // What the policies allow, not what the budget of a run leaves of it.
    let engine = engine.budget(Budget::new().unlimited_retries());
    let engine = engine.build().expect("the engine is right");
    let pipeline = pipeline(build);
    let report = engine.lint(&pipeline);
    let finding = report.finding(lint).unwrap_or_else(|| panic!("{lint}:\n{report}")).clone();
    (finding, engine, pipeline)
}

fn found_alone(
    lint: Lint,
    build: impl FnOnce(&mut Builder<()>) -> Port<u32>,
) -> (Finding, Engine, Pipeline<(), u32>) {
    found(Engine::builder(), lint, build)
}

/// How a run fails, and after which time.
async fn fails(run: RunBuilder<u32>) -> (Code, Duration) {
    let began = Instant::now();
    let error = error_of(run).await;
    (error.code(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn nested_retries_make_that_many_calls_and_take_that_long() {
    let calls = Calls::default();
    let (finding, engine, p) = found(Engine::builder().retry(each_second(3)), Lint::NestedRetries, |p| {
        let p = p.retry(each_second(2));
        p.stage("only", calls.hanging()).retry(each_second(4)).attempt_timeout(10.secs()).inputs(())
    });
    let (code, took) = fails(engine.run(&p, ())).await;
    assert_eq!((code, calls.count()), (code::ATTEMPT_TIMEOUT, 24));
    assert_eq!((finding.calls(), finding.time()), (Some(24), Some(took)), "{finding}");
}

/// A budget that all of them draw on bounds them, so that nothing is found.
#[tokio::test(start_paused = true)]
async fn nested_retries_on_one_account_do_not_multiply() {
    let calls = Calls::default();
    let account = RetryBudget::new(0.0, 2);
    let p = pipeline(|p| {
        let p = p.retry(each_second(3).budget(&account));
        p.stage("only", calls.failing()).retry(each_second(3).budget(&account)).timeout(60.secs()).inputs(())
    });
    assert!(p.lint().finding(Lint::NestedRetries).is_none());
    fails(p.run(())).await;
    assert_eq!(calls.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_effect_happens_again_in_spite_of_idempotency() {
    let calls = Calls::default();
    let (finding, engine, p) = found_alone(Lint::RetryOfWork, |p| {
        let once = Idempotency::new(InMemoryStore::new());
        let only = p.stage("only", calls.failing()).kind(StageKind::Work);
        only.retry(each_second(3)).intercept(once).inputs(())
    });
    fails(engine.run(&p, ()).extension(IdempotencyKey::new("order-17"))).await;
    assert_eq!(Some(calls.count()), finding.calls());
}

#[tokio::test(start_paused = true)]
async fn attempts_that_cannot_begin_do_not() {
    let calls = Calls::default();
    let (finding, engine, p) = found_alone(Lint::UnreachableAttempts, |p| {
        let policy = Retry::exponential(1.secs()).no_jitter().max_attempts(10);
        p.stage("only", calls.failing()).retry(policy).timeout(10.secs()).inputs(())
    });
    fails(engine.run(&p, ())).await;
    assert_eq!(Some(calls.count()), finding.calls());

    let calls = Calls::default();
    let (finding, engine, p) = found_alone(Lint::UnreachableAttempts, |p| {
        p.stage("only", calls.failing()).retry(each_second(5).max_elapsed(2.secs())).inputs(())
    });
    fails(engine.run(&p, ())).await;
    assert_eq!(Some(calls.count()), finding.calls());
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_that_begins_is_the_one_it_says() {
    for timeout in [11_u64, 12, 20, 22, 23, 24, 32] {
        let calls = Calls::default();
        let (finding, engine, p) = found_alone(Lint::RetriesCutShort, |p| {
            let only = p.stage("only", calls.hanging()).retry(Retry::exponential(1.secs()).no_jitter());
            only.attempt_timeout(10.secs()).timeout(timeout.secs()).inputs(())
        });
        fails(engine.run(&p, ())).await;
        assert_eq!(Some(calls.count()), finding.calls(), "{timeout} s");
    }
    let calls = Calls::default();
    let p = pipeline(|p| {
        let only = p.stage("only", calls.hanging()).retry(Retry::exponential(1.secs()).no_jitter());
        only.attempt_timeout(10.secs()).timeout(33.secs()).inputs(())
    });
    assert!(p.lint().finding(Lint::RetriesCutShort).is_none());
    assert_eq!((fails(p.run(())).await.1, calls.count()), (33.secs(), 3));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_never_tried_again() {
    let calls = Calls::default();
    let (finding, engine, p) = found_alone(Lint::HungAttempt, |p| {
        p.deadline(30.secs());
        p.stage("only", calls.hanging()).retry(each_second(3)).inputs(())
    });
    let (code, took) = fails(engine.run(&p, ())).await;
    assert_eq!((code, calls.count(), Some(took)), (code::DEADLINE_EXCEEDED, 1, finding.time()));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_with_as_much_time_as_its_stage_is_never_tried_again() {
    let calls = Calls::default();
    let (finding, engine, p) = found_alone(Lint::AttemptOutlastsStage, |p| {
        let only = p.stage("only", calls.hanging()).retry(Retry::constant(Duration::ZERO));
        only.attempt_timeout(5.secs()).timeout(5.secs()).inputs(())
    });
    let (_, took) = fails(engine.run(&p, ())).await;
    assert_eq!((calls.count(), Some(took)), (1, finding.time()));
}

#[tokio::test(start_paused = true)]
async fn without_jitter_all_come_back_at_one_moment() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let began = Instant::now();
    let (finding, engine, p) = found_alone(Lint::SynchronisedRetries, |p| {
        p.on_failure(FailurePolicy::Continue);
        let stage = |_| {
            let times = Arc::clone(&times);
            stage_fn(move |_, (): ()| {
                times.lock().expect("no stage panics").push(began.elapsed());
                std::future::ready(StageResult::<u32>::Err(StageExit::retry("busy")))
            })
        };
        let all = p.parallel("s", 0..20, stage).retry(each_second(2)).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    report_of(engine.run(&p, ())).await;
    let times = times.lock().expect("no stage panics");
    let together = times.iter().filter(|time| Some(**time) == finding.time()).count();
    assert_eq!(Some(together as u64), finding.calls());
}

#[tokio::test(start_paused = true)]
async fn a_breaker_around_a_retry_opens_that_late() {
    let calls = Calls::default();
    let (finding, engine, p) = found_alone(Lint::BreakerOutsideRetry, |p| {
        let breaker = breaker().no_failure_rate().consecutive(5).build().expect("a breaker");
        let only = p.stage("only", calls.failing()).retry(each_second(3));
        only.intercept(Placed(breaker, Placement::Outside(Layer::Retry))).inputs(())
    });
    let mut runs = 0;
    while fails(engine.run(&p, ())).await.0 != code::BREAKER_OPEN {
        runs += 1;
        assert!(runs < 100, "it never opens");
    }
    assert_eq!((Some(calls.count()), runs), (finding.calls(), 5));
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_that_long_for_a_breaker() {
    let calls = Calls::default();
    let breaker = breaker().no_failure_rate().consecutive(1).open_for(2.mins()).build().expect("a breaker");
    let (finding, engine, p) = found_alone(Lint::LongWaitForBreaker, |p| {
        let only = p.stage("only", calls.failing()).retry(each_second(3));
        only.intercept(breaker).inputs(())
    });
    // The first attempt opens it.
    let (code, took) = fails(engine.run(&p, ())).await;
    // A delay of a second, the rest of the time, and the probe.
    assert_eq!((code, Some(took), calls.count()), (code::STAGE_FAILED, finding.time(), 2));
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_around_a_retry_keeps_its_place_that_long() {
    let limit = bulkhead(1).build().expect("a bulkhead");
    let calls = Calls::default();
    let (finding, engine, p) = found_alone(Lint::BulkheadOutsideRetry, |p| {
        let only = p.stage("only", calls.failing()).retry(each_second(3));
        only.intercept(Placed(limit.clone(), Placement::Outside(Layer::Retry))).inputs(())
    });
    let began = Instant::now();
    let run = engine.start(&p, ());
    idle().await;
    let _permit = limit.acquire(None).await.expect("the place is given back");
    assert_eq!(Some(began.elapsed()), finding.time());
    assert_eq!(Some(calls.count()), finding.calls());
    run.detach();
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_around_a_retry_charges_once() {
    let limit = quota(60, 10).build().expect("a quota");
    let calls = Calls::default();
    let (finding, engine, p) = found_alone(Lint::RateLimitOutsideRetry, |p| {
        let only = p.stage("only", calls.failing()).retry(Retry::constant(Duration::ZERO));
        only.intercept(Placed(limit.clone(), Placement::Outside(Layer::Retry))).inputs(())
    });
    fails(engine.run(&p, ())).await;
    let charged = 10 - limit.available(None, "requests").expect("a dimension");
    assert_eq!((charged, Some(calls.count())), (1, finding.amplification()));
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_around_itself_blocks_at_that_many_calls() {
    for (runs, blocks) in [(3, false), (4, true)] {
        let limit = bulkhead(4).build().expect("a bulkhead");
        let child = pipeline(|p| p.stage("only", gives(1)).intercept(limit.clone()).inputs(()));
        let (finding, engine, p) = found_alone(Lint::BulkheadAroundItself, |p| {
            let input = p.input();
            p.stage("outer", child).intercept(limit.clone()).inputs(input)
        });
        assert_eq!(finding.calls(), Some(4));
        // Others hold as many places as calls of the outer stage would.
        let held: Vec<_> = (1..runs).map(|_| limit.try_acquire(None).expect("there is room")).collect();
        let done = engine.run(&p, ()).deadline(5.secs()).await;
        assert_eq!(done.is_err(), blocks, "{runs} at a time");
        drop(held);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_there_twice_charges_twice() {
    let limit = quota(60, 10).build().expect("a quota");
    let (_, engine, p) = found(Engine::builder().interceptor(limit.clone()), Lint::ChargedTwice, |p| {
        p.stage("only", gives(1)).intercept(limit.clone()).inputs(())
    });
    engine.run(&p, ()).await.expect("there is room");
    assert_eq!(limit.available(None, "requests"), Some(8));
}

#[tokio::test(start_paused = true)]
async fn of_two_bulkheads_the_smaller_decides_and_places_of_the_larger_are_held() {
    let (outer, inner) =
        (bulkhead(20).build().expect("a bulkhead"), bulkhead(5).build().expect("a bulkhead"));
    let gauge = Gauge::default();
    let (finding, engine, p) = found_alone(Lint::LimitsInSeries, |p| {
        let all = p.parallel("s", 0..20, |_| gauge.stage(1.secs()));
        let all = all.intercept(outer.clone()).intercept(inner.clone()).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    let run = engine.start(&p, ());
    idle().await;
    assert_eq!((outer.in_flight(), inner.in_flight(), gauge.now()), (20, 5, 5));
    assert!(finding.message().contains("up to 15 hold"), "{finding}");
    run.await.expect("all get their turn");
    assert_eq!(Some(gauge.most() as u64), finding.calls());
}

#[tokio::test(start_paused = true)]
async fn below_the_limit_of_the_engine_places_are_held_as_well() {
    let limit = bulkhead(25).build().expect("a bulkhead");
    let gauge = Gauge::default();
    let (finding, engine, p) = found(Engine::builder().max_in_flight(10), Lint::LimitsInSeries, |p| {
        let all = p.parallel("s", 0..30, |_| gauge.stage(1.secs())).intercept(limit.clone()).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    let run = engine.start(&p, ());
    idle().await;
    assert_eq!((limit.in_flight(), gauge.now()), (25, 10));
    assert_eq!(finding.calls(), Some(10));
    run.await.expect("all get their turn");
}

#[tokio::test(start_paused = true)]
async fn a_wait_longer_than_the_stage_never_takes_effect() {
    let limit = bulkhead(1).queue_timeout(10.secs()).build().expect("a bulkhead");
    let (_, engine, p) = found_alone(Lint::WaitOutlastsStage, |p| {
        p.stage("only", gives(1)).intercept(limit.clone()).timeout(5.secs()).inputs(())
    });
    let _held = limit.try_acquire(None).expect("there is room");
    assert_eq!(fails(engine.run(&p, ())).await.1, 5.secs());
}

async fn refused(engine: &Engine, pipeline: &Pipeline<(), u32>, why: Code) -> u64 {
    let report = report_of(engine.run(pipeline, ())).await;
    report.failures().iter().filter(|failure| failure.code() == why).count() as u64
}

#[tokio::test(start_paused = true)]
async fn a_fan_without_room_is_refused_that_often() {
    let limit = bulkhead(10).max_queue(100).build().expect("a bulkhead");
    let (finding, engine, p) = found_alone(Lint::FanOverflowsQueue, |p| {
        p.on_failure(FailurePolicy::Continue);
        let gauge = Gauge::default();
        let all = p.parallel("s", 0..500, |_| gauge.stage(1.secs())).intercept(limit).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    assert_eq!(Some(refused(&engine, &p, code::BULKHEAD_FULL).await), finding.calls());
}

#[tokio::test(start_paused = true)]
async fn a_fan_above_its_quota_is_refused_that_often() {
    for (limit, burst, deadline) in [(60, 10, 60), (500, 3, 7), (7, 1, 100)] {
        let quota = quota(limit, burst).build().expect("a quota");
        let (finding, engine, p) = found_alone(Lint::FanOutlastsQuota, |p| {
            p.on_failure(FailurePolicy::Continue).deadline(deadline.secs());
            let all = p.parallel("s", 0..100, |_| gives(1)).intercept(quota).inputs(());
            p.stage("sum", sum()).inputs(all)
        });
        assert_eq!(Some(refused(&engine, &p, code::RATE_LIMITED).await), finding.calls(), "{limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_failure_answers_the_retries_around_it() {
    let calls = Calls::default();
    let once = Idempotency::new(InMemoryStore::new()).store_failures();
    let child = pipeline(|p| p.stage("only", calls.failing()).intercept(once).inputs(()));
    let (finding, engine, p) = found_alone(Lint::StoredFailureRetried, |p| {
        let input = p.input();
        p.stage("outer", child).retry(each_second(3)).inputs(input)
    });
    let (_, took) = fails(engine.run(&p, ()).extension(IdempotencyKey::new("order-17"))).await;
    assert_eq!((took, Some(calls.count())), (2.secs(), finding.calls()));
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_the_call_before_its_time() {
    let (finding, engine, p) = found_alone(Lint::LeaseTooShort, |p| {
        let once = Idempotency::new(InMemoryStore::new().lease(10.secs()));
        p.stage("only", never()).intercept(once).timeout(30.secs()).inputs(())
    });
    let (_, took) = fails(engine.run(&p, ()).extension(IdempotencyKey::new("order-17"))).await;
    assert_eq!((took, finding.time()), (10.secs(), Some(30.secs())));
}

#[tokio::test(start_paused = true)]
async fn a_fallback_inside_of_a_retry_leaves_nothing_to_retry() {
    let calls = Calls::default();
    let (finding, engine, p) = found_alone(Lint::FallbackInsideRetry, |p| {
        let fallback = Placed(Fallback::value(7_u32), Placement::Inside(Layer::Retry));
        p.stage("only", calls.failing()).retry(each_second(3)).intercept(fallback).inputs(())
    });
    assert_eq!(*engine.run(&p, ()).await.expect("the fallback answers").output(), 7);
    assert_eq!(Some(calls.count()), finding.calls());
}

#[tokio::test(start_paused = true)]
async fn what_stands_outside_of_authentication_answers_anybody() {
    let child = pipeline(|p| p.stage("only", gives(7)).intercept(auth()).inputs(()));
    let (_, engine, p) = found_alone(Lint::OutsideAuthentication, |p| {
        let input = p.input();
        p.stage("outer", child).intercept(Idempotency::new(InMemoryStore::new())).inputs(input)
    });
    let run = || engine.run(&p, ()).extension(IdempotencyKey::new("order-17"));
    assert_eq!(fails(run()).await.0, code::DENIED);
    run().extension(Credentials::api_key("k-1")).await.expect("the key is good");
    // Now nobody is asked who calls.
    assert_eq!(*run().await.expect("it is stored").output(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_path_longer_than_the_deadline_ends_with_it() {
    let build = |p: &mut Builder<()>| {
        let nap = Gauge::default().stage(8.secs());
        let first = p.stage("first", nap).timeout(9.secs()).inputs(());
        let nap = stage_fn(|_, n: Arc<u32>| async move {
            // sleeps: on paused time
            tokio::time::sleep(3.secs()).await;
            Ok(*n)
        });
        p.stage("last", nap).timeout(4.secs()).inputs(first)
    };
    let (finding, engine, p) = found_alone(Lint::PathOutlastsDeadline, |p| build(p.deadline(10.secs())));
    assert_eq!((finding.time(), finding.stages().len()), (Some(13.secs()), 2));
    let ended = fails(engine.run(&p, ())).await;
    assert_eq!(ended, (code::DEADLINE_EXCEEDED, 10.secs()));
    engine.run(&pipeline(build), ()).await.expect("no stage takes longer than it may");
}

/// One policy of many attempts, each of which takes all its time.
#[tokio::test(start_paused = true)]
async fn many_attempts_take_that_long() {
    let calls = Calls::default();
    let (finding, engine, p) = found_alone(Lint::ManyAttempts, |p| {
        p.stage("only", calls.hanging()).retry(each_second(40)).attempt_timeout(5.secs()).inputs(())
    });
    let (_, took) = fails(engine.run(&p, ())).await;
    assert_eq!((finding.calls(), finding.time()), (Some(calls.count()), Some(took)));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_deep_fails() {
    let innermost = pipeline(|p| p.stage("only", gives(7)).inputs(()));
    let inner = pipeline(|p| {
        let input = p.input();
        p.stage("inner", innermost).inputs(input)
    });
    let (_, engine, p) = found(Engine::builder().max_depth(1), Lint::TooDeep, |p| {
        let input = p.input();
        p.stage("outer", inner).inputs(input)
    });
    assert_eq!(fails(engine.run(&p, ())).await.0, code::MAX_DEPTH);
}
