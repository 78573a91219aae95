//! A stage that asks for another attempt, without a policy around it (rule S-22).

use std::sync::{Arc, Mutex};

use stageflow::{Code, Engine, Keep, Pipeline, RunOutcome, code, prelude::*};
use tokio::time::Instant;

use super::{
    kit::{Log, error_of, logging, pipeline, recorded, solo},
    regressions::Count,
};

/// Asks `asks` times, each time for a second, and then gives the number of its attempt.
fn asking(asks: u32) -> impl Stage<Input = (), Output = u32> {
    stage_fn(move |ctx: StageContext, (): ()| async move {
        if ctx.attempt() <= asks {
            return Err(StageExit::retry("busy").after(1.secs()));
        }
        Ok(ctx.attempt())
    })
}

async fn code_and_attempts(pipeline: &Pipeline<(), u32>) -> (Code, u32) {
    let error = error_of(pipeline.run(())).await;
    (error.code(), error.failure().expect("of the stage").attempts())
}

#[tokio::test(start_paused = true)]
async fn s_22_a_request_is_granted_twice() {
    for seed in [None, Some(7)] {
        let (engine, recorder) = recorded();
        let engine = match seed {
            Some(seed) => Engine::builder().sink(recorder.clone()).seed(seed).build().expect("an engine"),
            None => engine,
        };
        let began = Instant::now();
        let run = engine.run(&solo(asking(2)), ()).await.expect("it is granted");
        assert_eq!((*run.output(), began.elapsed()), (3, 2.secs()));
        assert_eq!(run.report().stage("only").expect("the stage").attempts, 3);
        let again = ["stage.retry_scheduled only", "stage.started only"];
        assert_eq!(recorder.lines()[1], "stage.started only");
        assert_eq!(recorder.lines()[2..4], again);
        assert_eq!(recorder.lines()[4..6], again);
        assert_eq!(recorder.events()[5].attempt(), Some(3));
    }
    assert_eq!(code_and_attempts(&solo(asking(3))).await, (code::RETRY_EXHAUSTED, 3));
}

#[tokio::test(start_paused = true)]
async fn s_22_while_it_waits_it_says_so_and_can_be_cancelled() {
    let run = solo(asking(2)).start(());
    tokio::time::sleep(500.millis()).await;
    let waits = run.explain().expect("it was let in").to_string();
    assert!(waits.contains("backs off for 500ms before attempt 2 (busy)"), "{waits}");
    run.cancel("enough");
    let error = run.await.map(drop).expect_err("it is cancelled");
    let report = error.report().expect("it ran");
    assert_eq!(
        (error.outcome(), report.stage("only").expect("the stage").attempts),
        (Some(RunOutcome::Cancelled), 1)
    );
}

/// The timeout of a stage is for all attempts together, that of an attempt for each.
#[tokio::test(start_paused = true)]
async fn s_22_the_time_of_the_stage_goes_on() {
    let slow = || {
        stage_fn(|ctx: StageContext, (): ()| async move {
            tokio::time::sleep(2.secs()).await;
            if ctx.attempt() < 3 { Err(StageExit::retry("busy").after(1.secs())) } else { Ok(3_u32) }
        })
    };
    let limited = |timeout: u64| pipeline(|p| p.stage("only", slow()).timeout(timeout.secs()).inputs(()));
    assert!(limited(9).run(()).await.is_ok());
    let began = Instant::now();
    assert_eq!(code_and_attempts(&limited(7)).await, (code::STAGE_TIMEOUT, 3));
    assert_eq!(began.elapsed(), 7.secs());
    let began = Instant::now();
    assert_eq!(
        code_and_attempts(&limited(3)).await,
        (code::RETRY_EXHAUSTED, 1),
        "there is no time for another"
    );
    assert_eq!(began.elapsed(), 2.secs());
    let each = pipeline(|p| p.stage("only", slow()).attempt_timeout(3.secs()).inputs(()));
    assert!(each.run(()).await.is_ok(), "no attempt takes three seconds");
}

/// Interceptors see a call that is made again from the outside; limits are taken for each attempt, and not while it waits.
#[tokio::test(start_paused = true)]
async fn s_22_interceptors_and_limits_stand_around_each_attempt() {
    let count = Arc::new(Mutex::new(0));
    let engine =
        Engine::builder().interceptor(Count(Arc::clone(&count))).max_in_flight(1).build().expect("an engine");
    let one = engine.start(&solo(asking(2)), ());
    let began = Instant::now();
    let beside = solo(stage_fn(|_, (): ()| async { Ok(1_u32) }));
    engine.run(&beside, ()).await.expect("nobody holds the permit");
    assert!(began.elapsed() < 1.secs());
    assert_eq!(*one.await.expect("it is granted").output(), 3);
    assert_eq!(*count.lock().expect("it does not panic"), 4);
}

/// What a stage owns cannot be read again: then only a policy, which keeps it, can try again.
#[tokio::test(start_paused = true)]
async fn s_22_inputs_that_are_gone_are_said_to_be() {
    let log = Log::default();
    let source = logging::<u32, _>(&log, |_, _| async { Ok(1) });
    let owns = |ctx: StageContext, n: Owned<u32>| async move {
        if ctx.attempt() < 2 { Err(StageExit::retry("busy").after(1.secs())) } else { Ok(n.0) }
    };
    let owned = pipeline(|p| {
        let source = p.stage("source", source).inputs(());
        p.stage("owns", stage_fn(owns)).inputs(source)
    });
    let error = error_of(owned.run(())).await;
    let failure = error.failure().expect("of the stage");
    assert_eq!((failure.code(), failure.attempts()), (code::RETRY_UNAVAILABLE, 1));
    assert!(failure.hint().is_some_and(|hint| hint.contains("attach a retry policy")));

    let shares = |ctx: StageContext, n: Arc<u32>| async move {
        if ctx.attempt() < 2 { Err(StageExit::retry("busy").after(1.secs())) } else { Ok(*n) }
    };
    let shared = pipeline(|p| {
        let input = p.stage("source", stage_fn(|_, (): ()| async { Ok(5_u32) })).inputs(());
        p.stage("shares", stage_fn(shares)).inputs(input)
    });
    assert_eq!(*shared.run(()).await.expect("it is granted").output(), 5);
    let error = error_of(shared.run(()).keep(Keep::Output)).await;
    assert_eq!(error.code(), code::RETRY_UNAVAILABLE, "nobody has kept the input");
}
