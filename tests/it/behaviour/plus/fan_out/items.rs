//! Items: in which order, how many at a time, and from where.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use stageflow::{
    code,
    interceptors::Retry,
    plus::fan_out::{Items, Map, MapExt},
    prelude::*,
};

use super::{Gauge, over};
use crate::behaviour::kit::{error_of, within};

fn doubled() -> impl Stage<Input = Owned<u64>, Output = u64> {
    stage_fn(|_, Owned(n): Owned<u64>| std::future::ready(Ok(n * 2)))
}

/// Takes less the later it comes.
fn later_is_faster() -> impl Stage<Input = Owned<u64>, Output = u64> {
    stage_fn(|_, Owned(n): Owned<u64>| async move {
        // sleeps: on paused time
        tokio::time::sleep((1_000 - n).millis()).await;
        Ok(n)
    })
}

#[tokio::test(start_paused = true)]
async fn results_are_in_the_order_of_the_input() {
    let numbers: Vec<u64> = (0..500).collect();
    let pipeline = over(|p, input| p.map("wait", later_is_faster()).max_in_flight(50).over(input));
    let run = within(pipeline.run(numbers.clone())).await.expect("it completes");
    assert_eq!(*run.output(), numbers);
}

#[tokio::test(start_paused = true)]
async fn no_items_are_no_problem() {
    let pipeline = over(|p, input| p.map("double", doubled()).over(input));
    let run = within(pipeline.run(Vec::<u64>::new())).await.expect("it completes");
    assert!(run.output().is_empty());
}

#[tokio::test(start_paused = true)]
async fn lists_of_what_is_shared_and_stages_that_share() {
    let length = || stage_fn(|_, text: Arc<String>| std::future::ready(Ok(text.len())));
    let words = ["a", "bcd"].map(str::to_owned);
    let owned = over(|p, input| p.map("length", length()).over(input));
    assert_eq!(*within(owned.run(words.to_vec())).await.expect("it completes").output(), [1, 3]);
    let shared = over(|p, input| p.map("length", length()).over(input));
    let words = words.map(Arc::new).to_vec();
    assert_eq!(*within(shared.run(words)).await.expect("it completes").output(), [1, 3]);
    let made = over(|p, input| {
        let map = Map::new(length()).of::<Items<String>>();
        p.stage("length", map).timeout(1.secs()).inputs(input)
    });
    let words = Items::new(["a".to_owned()]);
    assert_eq!(*within(made.run(words)).await.expect("it completes").output(), [1]);
}

/// Looked at whenever an item is polled.
#[tokio::test(start_paused = true)]
async fn never_more_than_the_limit_run_at_any_poll() {
    for limit in [1, 2, 7, 100] {
        let gauge = Gauge::default();
        let seen = gauge.clone();
        let stage = stage_fn(move |_, Owned(n): Owned<u64>| {
            let gauge = gauge.clone();
            async move {
                let inside = gauge.enter();
                let mut left = n % 5;
                poll_fn(|cx| {
                    assert!(gauge.now() <= limit);
                    left = left.saturating_sub(1);
                    cx.waker().wake_by_ref();
                    if left == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
                })
                .await;
                drop(inside);
                Ok(())
            }
        });
        let pipeline = over(|p, input| p.map("count", stage).max_in_flight(limit).over(input));
        let run = within(pipeline.run((0..1_000).collect::<Vec<u64>>())).await.expect("it completes");
        assert_eq!(run.output().len(), 1_000);
        assert_eq!(seen.peak(), limit, "the limit was reached");
    }
}

/// However many there are, no more exist at a time than run.
#[tokio::test(start_paused = true)]
async fn items_are_made_as_there_is_room_for_them() {
    for items in [500, 5_000, 100_000] {
        let alive = Gauge::default();
        let (made, seen) = (alive.clone(), alive.clone());
        let stage = stage_fn(|_, item: Arc<super::Inside>| async move {
            tokio::task::yield_now().await;
            drop(item);
            Ok(())
        });
        let pipeline = over(|p, input| p.map("look", stage).max_in_flight(16).over(input));
        let run = within(pipeline.run(Items::new((0..items).map(move |_| made.enter())))).await;
        assert_eq!(run.expect("it completes").output().len(), items);
        assert_eq!((seen.now(), seen.peak()), (0, 16));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_waited_for() {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
    let pipeline = over(|p, input| p.map("double", doubled()).over(input));
    let run = pipeline.run(Items::poll_fn(move |cx| receiver.poll_recv(cx))).start();
    for n in 0..100_u64 {
        // sleeps: on paused time
        tokio::time::sleep(1.millis()).await;
        sender.send(n).await.expect("somebody listens");
    }
    drop(sender);
    let run = within(run).await.expect("it completes");
    assert_eq!(*run.output(), (0..100).map(|n| n * 2).collect::<Vec<_>>());
}

/// Fails at its first attempt, at the last item.
fn fails_once() -> impl Stage<Input = Owned<u64>, Output = u64> {
    let failed = AtomicUsize::new(0);
    stage_fn(move |_, Owned(n): Owned<u64>| {
        let fails = n == 9 && failed.fetch_add(1, Ordering::SeqCst) == 0;
        std::future::ready(if fails { Err(StageExit::retry("once more")) } else { Ok(n) })
    })
}

#[tokio::test(start_paused = true)]
async fn a_list_is_there_again_when_the_map_is_tried_again() {
    let retry = Retry::exponential(1.millis());
    let pipeline =
        over(|p, input| p.map("once", fails_once()).over_with(input, |stage| stage.retry(retry.clone())));
    let run = within(pipeline.run((0..10).collect::<Vec<u64>>())).await.expect("it recovers");
    assert_eq!(run.output().len(), 10);
    assert_eq!(run.report().stage("once").expect("it ran").attempts, 2);

    let retry = Retry::exponential(1.millis());
    let pipeline = over(|p, input| p.map("once", fails_once()).over_with(input, |stage| stage.retry(retry)));
    let error = error_of(pipeline.run(Items::new(0..10_u64))).await;
    assert_eq!(error.code(), code::INVALID_INPUT, "{error:?}");
}

/// A million items that end at once take turns with others on the same worker.
#[tokio::test]
async fn others_go_on_beside_items_that_never_wait() {
    let beside = Arc::new(AtomicUsize::new(0));
    let ticks = Arc::clone(&beside);
    let others = tokio::spawn(async move {
        loop {
            ticks.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    });
    let pipeline = over(|p, input| p.map("double", doubled()).over(input));
    let run = pipeline.run(Items::new(0..100_000_u64)).await.expect("it completes");
    others.abort();
    assert_eq!(run.output().len(), 100_000);
    assert!(beside.load(Ordering::SeqCst) > 100, "{beside:?}");
}

#[tokio::test(start_paused = true)]
async fn a_ramp_begins_with_few() {
    let gauge = Gauge::default();
    let (inside, peaks) = (gauge.clone(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let seen = Arc::clone(&peaks);
    let stage = stage_fn(move |_, _: Owned<u64>| {
        let (inside, peaks) = (inside.clone(), Arc::clone(&peaks));
        async move {
            let _inside = inside.enter();
            // sleeps: on paused time
            tokio::time::sleep(1.millis()).await;
            peaks.lock().expect("no panic").push(inside.now());
            Ok(())
        }
    });
    let pipeline = over(|p, input| p.map("warm", stage).max_in_flight(16).ramp_from(2).over(input));
    within(pipeline.run(vec![0_u64; 60])).await.expect("it completes");
    let peaks = seen.lock().expect("no panic");
    // Two, then two windows of four, and so on: whoever ends sees those who came with them.
    assert!(peaks[..2].iter().all(|now| *now <= 2), "{peaks:?}");
    assert!(peaks[2..6].iter().all(|now| *now <= 4), "{peaks:?}");
    assert!(peaks[6..14].iter().all(|now| *now <= 8), "{peaks:?}");
    assert_eq!(gauge.peak(), 16);
}
