//! Runs that are cancelled while they wait, or while their batch is called: nobody else notices.

use stageflow::{
    plus::{
        batch::{Batch, Batcher},
        fan_out::{Failures, MapExt},
    },
    prelude::*,
    testing::{Ledger, Sim},
};

use super::{Calls, asks, assert_empty, doubling};
use crate::behaviour::kit::{error_of, within};

/// The run that carries the call, another, or the last: before the call, during it, all but one.
#[tokio::test(start_paused = true)]
async fn a_cancelled_run_takes_its_item_along_and_nobody_elses() {
    for cancelled_at in [2, 8] {
        for gone in [vec![0], vec![1], vec![2], vec![0, 1], vec![0, 2], vec![1, 2]] {
            let calls = Calls::default();
            let batcher = Batcher::builder("model", doubling(&calls)).max_wait(5.millis());
            let batcher = batcher.build().expect("a batcher");
            let pipeline = asks(&batcher);
            let runs = [0, 1, 2].map(|n| pipeline.run(n).start());
            // sleeps: on paused time
            tokio::time::sleep(cancelled_at.millis()).await;
            for n in &gone {
                runs[*n].cancel("by the test");
            }
            for (n, run) in runs.into_iter().enumerate() {
                if gone.contains(&n) {
                    error_of(run).await;
                } else {
                    let run = within(run).await.expect("an answer");
                    assert_eq!(*run.output(), 2 * n as u64, "{gone:?} at {cancelled_at}");
                    assert!(run.report().duration() <= 17.millis(), "{}", run.report());
                }
            }
            let calls = calls.lock().expect("calls");
            let left: Vec<u64> =
                (0..3).filter(|n| cancelled_at > 5 || !gone.contains(n)).map(|n| n as u64).collect();
            assert_eq!(*calls, [(None, left)], "{gone:?} at {cancelled_at}");
            assert_empty(&batcher);
        }
    }
}

/// The future of a call is dropped with its last run, before that run has ended: nothing of it is left anywhere.
#[tokio::test(start_paused = true)]
async fn no_call_outlives_its_runs() {
    let calls = Calls::default();
    let batcher = Batcher::builder("model", doubling(&calls)).max_size(2).build().expect("a batcher");
    let pipeline = asks(&batcher);
    let runs = [pipeline.run(1).start(), pipeline.run(2).start()];
    // sleeps: on paused time
    tokio::time::sleep(3.millis()).await;
    assert_eq!(batcher.stats().in_flight, 1);
    for run in runs {
        run.cancel("by the test");
        error_of(run).await;
    }
    assert_empty(&batcher);
}

#[test]
fn nothing_is_left_at_any_poll() {
    let handler = |batch: Batch<u64>| async move {
        tokio::task::yield_now().await;
        // sleeps: on paused time
        tokio::time::sleep(1.millis()).await;
        Ok(batch.into_iter().map(|n| if n % 4 == 1 { Err(StageExit::fail("no")) } else { Ok(n) }).collect())
    };
    let batcher = Batcher::builder("model", handler).max_size(3).max_wait(2.millis()).max_in_flight(1);
    let batcher = batcher.build().expect("a batcher");
    let mut p = Pipeline::builder("map");
    let input = p.input();
    let asked = batcher.clone();
    let holds = stage_fn(move |ctx: StageContext, Owned(n): Owned<u64>| {
        let batcher = asked.clone();
        async move {
            let ledger = Ledger::of(&ctx);
            let _lease = ledger.acquire("a connection");
            batcher.call(n).await
        }
    });
    let answers = p.map("ask", holds).tolerate(Failures::any()).over(input);
    let again = p.map("again", batcher.clone()).tolerate(Failures::any()).over(input);
    let both = p
        .stage("both", stage_fn(|_, _: (std::sync::Arc<_>, std::sync::Arc<_>)| std::future::ready(Ok(()))))
        .inputs((answers, again));
    let pipeline = p.build(both).expect("it builds");
    let report =
        Sim::cancel_at_every_poll(&pipeline, (0..8).collect::<Vec<u64>>()).seeds(0..2).assert_clean();
    assert!(report.polls() > 5 && report.acquired() > 0, "{report}");
    assert_empty(&batcher);
    let stats = batcher.stats();
    assert!(stats.left > 0 && stats.answered > 0, "{stats:?}");
}
