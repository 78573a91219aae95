//! Retries within running pipelines, in virtual time (rules S-22 … S-24).

mod edges;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stageflow_core::{
    Budget, ClassifyExt as _, DurationExt as _, ErrorClass, EventKind, Jitter, Owned, Recorder, StageContext,
    StageExit, StageResult, code, stage_fn,
};
use stageflow_dag::Pipeline;
use stageflow_exec::{Completed, Engine, PipelineExt as _, RunError};

use super::{Decision, Retry, RetryBudget, State};

/// What the attempts of a stage give, the last of them again and again.
type Script = fn(u32) -> StageResult<u32>;

fn pipeline(retry: Retry, script: Script) -> Pipeline<(), u32> {
    let mut p = Pipeline::builder::<()>("one");
    let stage = stage_fn(move |ctx: StageContext, (): ()| async move { script(ctx.attempt()) });
    let one = p.stage("one", stage).retry(retry).inputs(());
    p.build(one).expect("a pipeline")
}

fn attempts(result: &Result<Completed<u32>, RunError>) -> u32 {
    let report = match result {
        Ok(done) => done.report(),
        Err(error) => error.report().expect("it ran"),
    };
    report.stage("one").expect("the stage").attempts
}

fn flaky(attempt: u32) -> StageResult<u32> {
    if attempt < 3 { Err("reset").transient() } else { Ok(attempt) }
}

#[tokio::test(start_paused = true)]
async fn s_22_delays_add_up_and_the_attempts_are_counted() {
    let began = tokio::time::Instant::now();
    let run = pipeline(Retry::exponential(200.millis()).no_jitter(), flaky).run(()).await;
    assert_eq!((run.as_ref().map(|done| *done.output()).ok(), attempts(&run)), (Some(3), 3));
    assert_eq!(began.elapsed(), 600.millis());
}

#[tokio::test(start_paused = true)]
async fn s_22_what_must_not_be_tried_again_never_is() {
    let greedy = || {
        let all = [ErrorClass::Permanent, ErrorClass::Invalid, ErrorClass::Denied, ErrorClass::Panic];
        Retry::exponential(1.millis()).on(all).retry_if(|_| true)
    };
    let scripts: [Script; 6] = [
        |_| Err("no").permanent(),
        |_| Err("no").invalid(),
        |_| Err(StageExit::deny("no")),
        |_| Err(StageExit::skip("no")),
        |_| Err(StageExit::cancel("no")),
        |_| panic!("no (on purpose)"),
    ];
    for (index, script) in scripts.into_iter().enumerate() {
        assert_eq!(attempts(&pipeline(greedy(), script).run(()).await), 1, "script {index}");
    }
}

#[tokio::test(start_paused = true)]
async fn s_22_failures_are_tried_again_by_class_or_by_predicate() {
    let unclassified: Script = |attempt| if attempt < 2 { Err("odd".into()) } else { Ok(1) };
    assert_eq!(attempts(&pipeline(Retry::default(), unclassified).run(()).await), 1);
    let by_class = Retry::default().on([ErrorClass::Unclassified]);
    assert_eq!(attempts(&pipeline(by_class, unclassified).run(()).await), 2);
    let by_predicate = Retry::default().retry_if(|exit| exit.to_string().contains("odd"));
    assert_eq!(attempts(&pipeline(by_predicate, unclassified).run(()).await), 2);
    let none = Retry::default().on([]);
    assert_eq!(attempts(&pipeline(none, flaky).run(()).await), 1);
}

#[tokio::test(start_paused = true)]
async fn s_22_a_request_for_a_retry_is_granted_and_its_hint_is_kept() {
    let script: Script =
        |attempt| if attempt < 3 { Err(StageExit::retry("busy").after(7.secs())) } else { Ok(attempt) };
    let began = tokio::time::Instant::now();
    assert_eq!(attempts(&pipeline(Retry::default().on([]), script).run(()).await), 3);
    assert_eq!(began.elapsed(), 14.secs());

    let long: Script =
        |attempt| if attempt < 2 { Err(StageExit::retry("busy").after(Duration::MAX)) } else { Ok(1) };
    let began = tokio::time::Instant::now();
    assert_eq!(attempts(&pipeline(Retry::default().hint_max(5.secs()), long).run(()).await), 2);
    assert_eq!(began.elapsed(), 5.secs(), "cut");
}

#[tokio::test(start_paused = true)]
async fn the_last_error_tells_of_the_first() {
    let script: Script = |attempt| match attempt {
        1 => Err("a broken pipe").transient(),
        _ => Err(StageExit::fail("no route").class(ErrorClass::Transient).code(code::INTERNAL).hint("dig")),
    };
    let error = pipeline(Retry::default(), script).run(()).await.map(drop).expect_err("it fails");
    let failure = error.failure().expect("of the stage");
    assert_eq!((failure.code(), failure.attempts(), failure.hint()), (code::INTERNAL, 3, Some("dig")));
    assert_eq!(failure.message(), "no route (attempt 3; the first failed: a broken pipe)");

    let asks: Script = |_| Err(StageExit::retry("busy"));
    let error = pipeline(Retry::default(), asks).run(()).await.map(drop).expect_err("it fails");
    let failure = error.failure().expect("of the stage");
    assert_eq!((failure.code(), failure.message()), (code::RETRY_EXHAUSTED, "busy (attempt 3)".to_owned()));
    assert_eq!(failure.class(), ErrorClass::Transient);
}

#[tokio::test(start_paused = true)]
async fn each_retry_is_an_event_and_can_be_seen_while_it_waits() {
    let recorder = Recorder::new();
    let retry = Retry::exponential(10.secs()).no_jitter();
    let engine = Engine::builder().sink(recorder.clone()).build().expect("an engine");
    let run = engine.start(&pipeline(retry, flaky), ());
    tokio::time::sleep(1.secs()).await;
    let waits = run.explain().expect("it was let in").to_string();
    assert!(waits.contains("backs off for 9.0s before attempt 2 (failed: reset)"), "{waits}");
    run.await.expect("it recovers");
    let lines = [
        "pipeline.started",
        "stage.started one",
        "stage.retry_scheduled one",
        "stage.started one",
        "stage.retry_scheduled one",
        "stage.started one",
        "stage.retry_recovered one",
        "stage.waited one",
        "stage.completed one",
        "budget.spent",
        "pipeline.completed",
    ];
    assert_eq!(recorder.lines(), lines);
    let EventKind::Custom(scheduled) = recorder.events()[4].kind().clone() else { panic!("an own event") };
    assert_eq!(scheduled.field("delay_ms"), Some(&"20000".into()));
    assert_eq!(scheduled.field("reason"), Some(&"failed: reset".into()));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_again_that_could_not_end_in_time() {
    let busy: Script = |_| Err("busy").transient();
    let began = tokio::time::Instant::now();
    let forever = || Retry::constant(3.secs()).no_jitter().max_attempts(u32::MAX);
    let run = pipeline(forever(), busy).run(()).deadline(10.secs()).await;
    assert_eq!((attempts(&run), began.elapsed()), (4, 9.secs()));
    let error = run.map(drop).expect_err("it fails");
    let failure = error.failure().expect("its own error, not the deadline's");
    assert_eq!(failure.message(), "busy (attempt 4)");

    let began = tokio::time::Instant::now();
    assert_eq!(attempts(&pipeline(forever().max_elapsed(7.secs()), busy).run(()).await), 3);
    assert_eq!(began.elapsed(), 6.secs());
}

#[tokio::test(start_paused = true)]
async fn s_24_an_empty_budget_ends_the_retries_of_all_who_share_it() {
    let budget = RetryBudget::new(0.1, 4);
    let calls = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&calls);
    let mut p = Pipeline::builder::<()>("scatter");
    p.on_failure(stageflow_core::FailurePolicy::Continue);
    p.retry(Retry::exponential(10.millis()).max_attempts(50).budget(&budget));
    let parts = p.parallel("part", 0..32, move |_| {
        let calls = Arc::clone(&seen);
        stage_fn(move |_: StageContext, (): ()| {
            calls.fetch_add(1, Ordering::Relaxed);
            async move { StageResult::<u32>::Err(StageExit::fail("down").class(ErrorClass::Transient)) }
        })
    });
    let parts = parts.inputs(());
    let all = Budget::new().unlimited_retries();
    p.build(parts[0]).expect("a pipeline").run(()).budget(all).await.map(drop).expect_err("all are down");
    // 32 calls, 4 in reserve, and a tenth of a retry earned by each of 32.
    assert_eq!((calls.load(Ordering::Relaxed), budget.left()), (32 + 4 + 3, 0));
}

#[tokio::test(start_paused = true)]
async fn every_attempt_gets_inputs_it_owns() {
    let mut p = Pipeline::builder("owned");
    let input = p.input();
    let stage = stage_fn(|ctx: StageContext, mut words: Owned<Vec<String>>| async move {
        words.0.push(ctx.attempt().to_string());
        if ctx.attempt() < 3 {
            return Err("again").transient();
        }
        Ok(words.0.join(" "))
    });
    let joined = p.stage("join", stage).retry(Retry::default()).inputs(input);
    let pipeline = p.build(joined).expect("a pipeline");
    assert_eq!(pipeline.run(vec!["a".to_owned()]).await.expect("it recovers").output(), "a 3");
}

/// S-23: decorrelated delays grow out of each other, one in each call.
#[tokio::test(start_paused = true)]
async fn decorrelated_delays_grow_out_of_each_other() {
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).seed(3).build().expect("an engine");
    let retry = Retry::exponential(100.millis()).jitter(Jitter::Decorrelated).max_attempts(40);
    let busy: Script = |_| Err("busy").transient();
    let all = Budget::new().unlimited_retries();
    engine.run(&pipeline(retry, busy), ()).budget(all).await.map(drop).expect_err("it fails");
    let delays: Vec<u64> = recorder
        .events()
        .iter()
        .filter_map(|event| match event.kind() {
            EventKind::Custom(event) => event.field("delay_ms")?.to_string().trim_matches('"').parse().ok(),
            _ => None,
        })
        .collect();
    assert_eq!(delays.len(), 39);
    assert!(
        delays.windows(2).all(|pair| (100..=30_000.min(3 * pair[0] + 3)).contains(&pair[1])),
        "{delays:?}"
    );
    assert!(delays.iter().any(|delay| *delay > 2_000), "{delays:?}");
}

/// W9 … W12: state belongs to the call. Runs at the same time, and calls after a failure, begin anew.
#[tokio::test(start_paused = true)]
async fn calls_know_nothing_of_each_other() {
    let pipeline = pipeline(Retry::exponential(1.secs()).no_jitter(), flaky);
    let began = tokio::time::Instant::now();
    let runs: Vec<_> = (0..50).map(|_| pipeline.start(())).collect();
    for run in runs {
        assert_eq!(*run.await.expect("it recovers").output(), 3);
    }
    assert_eq!(began.elapsed(), 3.secs());
    pipeline.run(()).await.expect("it recovers");
    assert_eq!(began.elapsed(), 6.secs());
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_ends_the_waiting() {
    let run = pipeline(Retry::constant(3_600.secs()).cap(3_600.secs()).no_jitter(), flaky).start(());
    tokio::time::sleep(1.secs()).await;
    let began = tokio::time::Instant::now();
    run.cancel("enough");
    let run = run.await;
    assert_eq!((attempts(&run), began.elapsed()), (1, Duration::ZERO));
}

#[test]
fn hostile_parameters_are_harmless() {
    let exit = || StageExit::fail("x").class(ErrorClass::Transient);
    let state = |attempts| State {
        take_retry: &|| true,
        attempts,
        previous: Duration::MAX,
        elapsed: Duration::MAX,
        slack: None,
    };
    let retry = Retry::exponential(Duration::MAX).factor(f64::INFINITY).cap(Duration::MAX);
    for jitter in [Jitter::None, Jitter::Full, Jitter::Decorrelated, Jitter::Proportional(f64::NAN)] {
        let retry = retry.clone().jitter(jitter).max_attempts(u32::MAX);
        assert!(matches!(retry.decide(&exit(), &state(u32::MAX - 1), u64::MAX), Decision::Retry(_)));
        assert_eq!(retry.decide(&exit(), &state(u32::MAX), 0), Decision::GiveUp("max_attempts"));
    }
    assert_eq!(
        Retry::default().max_attempts(0).decide(&exit(), &state(1), 0),
        Decision::GiveUp("max_attempts")
    );
    for (ratio, reserve) in [(f64::NAN, 0), (-1.0, 0), (f64::INFINITY, u32::MAX)] {
        let budget = RetryBudget::new(ratio, reserve);
        (0..3).for_each(|_| budget.deposit());
        assert_eq!(budget.withdraw(), ratio > 0.0);
    }
}

#[test]
fn s_24_the_account_is_right_under_threads() {
    let budget = RetryBudget::new(0.25, 100);
    let taken: u32 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let work = |_| {
                        budget.deposit();
                        u32::from(budget.withdraw())
                    };
                    (0..10_000).map(work).sum::<u32>()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).sum()
    });
    // 40,000 calls earned 10,000 retries beside the 100; none is lost and none is given twice.
    assert_eq!(u64::from(taken) + budget.left(), 10_100);
}

/// S-24: retries around retries, in a child run of a child run, draw on the one account of the run.
#[tokio::test(start_paused = true)]
async fn s_24_the_budget_of_a_run_is_that_of_its_child_runs() {
    let calls = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&calls);
    let mut p = Pipeline::builder("inner");
    let input = p.input();
    let stage = stage_fn(move |_: StageContext, _: Arc<u32>| {
        seen.fetch_add(1, Ordering::Relaxed);
        async { StageResult::<u32>::Err(StageExit::fail("down").class(ErrorClass::Transient)) }
    });
    let call = p.stage("call", stage).retry(Retry::exponential(1.millis()).max_attempts(10)).inputs(input);
    let mut nested = p.build(call).expect("a pipeline");
    for name in ["middle", "outer"] {
        let mut p = Pipeline::builder(name);
        let input = p.input();
        let retry = Retry::exponential(1.millis()).max_attempts(10);
        let child = p.stage("child", nested).retry(retry).inputs(input);
        nested = p.build(child).expect("a pipeline");
    }
    let all = Budget::new().unlimited_retries();
    nested.run(1).budget(all).await.map(drop).expect_err("it is down");
    assert_eq!(calls.swap(0, Ordering::Relaxed), 1_000, "ten times ten times ten");

    let error = nested.run(1).await.map(drop).expect_err("it is down");
    let budget = error.report().and_then(|report| report.budget()).expect("it was used");
    // Nine by the innermost policy, and then the tenth is for the child run that is made again, whose stage has none.
    assert_eq!((calls.load(Ordering::Relaxed), budget.retries, budget.retry_limit), (10, 10, Some(10)));
    assert_eq!(error.code(), code::BUDGET_EXHAUSTED);
}

/// S-24: of the account of the run and that of the dependency both pay, or neither does.
#[tokio::test(start_paused = true)]
async fn s_24_the_run_and_the_dependency_pay_both_or_neither() {
    let busy: Script = |_| Err("busy").transient();
    for (of_run, of_dependency) in [(2, 5), (5, 2), (0, 3), (3, 0)] {
        let dependency = RetryBudget::new(0.0, of_dependency);
        let recorder = Recorder::new();
        let engine = Engine::builder().sink(recorder.clone()).build().expect("an engine");
        let retry = Retry::exponential(1.millis()).max_attempts(50).budget(&dependency);
        let run = engine.run(&pipeline(retry, busy), ()).budget(Budget::new().retries(0.0, of_run)).await;
        let least = of_run.min(of_dependency);
        assert_eq!(attempts(&run), 1 + least);
        assert_eq!(dependency.left(), u64::from(of_dependency - least));
        let error = run.map(drop).expect_err("it fails");
        let used = error.report().and_then(|report| report.budget()).map_or(0, |budget| budget.retries);
        assert_eq!(used, u64::from(least));
        let because: Vec<_> = recorder
            .events()
            .iter()
            .filter_map(|event| match event.kind() {
                EventKind::Custom(event) => event.field("because").cloned(),
                _ => None,
            })
            .collect();
        assert_eq!(because, ["budget".into()]);
    }
}
