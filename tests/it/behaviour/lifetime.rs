//! Handles, futures and contexts that come too early, live too long or are dropped (rules S-16 to S-18).

use std::{
    future::{Future, IntoFuture as _},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use stageflow::{RunOutcome, code, prelude::*};
use tokio::runtime::{Builder, Runtime};

use super::kit::{
    Log, RunResult, error_of, exits, gives, idle, logging, naps, never, pipeline, recorded, solo,
};

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn code_of<O>(result: Poll<RunResult<O>>) -> stageflow::Code {
    match result {
        Poll::Ready(Err(error)) => error.code(),
        _ => panic!("no error"),
    }
}

/// A runtime with paused time, to be dropped in a test.
fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

/// A stage that waits, with a clean-up, and says in the log what becomes of both.
fn held(log: &Log) -> impl Stage<Input = (), Output = u32> + use<> {
    logging(log, |log, ctx| async move {
        let _gone = log.on_drop("dropped");
        let cleaned = log.clone();
        ctx.on_cleanup(async move { cleaned.add("cleaned up") });
        std::future::pending::<StageResult<u32>>().await
    })
}

/// Outside a runtime there is an error, and no panic.
#[test]
fn outside_a_runtime_there_is_a_clear_error() {
    let only = solo(gives(1_u32));
    assert_eq!(code_of(poll_once(only.run(()).into_future())), code::NO_RUNTIME);
    let started = only.start(());
    assert_eq!((started.run_id(), started.is_ended()), (None, true));
    assert!(started.explain().is_none());
    started.cancel("nothing to cancel");
    assert_eq!(code_of(poll_once(started)), code::NO_RUNTIME);
}

/// A runtime without timers is enough for runs that need none; the others are refused before they start.
#[test]
fn a_runtime_without_timers_runs_what_needs_none() {
    let bare = || Builder::new_current_thread().build().unwrap();
    let only = solo(gives(1_u32));
    assert_eq!(*bare().block_on(only.run(()).into_future()).unwrap().output(), 1);
    let waits = stage_fn(|ctx: StageContext, (): ()| async move {
        ctx.on_cleanup(tokio::task::yield_now());
        tokio::task::yield_now().await;
        Ok(1_u32)
    });
    assert_eq!(*bare().block_on(solo(waits).run(()).into_future()).unwrap().output(), 1);
    let refused = |result: RunResult<u32>| {
        let error = result.map(drop).unwrap_err();
        assert_eq!((error.code(), error.outcome()), (code::NO_RUNTIME, None), "{error}");
        assert!(!error.recoverable(), "another run would be refused as well");
    };
    refused(bare().block_on(only.run(()).deadline(1.secs()).into_future()));
    let limited = [
        pipeline(|p| p.stage("only", never()).timeout(1.secs()).inputs(())),
        pipeline(|p| p.stage("only", never()).attempt_timeout(1.secs()).inputs(())),
        pipeline(|p| {
            p.deadline(1.secs());
            p.stage("only", never()).inputs(())
        }),
    ];
    for limited in limited {
        refused(bare().block_on(limited.run(()).into_future()));
        refused(bare().block_on(async { limited.start(()).await }));
    }
    // Of a child it is found out when its stage is about to wait.
    let children: [Pipeline<(), u32>; 2] = [
        pipeline(|p| p.stage("only", never()).timeout(1.secs()).inputs(())),
        pipeline(|p| p.stage("only", never()).attempt_timeout(1.secs()).inputs(())),
    ];
    for child in children {
        let parent = pipeline(|p| {
            let input = p.input();
            p.stage("kid", child).inputs(input)
        });
        let error = bare().block_on(parent.run(()).into_future()).map(drop).unwrap_err();
        assert_eq!((error.code(), error.outcome()), (code::NO_RUNTIME, Some(RunOutcome::Failed)), "{error}");
    }
}

/// A future that is polled after its end says so.
#[tokio::test(start_paused = true)]
async fn what_is_polled_after_the_end_says_so() {
    let mut future = solo(gives(1_u32)).run(()).into_future();
    (&mut future).await.unwrap();
    assert_eq!(code_of(poll_once(&mut future)), code::INTERNAL);
    let mut handle = solo(gives(1_u32)).start(());
    (&mut handle).await.unwrap();
    assert_eq!(code_of(poll_once(&mut handle)), code::INTERNAL);
    assert!(handle.is_ended());
}

/// A run that is never polled never was.
#[tokio::test(start_paused = true)]
async fn a_run_dropped_before_its_first_poll_never_was() {
    let (engine, recorder) = recorded();
    let log = Log::default();
    let held = solo(held(&log));
    drop(engine.run(&held, ()));
    drop(engine.run(&held, ()).into_future());
    idle().await;
    assert!(recorder.is_empty() && log.lines().is_empty());
    assert_eq!(engine.drain(1.secs()).await, 0);
}

/// KEEP 18.4-106, S-18, W2: dropping the future or the handle stops the stages, and clean-ups are awaited.
#[tokio::test(start_paused = true)]
async fn dropping_a_run_cancels_it() {
    for started in [false, true] {
        let (engine, recorder) = recorded();
        let log = Log::default();
        let held = solo(held(&log));
        if started {
            let run = engine.start(&held, ());
            idle().await;
            drop(run);
        } else {
            let _elapsed = tokio::time::timeout(1.millis(), engine.run(&held, ()).into_future()).await;
        }
        idle().await;
        assert_eq!(log.lines(), ["dropped", "cleaned up"]);
        assert_eq!(recorder.lines()[2..], ["stage.cancelled only", "pipeline.cancelled"]);
        assert_eq!(engine.drain(1.secs()).await, 0);
    }
}

/// S-18: awaiting `&mut handle` and giving up on it loses nothing; `detach` lets the run go on alone.
#[tokio::test(start_paused = true)]
async fn a_handle_can_be_awaited_in_parts_and_be_let_go() {
    let mut run = solo(naps(10.millis(), 7)).start(());
    assert!(tokio::time::timeout(5.millis(), &mut run).await.is_err());
    assert_eq!(*run.await.unwrap().output(), 7);
    let (engine, recorder) = recorded();
    engine.start(&solo(naps(10.millis(), 7)), ()).detach();
    tokio::time::sleep(20.millis()).await;
    assert_eq!(recorder.lines().last().unwrap(), "pipeline.completed");
}

/// A runtime that goes away under its runs leaves no stage, no clean-up, no value behind, and nobody hangs.
#[test]
fn a_runtime_that_goes_away_leaves_nothing_behind() {
    let (log, token) = (Log::default(), Arc::new(()));
    let wakers = Arc::new(Mutex::new(Vec::new()));
    let mut p = Pipeline::builder("held");
    let input = p.input();
    let body = {
        let (log, wakers) = (log.clone(), Arc::clone(&wakers));
        move |ctx: StageContext, token: Arc<Arc<()>>| {
            let (gone, kept) = (log.on_drop("dropped"), (ctx.clone(), token));
            ctx.on_cleanup(async move { drop(kept) });
            let wakers = Arc::clone(&wakers);
            std::future::poll_fn(move |cx| {
                let _gone = &gone;
                wakers.lock().expect("no push panics").push(cx.waker().clone());
                Poll::<StageResult<u32>>::Pending
            })
        }
    };
    let held = p.stage("held", stage_fn(body)).inputs(input);
    let held: Pipeline<Arc<()>, u32> = p.build(held).unwrap();
    let engine = Engine::builder().build().unwrap();
    let runtime = paused();
    let run = {
        let _inside = runtime.enter();
        engine.start(&held, Arc::clone(&token))
    };
    runtime.block_on(async {
        let mut driven = Box::pin(engine.run(&held, Arc::clone(&token)).into_future());
        assert!(poll_once(&mut driven).is_pending());
        idle().await;
        drop(driven);
    });
    // They are woken, and nobody comes any more.
    wakers.lock().unwrap().drain(..).for_each(Waker::wake);
    drop(runtime);
    assert_eq!(log.lines(), ["dropped", "dropped"]);
    let error = paused().block_on(async { error_of(run).await });
    assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Cancelled), code::CANCELLED));
    assert_eq!(paused().block_on(engine.drain(1.secs())), 0);
    drop((error, held));
    assert_eq!(Arc::strong_count(&token), 1, "a run was leaked");
}

/// A context that outlives its run is harmless.
#[tokio::test(start_paused = true)]
async fn a_context_may_outlive_its_run() {
    let kept = solo(stage_fn(|ctx: StageContext, (): ()| async move { Ok(ctx) }));
    let done = kept.run(()).await.unwrap();
    let ctx = done.output().clone();
    ctx.emit("late", [("n", 1)]);
    drop(ctx.hold());
    let _hold = ctx.hold();
    ctx.on_cleanup(async {});
    assert!(!ctx.is_cancelled() && ctx.cancel_reason().is_none() && ctx.checkpoint().is_ok());
    assert!(tokio::time::timeout(1.secs(), ctx.cancelled()).await.is_err());
    assert_eq!((ctx.stage_name(), ctx.identity().run_id()), ("only", done.run_id()));
    let cancelled = solo(exits(|| StageExit::cancel("x")));
    error_of(cancelled.run(())).await;
}

/// S-16: what goes on elsewhere is waited for before the clean-ups start.
#[tokio::test(start_paused = true)]
async fn a_hold_keeps_the_clean_ups_waiting() {
    let log = Log::default();
    let elsewhere = logging(&log, |log, ctx| async move {
        let (hold, cleaned) = (ctx.hold(), log.clone());
        ctx.on_cleanup(async move { cleaned.add("cleaned up") });
        tokio::spawn(async move {
            tokio::time::sleep(10.millis()).await;
            log.add("done elsewhere");
            drop(hold);
        });
        Ok(1_u32)
    });
    let done = solo(elsewhere).run(()).await.unwrap();
    assert_eq!(log.lines(), ["done elsewhere", "cleaned up"]);
    assert_eq!(done.report().duration(), 10.millis());
}

/// A run in the caller's task may be driven from another task than it began in.
#[tokio::test(start_paused = true)]
async fn a_run_may_change_its_task() {
    let mut future = Box::pin(solo(naps(10.millis(), 7)).run(()).into_future());
    assert!(poll_once(&mut future).is_pending());
    assert_eq!(*tokio::spawn(future).await.unwrap().unwrap().output(), 7);
    drop(solo(never()).run(()));
}
