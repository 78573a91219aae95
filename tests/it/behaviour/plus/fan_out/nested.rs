//! Maps within items of maps, all under one limiter: none waits for what an item around it holds.

use std::sync::Arc;

use stageflow::{
    Backoff, Jitter,
    plus::fan_out::{FanOutLimiter, FanOutRequest, ItemRetry, MapExt},
    prelude::*,
};

use super::{Gauge, over};
use crate::behaviour::kit::{idle, within};

/// Is inside for ten milliseconds, and fails the first time if it is to.
fn leaf(gauge: &Gauge, flaky: bool) -> impl Stage<Input = Owned<u64>, Output = u64> + use<> {
    let (gauge, calls) = (gauge.clone(), Arc::new(std::sync::Mutex::new(std::collections::HashSet::new())));
    stage_fn(move |_, Owned(n): Owned<u64>| {
        let (gauge, calls) = (gauge.clone(), Arc::clone(&calls));
        async move {
            let _inside = gauge.enter();
            // sleeps: on paused time
            tokio::time::sleep(10.millis()).await;
            let is_first = calls.lock().expect("nobody panics").insert(n);
            if flaky && is_first { Err("connection reset").transient() } else { Ok(n) }
        }
    })
}

/// Maps over lists of numbers, each list by a child run with a map of its own.
fn nested(limiter: &FanOutLimiter, gauge: &Gauge, flaky: bool) -> Pipeline<Vec<Vec<u64>>, usize> {
    let inner = over(|p, input: Port<Vec<u64>>| {
        let leaves = p
            .map("leaf", leaf(gauge, flaky))
            .retry_items(ItemRetry::attempts(3).backoff(Backoff::constant(5.millis()).jitter(Jitter::None)))
            .limiter(limiter);
        leaves.over(input)
    });
    let count = |_: StageContext, lists: Arc<Vec<Vec<u64>>>| async move {
        Ok(lists.iter().map(Vec::len).sum::<usize>())
    };
    over(|p, input| {
        let lists = p.map("list", inner).limiter(limiter).over(input);
        p.stage("count", stage_fn(count)).inputs(lists)
    })
}

fn lists(lists: u64, length: u64) -> Vec<Vec<u64>> {
    (0..lists).map(|list| (0..length).map(|n| list * length + n).collect()).collect()
}

#[tokio::test(start_paused = true)]
async fn maps_within_maps_end_under_any_limit_and_never_go_above_it() {
    for limit in [1, 2, 5, 9, 100] {
        for flaky in [false, true] {
            let (gauge, limiter) =
                (Gauge::default(), FanOutLimiter::builder("one").limit(limit).build().expect("a limiter"));
            let pipeline = nested(&limiter, &gauge, flaky);
            let runs = [0, 1].map(|_| pipeline.run(lists(10, 7)).start());
            for run in runs {
                assert_eq!(*within(run).await.expect("it completes").output(), 70);
            }
            assert!(gauge.peak() <= limit, "{} of {limit}", gauge.peak());
            let stats = limiter.stats();
            assert_eq!((stats.in_use, stats.in_flight, stats.queued), (0, 0, 0), "{stats:?}");
            assert!(stats.by_caller > 0 || limit == 100, "{stats:?}");
        }
    }
}

/// A limit of keys is no trap either, and neither is a third level.
#[tokio::test(start_paused = true)]
async fn maps_three_deep_with_one_place_for_a_key_end() {
    let (gauge, limiter) =
        (Gauge::default(), FanOutLimiter::builder("one").limit(4).key_limit(1).build().expect("a limiter"));
    let key = |_: &_| FanOutRequest::new().key("acme");
    let bottom = over(|p, input: Port<Vec<u64>>| {
        p.map("leaf", leaf(&gauge, false))
            .limiter(&limiter)
            .request(move |_| FanOutRequest::new().key("acme"))
            .over(input)
    });
    let middle = over(|p, input: Port<Vec<Vec<u64>>>| p.map("middle", bottom).limiter(&limiter).over(input));
    let top = over(|p, input: Port<Vec<Vec<Vec<u64>>>>| {
        p.map("top", middle).limiter(&limiter).request(key).over(input)
    });
    let done = within(top.run(vec![lists(3, 3), lists(2, 2)])).await.expect("it completes");
    assert_eq!(done.output().iter().flatten().flatten().count(), 13);
    assert!(gauge.peak() <= 4, "{}", gauge.peak());
    assert_eq!(limiter.stats().in_use, 0);
}

/// Maps of one run that are not within each other wait for each other as ever, and so do those of other runs.
#[tokio::test(start_paused = true)]
async fn maps_beside_each_other_wait() {
    let (gauge, limiter) =
        (Gauge::default(), FanOutLimiter::builder("one").limit(3).build().expect("a limiter"));
    let inner =
        over(|p, input: Port<Vec<u64>>| p.map("leaf", leaf(&gauge, false)).limiter(&limiter).over(input));
    let pipeline = over(|p, input: Port<Vec<u64>>| {
        let beside = p.map("beside", leaf(&gauge, false)).limiter(&limiter).over(input);
        let child = p.stage("child", inner).inputs(input);
        let both =
            |_: StageContext, (a, b): (Arc<Vec<u64>>, Arc<Vec<u64>>)| async move { Ok(a.len() + b.len()) };
        p.stage("both", stage_fn(both)).inputs((beside, child))
    });
    let runs = [0, 1].map(|_| pipeline.run((0..10).collect()).start());
    for run in runs {
        assert_eq!(*within(run).await.expect("it completes").output(), 20);
    }
    let stats = limiter.stats();
    assert_eq!((gauge.peak(), stats.granted, stats.by_caller), (3, 40, 0));
}

/// Who backs off within an item keeps the place: another who takes it would be one too many when it goes on.
#[tokio::test(start_paused = true)]
async fn a_nested_item_that_backs_off_keeps_its_place() {
    let (gauge, limiter) =
        (Gauge::default(), FanOutLimiter::builder("one").limit(2).build().expect("a limiter"));
    let run = nested(&limiter, &gauge, true).run(lists(1, 2)).start();
    idle().await;
    assert_eq!((gauge.now(), limiter.stats().in_use), (2, 2));
    let other = async {
        let _permit = limiter.acquire(FanOutRequest::new()).await.expect("it waits");
        let _inside = gauge.enter();
        // sleeps: on paused time
        tokio::time::sleep(1.mins()).await;
    };
    let (done, ()) = tokio::join!(within(run), other);
    assert_eq!(*done.expect("it completes").output(), 2);
    assert_eq!(gauge.peak(), 2);
}
