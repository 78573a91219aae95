//! Idle timeouts: attempts that show no progress (rule S-15).

use std::{
    sync::{Mutex, mpsc},
    time::Duration,
};

use stageflow::{
    ErrorClass, Pipeline, RunReport, code,
    interceptors::{Bulkhead, Retry},
    prelude::*,
};
use tokio::{sync::oneshot, time::sleep};

use super::{
    child::parent_of,
    kit::{error_of, idle, naps, never, pipeline, report_of, solo},
};

/// Shows progress after each of these seconds, and then says no more.
fn shows(seconds: &'static [u64], sign: fn(&StageContext)) -> impl Stage<Input = (), Output = u32> + use<> {
    stage_fn(move |ctx: StageContext, (): ()| async move {
        for seconds in seconds {
            // sleeps: on paused time
            sleep(Duration::from_secs(*seconds)).await;
            sign(&ctx);
        }
        std::future::pending().await
    })
}

fn watched<S: Stage<Input = (), Output = u32>>(stage: S, limited: bool) -> Pipeline<(), u32> {
    pipeline(|p| {
        if limited {
            p.max_in_flight(1);
        }
        p.stage("only", stage).idle_timeout(5.secs()).inputs(())
    })
}

async fn ends_after(pipeline: &Pipeline<(), u32>) -> (Duration, String) {
    let error = error_of(pipeline.run(())).await;
    let failure = error.failure().expect("a stage failed");
    assert_eq!((failure.code(), failure.class()), (code::IDLE_TIMEOUT, ErrorClass::Timeout));
    (error.report().expect("it ran").duration(), failure.message().clone())
}

#[tokio::test(start_paused = true)]
async fn s_15_an_attempt_without_progress_ends_as_idle() {
    for limited in [false, true] {
        let (after, message) = ends_after(&watched(never(), limited)).await;
        assert_eq!(after, 5.secs());
        let expected = "the attempt has shown no progress for 5.0s, and may be idle for 5.0s: the last sign was its start";
        assert_eq!(message, expected);
    }
}

/// Whoever gets on may take as long as it likes; the time is counted from the last sign, to the moment.
#[tokio::test(start_paused = true)]
async fn s_15_each_sign_of_progress_begins_the_idle_time_anew() {
    for limited in [false, true] {
        let called = shows(&[4, 4, 4, 3], StageContext::progress);
        let (after, message) = ends_after(&watched(called, limited)).await;
        assert_eq!(after, 20.secs());
        assert!(message.ends_with("the last sign was its call of `progress`"), "{message}");

        let emitted = shows(&[3, 3], |ctx| ctx.emit("page", [("n", 1)]));
        let (after, message) = ends_after(&watched(emitted, limited)).await;
        assert_eq!(after, 11.secs());
        assert!(message.ends_with("the last sign was an event of its own"), "{message}");
    }
}

/// A stage without an idle timeout may be as idle as it likes, and may say that it gets on.
#[tokio::test(start_paused = true)]
async fn progress_means_nothing_without_an_idle_timeout() {
    let beside = pipeline(|p| {
        let one = p.stage("one", shows(&[1], StageContext::progress)).timeout(30.secs()).inputs(());
        p.stage("two", naps(4.secs(), 1)).idle_timeout(5.secs()).inputs(());
        one
    });
    let error = error_of(beside.run(())).await;
    assert_eq!((error.code(), error.report().expect("it ran").duration()), (code::STAGE_TIMEOUT, 30.secs()));
}

/// Waiting for a permit, for a place and for the next attempt is no idleness: the first sign is the start of the attempt.
#[tokio::test(start_paused = true)]
async fn s_15_waiting_for_a_turn_is_not_idle() {
    let permits = pipeline(|p| {
        p.max_in_flight(1);
        p.stage("first", naps(20.secs(), 1)).inputs(());
        p.stage("second", naps(4.secs(), 2)).idle_timeout(5.secs()).inputs(())
    });
    assert_eq!(permits.run(()).await.expect("nobody is idle").report().duration(), 24.secs());

    let bulkhead = Bulkhead::builder("db").max_concurrent(1).build().expect("a bulkhead");
    let taken = bulkhead.try_acquire(None).expect("the only place");
    let waits = pipeline(|p| {
        p.stage("only", naps(4.secs(), 2)).idle_timeout(5.secs()).intercept(bulkhead.clone()).inputs(())
    });
    let run = waits.start(());
    sleep(20.secs()).await;
    drop(taken);
    assert_eq!(run.await.expect("nobody is idle").report().duration(), 24.secs());

    let backs_off = pipeline(|p| {
        let asks = stage_fn(|ctx: StageContext, (): ()| async move {
            if ctx.attempt() < 2 { Err(StageExit::retry("busy").after(20.secs())) } else { Ok(ctx.attempt()) }
        });
        p.stage("only", asks).idle_timeout(5.secs()).inputs(())
    });
    assert_eq!(*backs_off.run(()).await.expect("nobody is idle").output(), 2);
}

/// An idle attempt is a timeout: a policy tries again, and each attempt has the idle time anew.
#[tokio::test(start_paused = true)]
async fn s_22_an_idle_attempt_is_tried_again() {
    let hangs_once = stage_fn(|ctx: StageContext, (): ()| async move {
        if ctx.attempt() < 3 {
            std::future::pending::<()>().await;
        }
        // sleeps: on paused time
        sleep(4.secs()).await;
        Ok(ctx.attempt())
    });
    let policy = Retry::constant(1.secs()).no_jitter();
    let tried = pipeline(|p| p.stage("only", hangs_once).idle_timeout(5.secs()).retry(policy).inputs(()));
    let done = tried.run(()).await.expect("the third attempt gets on");
    assert_eq!((*done.output(), done.report().duration()), (3, 16.secs()));
}

/// What an attempt leaves behind says nothing about the next one.
#[tokio::test(start_paused = true)]
async fn the_signs_of_an_attempt_that_is_over_do_not_count() {
    let leaves = stage_fn(|ctx: StageContext, (): ()| async move {
        if ctx.attempt() == 1 {
            tokio::spawn(async move {
                for _ in 0..100 {
                    // sleeps: on paused time
                    sleep(1.secs()).await;
                    ctx.progress();
                }
            });
            return Err(StageExit::retry("again").after(1.secs()));
        }
        std::future::pending().await
    });
    assert_eq!(ends_after(&watched(leaves, false)).await.0, 6.secs());
}

/// A thread shows progress like a task.
#[tokio::test(start_paused = true)]
async fn blocking_work_shows_progress() {
    let (steps, todo) = mpsc::channel::<oneshot::Sender<()>>();
    let todo = Mutex::new(todo);
    let works = blocking(move |ctx: StageContext, (): ()| {
        for done in todo.lock().expect("one at a time").iter() {
            ctx.progress();
            let _told = done.send(());
        }
        Ok(1_u32)
    });
    let run = pipeline(|p| p.stage("only", works).idle_timeout(5.secs()).inputs(())).start(());
    for _ in 0..4 {
        let (done, told) = oneshot::channel();
        steps.send(done).expect("the thread waits for it");
        told.await.expect("the thread is there");
        tokio::time::advance(4.secs()).await;
        idle_of(&run).await;
    }
    tokio::time::advance(2.secs()).await;
    idle_of(&run).await;
    drop(steps);
    let error = run.await.map(drop).expect_err("it was idle for six seconds");
    assert_eq!(error.code(), code::IDLE_TIMEOUT);
}

/// Lets the timers of a run go off.
async fn idle_of(run: &stageflow::RunHandle<u32>) {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!run.is_ended(), "its thread is still there");
}

fn watching(child: Pipeline<(), u32>) -> Pipeline<(), u32> {
    pipeline(|p| {
        let input = p.stage("input", stage_fn(|_, (): ()| async { Ok(()) })).inputs(());
        p.stage("kid", child).idle_timeout(5.secs()).inputs(input)
    })
}

/// A chain of naps of so many seconds.
fn napping(naps_of: &[u64]) -> Pipeline<(), u32> {
    let naps_of = naps_of.to_vec();
    pipeline(move |p| {
        let mut last = p.stage("0", naps(Duration::ZERO, 0)).inputs(());
        for (index, seconds) in naps_of.iter().enumerate() {
            let name = format!("{}", index + 1);
            last = p.stage(name, naps(seconds.secs(), 1)).after(last).inputs(());
        }
        last
    })
}

/// A stage that is a pipeline gets on when a stage of it ends or shows progress, at any depth.
#[tokio::test(start_paused = true)]
async fn s_15_what_happens_in_a_child_run_is_progress_of_its_stage() {
    let kids = || napping(&[4, 4, 4]);
    for kid in [kids(), parent_of(kids()), watching(kids())] {
        assert_eq!(watching(kid).run(()).await.expect("it gets on").report().duration(), 12.secs());
    }
    let (after, message) = ends_after(&watching(napping(&[4, 4, 6]))).await;
    assert_eq!(after, 13.secs());
    assert!(message.ends_with("the last sign was something in its child run"), "{message}");
    assert_eq!(ends_after(&watching(parent_of(napping(&[4, 6])))).await.0, 9.secs());

    let shows = solo(shows(&[4, 4], StageContext::progress));
    assert_eq!(ends_after(&watching(shows)).await.0, 13.secs());
}

/// As long as a stage of the child waits for its turn, its parent's stage is not idle, and from then on the time begins anew.
#[tokio::test(start_paused = true)]
async fn s_15_a_child_run_that_waits_for_its_turn_is_not_idle() {
    let engine = Engine::builder().max_in_flight(1).build().expect("an engine");
    let holder = engine.start(&solo(naps(23.secs(), 1)), ());
    idle().await;
    let run = engine.run(&parent_of(watching(solo(naps(4.secs(), 7)))), ()).await.expect("nobody is idle");
    assert_eq!((*run.output(), run.report().duration()), (7, 26_999.millis()));
    holder.await.expect("it ends");

    let asks = stage_fn(|ctx: StageContext, (): ()| async move {
        if ctx.attempt() < 2 {
            return Err(StageExit::retry("busy").after(17.secs()));
        }
        // sleeps: on paused time
        sleep(4.secs()).await;
        Ok(ctx.attempt())
    });
    assert_eq!(watching(solo(asks)).run(()).await.expect("nobody is idle").report().duration(), 21.secs());
}

/// The shortest of the timeouts ends the attempt, and the deadline the run.
#[tokio::test(start_paused = true)]
async fn an_idle_timeout_is_one_among_others() {
    let reports: Vec<(RunReport, _)> = {
        let mut all = Vec::new();
        for (stage, attempt, expected) in
            [(4, 9, code::STAGE_TIMEOUT), (9, 4, code::ATTEMPT_TIMEOUT), (9, 9, code::IDLE_TIMEOUT)]
        {
            let timed = pipeline(|p| {
                let only = p.stage("only", never()).timeout(stage.secs()).attempt_timeout(attempt.secs());
                only.idle_timeout(5.secs()).inputs(())
            });
            all.push((report_of(timed.run(())).await, expected));
        }
        all
    };
    for (report, expected) in reports {
        assert_eq!(report.cause().expect("a stage failed").code(), expected);
    }
    let error = error_of(watched(never(), false).run(()).deadline(4.secs())).await;
    assert_eq!(error.outcome(), Some(stageflow::RunOutcome::TimedOut));
}
