//! Cancelled at every poll: nothing is left of a map, wherever it was.

use stageflow::{
    Backoff,
    plus::fan_out::{Failures, FanOutLimiter, ItemRetry, MapExt},
    prelude::*,
    testing::{Ledger, Sim},
};

use super::over;

/// Holds something over its waits, fails sometimes, and wants to be tried again sometimes.
fn holds() -> impl Stage<Input = Owned<u64>, Output = u64> {
    stage_fn(|ctx: StageContext, Owned(n): Owned<u64>| async move {
        let ledger = Ledger::of(&ctx);
        let _lease = ledger.acquire("a connection");
        tokio::task::yield_now().await;
        // sleeps: on paused time
        tokio::time::sleep((n % 3).millis()).await;
        match n % 4 {
            1 => Err(StageExit::retry("busy")),
            2 => Err(StageExit::fail("down")),
            _ => Ok(n),
        }
    })
}

#[test]
fn nothing_is_left_at_any_poll() {
    let plain =
        over(|p, input| p.map("plain", holds()).max_in_flight(3).tolerate(Failures::any()).over(input));
    let report = Sim::cancel_at_every_poll(&plain, (0..9).collect::<Vec<u64>>()).seeds(0..2).assert_clean();
    assert!(report.polls() > 5 && report.acquired() > 0, "{report}");
}

#[test]
fn nothing_is_left_of_a_map_under_a_limiter_with_retries_at_any_poll() {
    let limiter = FanOutLimiter::builder("one").limit(2).key_limit(1).build().expect("a limiter");
    let tried = over(|p, input| {
        let retry = ItemRetry::attempts(2).backoff(Backoff::constant(2.millis()));
        let map = p.map("tried", holds()).limiter(&limiter).read_ahead(4).retry_items(retry);
        let keys = ["a", "b", "c"];
        map.request(move |n: &Owned<u64>| {
            let key = keys[usize::try_from(n.0 % 3).expect("small")];
            stageflow::plus::fan_out::FanOutRequest::new().key(key)
        })
        .item_timeout(50.millis())
        .tolerate(Failures::any())
        .over(input)
    });
    let report = Sim::cancel_at_every_poll(&tried, (0..9).collect::<Vec<u64>>()).seeds(0..2).assert_clean();
    assert!(report.polls() > 5 && report.acquired() > 0, "{report}");
    let stats = limiter.stats();
    assert_eq!((stats.in_use, stats.in_flight, stats.queued, stats.keys), (0, 0, 0, 0));
    assert_eq!(stats.offered, stats.granted + stats.refused + stats.dropped + stats.left);
    assert!(stats.left > 0 && stats.granted > 0, "{stats:?}");
}

#[test]
fn nothing_is_left_of_a_map_of_pipelines_at_any_poll() {
    let inner = over(|p: &mut stageflow::Builder<u64>, input| {
        let stage = stage_fn(|ctx: StageContext, n: std::sync::Arc<u64>| async move {
            let ledger = Ledger::of(&ctx);
            let _lease = ledger.acquire("a connection");
            ledger.until_clean_up(&ctx, "a file", async {});
            tokio::task::yield_now().await;
            Ok(*n)
        });
        p.stage("inner", stage).inputs(input)
    });
    let outer = over(|p, input| p.map("each", inner).max_in_flight(2).over(input));
    let report = Sim::cancel_at_every_poll(&outer, (0..4).collect::<Vec<u64>>()).seeds(0..2).assert_clean();
    assert!(report.clean_ups() > 0, "{report}");
}
