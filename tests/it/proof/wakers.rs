//! Wakers that outlive their run: they keep nothing of it, and wake nothing.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, Waker},
};

use stageflow::{Pipeline, PipelineExt as _, StageContext, StageResult, stage_fn};
use tokio::{runtime::Handle, task::yield_now};

type Kept = Arc<Mutex<Vec<Waker>>>;

fn kept(wakers: &Kept) -> std::sync::MutexGuard<'_, Vec<Waker>> {
    wakers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two stages that keep their wakers: one stays pending until the run is cancelled, one completes.
fn pipeline(wakers: &Kept) -> Pipeline<Arc<()>, ()> {
    let mut p = Pipeline::builder("kept");
    let input = p.input();
    let all = Arc::clone(wakers);
    let done = stage_fn(move |_: StageContext, _: Arc<Arc<()>>| {
        let all = Arc::clone(&all);
        poll_fn(move |cx| {
            kept(&all).push(cx.waker().clone());
            Poll::Ready(StageResult::Ok(()))
        })
    });
    let done = p.stage("done", done).inputs(input);
    let all = Arc::clone(wakers);
    let pending = stage_fn(move |_: StageContext, _: Arc<Arc<()>>| {
        let all = Arc::clone(&all);
        poll_fn(move |cx| {
            kept(&all).push(cx.waker().clone());
            Poll::<StageResult<()>>::Pending
        })
    });
    let pending = p.stage("pending", pending).after(done).inputs(input);
    p.build(pending).expect("a pipeline")
}

async fn until(mut there: impl FnMut() -> bool) {
    for _ in 0..1_000_000 {
        if there() {
            return;
        }
        yield_now().await;
    }
    panic!("it never comes");
}

async fn wakers_outlive_their_run() {
    let wakers = Kept::default();
    let pipeline = pipeline(&wakers);
    let tasks = Handle::current().metrics().num_alive_tasks();
    let quiet = || Handle::current().metrics().num_alive_tasks() <= tasks;
    let input = Arc::new(());
    let run = pipeline.start(Arc::clone(&input));
    until(|| kept(&wakers).len() == 2).await;
    run.cancel("it waits for ever");
    let error = run.await.expect_err("it is cancelled");
    until(quiet).await;

    let wake_all = || kept(&wakers).iter().for_each(Waker::wake_by_ref);
    wake_all();
    assert!(quiet(), "a late wake-up spawns nothing");
    yield_now().await;
    assert_eq!(kept(&wakers).len(), 2, "nobody is polled after the end");

    assert!(Arc::strong_count(&input) > 1, "the run is there as long as its report can be read");
    drop(error);
    assert_eq!(Arc::strong_count(&input), 1, "wakers keep nothing of the run");
    wake_all();
    assert!(quiet());
}

#[tokio::test]
async fn s_16_wakers_outlive_their_run_on_one_thread() {
    wakers_outlive_their_run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_16_wakers_outlive_their_run_on_two_threads() {
    for _ in 0..200 {
        wakers_outlive_their_run().await;
    }
}
