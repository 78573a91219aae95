//! S-16: a runtime that goes away under a run drops every stage, also one that is being polled at that moment.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use stageflow::{Pipeline, PipelineExt as _, StageContext, StageResult, stage_fn};
use tokio::runtime::Builder;

/// Tells its end.
struct Told(mpsc::Sender<&'static str>, &'static str);

impl Drop for Told {
    fn drop(&mut self) {
        // Nobody listens any more once the test has failed.
        let _told = self.0.send(self.1);
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn s_16_a_stage_that_is_polled_while_its_runtime_goes_away_is_dropped() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime");
    let (dropped, drops) = mpsc::channel();
    let go_on = Arc::new(AtomicBool::new(false));

    let mut p = Pipeline::builder("left");
    let (all, is_polled) = (dropped.clone(), Arc::new(AtomicBool::new(false)));
    let (seen, begun) = (Arc::clone(&is_polled), Arc::clone(&is_polled));
    let waiting = stage_fn(move |_: StageContext, (): ()| {
        let (told, seen) = (Told(all.clone(), "waiting"), Arc::clone(&seen));
        poll_fn(move |_| {
            let _lives = &told;
            // So that another worker polls the other stage.
            spin_until(&seen);
            Poll::<StageResult<()>>::Pending
        })
    });
    p.stage("waiting", waiting).inputs(());
    let go = Arc::clone(&go_on);
    let polled = stage_fn(move |_: StageContext, (): ()| {
        let told = Told(dropped.clone(), "polled");
        let (go, is_polled) = (Arc::clone(&go), Arc::clone(&is_polled));
        poll_fn(move |cx| {
            let (_lives, _kept) = (&told, cx.waker().clone());
            is_polled.store(true, SeqCst);
            spin_until(&go);
            Poll::<StageResult<()>>::Pending
        })
    });
    let polled = p.stage("polled", polled).inputs(());
    let pipeline = p.build(polled).expect("a pipeline");
    {
        let _inside = runtime.enter();
        pipeline.start(()).detach();
    }
    spin_until(&begun);
    runtime.shutdown_background();
    let first = drops.recv_timeout(PATIENCE);
    go_on.store(true, SeqCst);
    assert_eq!(first, Ok("waiting"), "the run goes with its runtime");
    assert_eq!(
        drops.recv_timeout(PATIENCE),
        Ok("polled"),
        "its future is dropped once its poll has returned"
    );
}

fn spin_until(flag: &AtomicBool) {
    while !flag.load(SeqCst) {
        thread::yield_now();
    }
}
