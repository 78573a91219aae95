//! Nothing starts that cannot finish: the least time of stages and runs (rule S-15, M5).

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use stageflow::{
    Backoff, Call, Clock, Engine, ErrorClass, FailurePolicy, Interceptor, Layer, Next, NotBegun, Pipeline,
    Placement, RunOutcome, StageOutcome, Value, WaitReason, code,
    interceptors::{Bulkhead, CircuitBreaker, Fallback, RateLimiter, Retry},
    prelude::*,
};

use super::{
    child::parent_of,
    kit::{error_of, idle, naps, pipeline, recorded, report_of, solo},
};

/// A stage that counts its attempts and gives their number after `seconds`.
fn counted(attempts: &Arc<AtomicU32>, seconds: u64) -> impl Stage<Input = (), Output = u32> + use<> {
    let attempts = Arc::clone(attempts);
    stage_fn(move |_, (): ()| {
        attempts.fetch_add(1, Ordering::SeqCst);
        async move {
            // sleeps: on paused time
            tokio::time::sleep(seconds.secs()).await;
            Ok(1_u32)
        }
    })
}

/// Seven seconds, and then a stage that takes five at least.
fn late(attempts: &Arc<AtomicU32>) -> Pipeline<(), u32> {
    let attempts = Arc::clone(attempts);
    pipeline(move |p| {
        let first = p.stage("first", naps(7.secs(), 1)).inputs(());
        p.stage("late", counted(&attempts, 5)).min_time(5.secs()).after(first).inputs(())
    })
}

#[tokio::test(start_paused = true)]
async fn s_15_an_attempt_that_cannot_end_in_time_is_not_begun() {
    let attempts = Arc::default();
    let late = late(&attempts);
    let (engine, recorder) = recorded();
    let error = error_of(engine.run(&late, ()).deadline(11.secs())).await;
    let failure = error.failure().expect("a stage failed");
    assert_eq!((error.outcome(), failure.stage()), (Some(RunOutcome::Failed), "late"));
    assert_eq!((failure.code(), failure.class()), (code::DEADLINE_EXCEEDED, ErrorClass::Timeout));
    assert_eq!(failure.message(), "the attempt was not begun: it takes 5.0s at least, and 4.0s are left");
    assert!(failure.recoverable() && failure.hint().is_some_and(|hint| hint.contains("min_time")));
    let source = error.source().and_then(|failure| failure.source()).expect("the error itself");
    let not_begun = source.downcast_ref::<NotBegun>().expect("of that type");
    assert_eq!((not_begun.needed, not_begun.left), (5.secs(), 4.secs()));

    let report = error.report().expect("it ran");
    assert_eq!((report.duration(), report.stage("late").expect("it is there").attempts), (7.secs(), 0));
    assert!(!recorder.lines().contains(&"stage.started late".to_owned()), "{:?}", recorder.lines());
    assert_eq!(attempts.load(Ordering::SeqCst), 0);

    // Just enough is enough.
    let done = late.run(()).deadline(12_001.millis()).await.expect("there is time");
    assert_eq!((done.report().duration(), attempts.load(Ordering::SeqCst)), (12.secs(), 1));
    assert!(late.run(()).await.is_ok(), "without a deadline there is always time");
}

/// The timeout of the stage counts like the deadline, with whatever stands around the stage.
#[tokio::test(start_paused = true)]
async fn s_15_the_time_of_the_stage_counts_as_well() {
    let attempts = Arc::default();
    for wrapped in [false, true] {
        let asks = stage_fn({
            let attempts = Arc::<AtomicU32>::clone(&attempts);
            move |_, (): ()| {
                attempts.fetch_add(1, Ordering::SeqCst);
                async move {
                    // sleeps: on paused time
                    tokio::time::sleep(4.secs()).await;
                    Err::<u32, _>(StageExit::fail("busy").class(ErrorClass::Transient).after(2.secs()))
                }
            }
        });
        let tried = pipeline(|p| {
            if wrapped {
                p.max_in_flight(1);
            }
            let only = p.stage("only", asks).timeout(15.secs()).min_time(4.secs());
            only.retry(Retry::default().max_attempts(9)).inputs(())
        });
        attempts.store(0, Ordering::SeqCst);
        let error = error_of(tried.run(())).await;
        // At 4 s eleven are left, of which seven may be waited for; at 10 s five are left, and one.
        assert_eq!(
            (error.code(), error.report().expect("it ran").duration()),
            (code::STAGE_FAILED, 10.secs())
        );
        assert_eq!(attempts.load(Ordering::SeqCst), 2);
    }
}

/// The engine grants no retry either that could not end in time.
#[tokio::test(start_paused = true)]
async fn s_22_no_retry_is_granted_that_cannot_end_in_time() {
    let asks = || stage_fn(|_, (): ()| async { Err::<u32, _>(StageExit::retry("busy").after(6.secs())) });
    for (deadline, attempts) in [(10, 1), (11, 2), (17, 3)] {
        let asking = pipeline(|p| p.stage("only", asks()).min_time(4.secs()).inputs(()));
        let error = error_of(asking.run(()).deadline(deadline.secs())).await;
        assert_eq!(error.code(), code::RETRY_EXHAUSTED);
        let failure = error.failure().expect("it asked");
        assert_eq!((deadline, failure.attempts()), (deadline, attempts));
    }
    assert_eq!(Backoff::ATTEMPTS, 3);
}

/// With less time than the output takes at least, a run is refused: no stage, no event.
#[tokio::test(start_paused = true)]
async fn s_15_a_run_that_cannot_end_in_time_is_refused() {
    let attempts = Arc::default();
    let two = {
        let attempts = Arc::clone(&attempts);
        pipeline(move |p| {
            let one = p.stage("one", counted(&attempts, 1)).min_time(3.secs()).inputs(());
            p.stage("two", counted(&attempts, 1)).min_time(5.secs()).after(one).inputs(())
        })
    };
    assert_eq!(two.min_time(), 8.secs());
    let (engine, recorder) = recorded();
    let error = error_of(engine.run(&two, ()).deadline(7_999.millis())).await;
    assert_eq!((error.outcome(), error.code()), (None, code::DEADLINE_EXCEEDED));
    assert_eq!(
        error.to_string(),
        "`test` takes 8.0s at least, and has 7.9s: no stage was started [DEADLINE_EXCEEDED]"
    );
    assert!(error.report().is_none() && recorder.is_empty());
    let error = engine.start(&two, ());
    assert!(error.await.is_ok(), "it has all the time there is");
    assert!(engine.run(&two, ()).deadline(8.secs()).await.is_ok());
    assert_eq!(attempts.load(Ordering::SeqCst), 4);

    let mut p = Pipeline::builder("tight");
    p.deadline(7.secs());
    let one = p.stage("one", counted(&attempts, 1)).min_time(8.secs()).inputs(());
    let problem = p.build::<u32>(one).map(|pipeline: Pipeline<(), u32>| pipeline.to_tree()).unwrap_err();
    assert!(problem.has(code::INVALID_POLICY), "{problem}");
}

/// Who answers in place of a stage needs no attempt: nothing is refused that a fallback could save.
#[tokio::test(start_paused = true)]
async fn s_15_what_may_be_answered_is_not_refused() {
    struct Answers;
    impl Interceptor for Answers {
        async fn around(&self, _: &Call, _: Next<'_>) -> StageResult<Value> {
            Ok(Value::new(3_u32))
        }
    }

    let attempts = Arc::default();
    let slow = |fallback: bool| {
        let attempts = Arc::clone(&attempts);
        pipeline(move |p| {
            let only = p.stage("only", counted(&attempts, 9)).min_time(9.secs());
            let only = if fallback { only.intercept(Fallback::value(2_u32)) } else { only };
            only.retry(Retry::default()).inputs(())
        })
    };
    let with = slow(true);
    assert_eq!(with.min_time(), Duration::ZERO);
    let done = with.run(()).deadline(4.secs()).await.expect("the fallback answers");
    assert_eq!((*done.output(), done.report().duration()), (2, Duration::ZERO));

    let without = slow(false);
    assert_eq!(without.min_time(), 9.secs(), "a retry policy answers nothing");
    assert_eq!(error_of(without.run(()).deadline(4.secs())).await.outcome(), None);
    let engine = Engine::builder().interceptor(Answers).build().expect("an engine");
    for pipeline in [without.clone(), parent_of(without)] {
        let done = engine.run(&pipeline, ()).deadline(4.secs()).await.expect("the engine answers");
        assert_eq!(*done.output(), 3);
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 0);
}

/// A child run that could not give its output in what is left is not begun.
#[tokio::test(start_paused = true)]
async fn s_19_a_child_run_that_cannot_end_in_time_is_not_begun() {
    let attempts = Arc::default();
    let child = {
        let attempts = Arc::clone(&attempts);
        pipeline(move |p| {
            let one = p.stage("one", counted(&attempts, 1)).min_time(3.secs()).inputs(());
            p.stage("two", counted(&attempts, 1)).min_time(5.secs()).after(one).inputs(())
        })
    };
    for child in [child.clone(), parent_of(child)] {
        let parent = pipeline(|p| {
            p.on_failure(FailurePolicy::Continue);
            let input = p.input();
            let first = p.stage("first", naps(3.secs(), 1)).inputs(());
            p.stage("kid", child).after(first).inputs(input);
            first
        });
        assert_eq!(parent.min_time(), Duration::ZERO, "the output does not need it");
        let (engine, recorder) = recorded();
        let report = report_of(engine.run(&parent, ()).deadline(10.secs())).await;
        let kid = report.stage("kid").expect("it is there");
        let StageOutcome::Failed(failure) = &kid.outcome else { panic!("{:?}", kid.outcome) };
        assert_eq!(failure.message(), "the attempt was not begun: it takes 8.0s at least, and 7.0s are left");
        assert_eq!((kid.attempts, attempts.load(Ordering::SeqCst)), (0, 0));
        assert!(!recorder.lines().iter().any(|line| line.starts_with("pipeline.child_started")));
    }
}

/// A queue is left as soon as what is left after it would not do: permits of run and engine, bulkhead, rate limit, breaker.
#[tokio::test(start_paused = true)]
async fn s_15_nobody_waits_for_a_turn_that_would_come_too_late() {
    let attempts = Arc::default();
    let slow = |limited: bool| {
        let attempts = Arc::clone(&attempts);
        pipeline(move |p| {
            if limited {
                p.max_in_flight(1);
            }
            p.on_failure(FailurePolicy::Continue);
            let holds = p.stage("holds", naps(20.secs(), 1)).inputs(());
            p.stage("late", counted(&attempts, 4)).min_time(4.secs()).timeout(10.secs()).inputs(());
            holds
        })
    };
    let report = report_of(slow(true).run(())).await;
    let late = report.stage("late").expect("it is there");
    let StageOutcome::Failed(failure) = &late.outcome else { panic!("{:?}", late.outcome) };
    assert_eq!(failure.code(), code::DEADLINE_EXCEEDED, "{failure}");
    assert_eq!((late.attempts, late.ran, attempts.load(Ordering::SeqCst)), (0, None, 0));
    assert!(report_of(slow(false).run(())).await.failures().is_empty(), "without the limit there is time");
    assert_eq!(attempts.swap(0, Ordering::SeqCst), 1);

    // A place that is free after six seconds and a half: too late by half a second.
    let around = |interceptor: Box<dyn Fn(Limited<'_>) -> Port<u32>>| {
        let attempts = Arc::clone(&attempts);
        pipeline(move |p| interceptor(Limited(p, attempts)))
    };
    let bulkhead = Bulkhead::builder("db").max_concurrent(1).build().expect("a bulkhead");
    let place = bulkhead.try_acquire(None).expect("the only place");
    let stage = around(Box::new(move |it| it.with(bulkhead.clone())));
    let run = stage.start(());
    tokio::time::sleep(6_500.millis()).await;
    assert!(run.is_ended(), "it gave up after six");
    drop(place);
    assert_eq!(run.await.map(drop).expect_err("it was too late").code(), code::BULKHEAD_FULL);

    let limiter = RateLimiter::builder("api").dimension("calls", 1, 6.secs(), 1).build().expect("a limiter");
    drop(limiter.request().try_acquire().expect("the first is free"));
    let stage = around(Box::new(move |it| it.with(limiter.clone())));
    let error = error_of(stage.run(())).await;
    assert_eq!(
        (error.code(), error.report().expect("it ran").duration()),
        (code::RATE_LIMITED, Duration::ZERO)
    );

    let fails = || stage_fn(|_, (): ()| async { Err::<u32, _>(StageExit::fail("down")) });
    let breaker = CircuitBreaker::builder("api").consecutive(1).open_for(6.secs()).jitter(0.0);
    let breaker = breaker.wait_while_open(1.mins()).build().expect("a breaker");
    let opens = pipeline(|p| p.stage("opens", fails()).intercept(breaker.clone()).inputs(()));
    error_of(opens.run(())).await;
    let stage = around(Box::new(move |it| it.with(breaker.clone())));
    let error = error_of(stage.run(())).await;
    assert_eq!(
        (error.code(), error.report().expect("it ran").duration()),
        (code::BREAKER_OPEN, Duration::ZERO)
    );
    assert_eq!(attempts.load(Ordering::SeqCst), 0);
}

struct Limited<'a>(&'a mut stageflow::Builder<()>, Arc<AtomicU32>);

impl Limited<'_> {
    fn with(self, interceptor: impl Interceptor) -> Port<u32> {
        let late = self.0.stage("late", counted(&self.1, 4)).min_time(4.secs()).timeout(10.secs());
        late.intercept(interceptor).inputs(())
    }
}

/// A place at [`Layer::Trace`] that says how many attempts there were.
struct Counts(Arc<AtomicU32>);

impl Interceptor for Counts {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let done = next.run().await;
        self.0.store(call.attempts(), Ordering::SeqCst);
        done
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Trace)
    }
}

/// What was not begun is no attempt: breakers and limits do not count it.
#[tokio::test(start_paused = true)]
async fn what_was_not_begun_counts_for_nothing() {
    for limited in [false, true] {
        let (attempts, seen) = (Arc::default(), Arc::new(AtomicU32::new(99)));
        let slow = pipeline(|p| {
            if limited {
                p.max_in_flight(1);
            }
            let first = p.stage("first", naps(3.secs(), 1)).inputs(());
            let second = p.stage("second", naps(5.secs(), 1)).after(first).inputs(());
            let late = p.stage("late", counted(&attempts, 4)).min_time(4.secs()).after(first);
            let late = late.intercept(Counts(Arc::clone(&seen))).inputs(());
            p.stage("end", stage_fn(|_, (_, _): (Arc<u32>, Arc<u32>)| async { Ok(1_u32) }))
                .inputs((late, second))
        });
        let deadline = if limited { 10.secs() } else { 6.secs() };
        let report = report_of(slow.run(()).deadline(deadline)).await;
        assert_eq!(report.cause().expect("it was not begun").code(), code::DEADLINE_EXCEEDED);
        assert_eq!((seen.load(Ordering::SeqCst), attempts.load(Ordering::SeqCst)), (0, 0), "{limited}");
    }
}

/// A retry that becomes due at the deadline is no attempt: the run is what has timed out.
#[tokio::test(start_paused = true)]
async fn at_the_deadline_nothing_begins_and_the_run_has_timed_out() {
    struct Sleeps;
    impl Interceptor for Sleeps {
        async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
            // sleeps: on paused time
            tokio::time::sleep(10.secs()).await;
            next.run().await
        }
    }
    let attempts = Arc::default();
    for (own, expected) in [(None, code::DEADLINE_EXCEEDED), (Some(5.secs()), code::STAGE_TIMEOUT)] {
        let late =
            pipeline(|p| p.stage("late", counted(&attempts, 0)).timeout(own).intercept(Sleeps).inputs(()));
        let error = error_of(late.run(()).deadline(10.secs())).await;
        assert_eq!((error.code(), attempts.load(Ordering::SeqCst)), (expected, 0));
    }
}

/// The time of a stage runs while it waits for its permit, also when the engine has granted it another attempt.
#[tokio::test(start_paused = true)]
async fn s_15_waiting_for_a_permit_counts_for_the_time_of_the_stage() {
    let asks = stage_fn(|ctx: StageContext, (): ()| async move {
        // sleeps: on paused time
        tokio::time::sleep(1.secs()).await;
        if ctx.attempt() == 1 { Err(StageExit::retry("busy").after(500.millis())) } else { Ok(ctx.attempt()) }
    });
    let limited = pipeline(|p| {
        p.max_in_flight(1);
        let holds = p.stage("holds", naps(8.secs(), 1)).inputs(());
        p.stage("only", asks).timeout(10.secs()).inputs(());
        holds
    });
    let error = error_of(limited.run(())).await;
    assert_eq!((error.code(), error.report().expect("it ran").duration()), (code::STAGE_TIMEOUT, 10.secs()));
}

/// A clock that goes when it is told to.
#[derive(Clone, Default)]
struct Told(Arc<AtomicU64>);

impl Clock for Told {
    fn monotonic_nanos(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Computes for ten seconds before it lets a call through.
impl Interceptor for Told {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        self.0.fetch_add(10_000_000_000, Ordering::SeqCst);
        next.run().await
    }
}

/// Nobody has looked at the clock since an interceptor came to compute: the attempt does.
#[tokio::test(start_paused = true)]
async fn s_15_the_deadline_may_pass_without_an_await() {
    let attempts = Arc::default();
    for (own, outcome, expected) in [
        (None, RunOutcome::TimedOut, code::DEADLINE_EXCEEDED),
        (Some(5.secs()), RunOutcome::Failed, code::STAGE_TIMEOUT),
    ] {
        let clock = Told::default();
        let engine = Engine::builder().clock(clock.clone()).build().expect("an engine");
        let late = pipeline(|p| {
            p.stage("late", counted(&attempts, 0)).timeout(own).intercept(clock.clone()).inputs(())
        });
        let deadline = if own.is_some() { 20.secs() } else { 10.secs() };
        let error = error_of(engine.run(&late, ()).deadline(deadline)).await;
        assert_eq!((error.outcome(), error.code()), (Some(outcome), expected));
        assert_eq!(attempts.load(Ordering::SeqCst), 0);
    }
}

/// While it waits for its permit, `explain` says so; the timer of the least time wakes nobody else.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_permit_with_a_least_time_says_so() {
    let engine = Engine::builder().max_in_flight(1).build().expect("an engine");
    let holder = engine.start(&solo(naps(3.secs(), 1)), ());
    idle().await;
    let waits = pipeline(|p| p.stage("only", naps(1.secs(), 2)).min_time(1.secs()).inputs(()));
    let run = engine.run(&waits, ()).deadline(9.secs()).start();
    idle().await;
    let explained = run.explain().expect("it was let in");
    assert_eq!(explained.reason("only"), Some(&WaitReason::Permit { limit: "engine", key: None }));
    assert_eq!(*run.await.expect("there is time").output(), 2);
    holder.await.expect("it ends");
}
