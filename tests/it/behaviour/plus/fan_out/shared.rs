//! Maps under limiters: shared ones, changed ones, full ones.

use std::sync::{Arc, Mutex};

use stageflow::{
    code,
    plus::fan_out::{
        Failures, FanOutLimiter, FanOutRequest, ItemOutcome, Items, MapExt, Overflow, QueueOrder, RefusedBy,
    },
    prelude::*,
};

use super::{Gauge, over};
use crate::behaviour::kit::{Log, error_of, recorded, within};

fn limiter(limit: usize) -> stageflow::plus::fan_out::FanOutLimiterBuilder {
    FanOutLimiter::builder("provider").limit(limit)
}

/// Is inside for ten milliseconds.
fn inside(gauge: &Gauge) -> impl Stage<Input = Owned<u64>, Output = u64> + use<> {
    let gauge = gauge.clone();
    stage_fn(move |_, Owned(n): Owned<u64>| {
        let gauge = gauge.clone();
        async move {
            let _inside = gauge.enter();
            // sleeps: on paused time
            tokio::time::sleep(10.millis()).await;
            Ok(n)
        }
    })
}

fn numbers(count: u64) -> Vec<u64> {
    (0..count).collect()
}

#[tokio::test(start_paused = true)]
async fn maps_and_runs_share_a_limiter() {
    let (gauge, limiter) = (Gauge::default(), limiter(6).build().expect("a limiter"));
    let pipeline = over(|p, input| {
        let a = p.map("a", inside(&gauge)).max_in_flight(4).limiter(&limiter).over(input);
        let b = p.map("b", inside(&gauge)).limiter(&limiter).over(input);
        let sum =
            |_: StageContext, (a, b): (Arc<Vec<u64>>, Arc<Vec<u64>>)| async move { Ok(a.len() + b.len()) };
        p.stage("sum", stage_fn(sum)).inputs((a, b))
    });
    let runs = [0, 1, 2].map(|_| pipeline.run(numbers(20)).start());
    for run in runs {
        assert_eq!(*within(run).await.expect("it completes").output(), 40);
    }
    assert_eq!(gauge.peak(), 6);
    let stats = limiter.stats();
    assert_eq!((stats.granted, stats.in_use, stats.queued), (120, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_limit_changes_while_items_run() {
    let (gauge, limiter) = (Gauge::default(), limiter(2).build().expect("a limiter"));
    let pipeline = over(|p, input| p.map("a", inside(&gauge)).limiter(&limiter).over(input));
    let run = pipeline.run(numbers(200)).start();
    let mut seen = Vec::new();
    for limit in [2, 10, 3, 0, 5] {
        limiter.set_limit(limit);
        // sleeps: on paused time
        tokio::time::sleep(35.millis()).await;
        seen.push(gauge.now());
    }
    assert_eq!(seen, [2, 10, 3, 0, 5]);
    assert_eq!(within(run).await.expect("it completes").output().len(), 200);
}

#[tokio::test(start_paused = true)]
async fn each_tenant_has_its_share() {
    let (gauge, limiter) = (Gauge::default(), limiter(10).key_limit(3).build().expect("a limiter"));
    let pipeline = over(|p, input| p.map("a", inside(&gauge)).limiter(&limiter).per_tenant().over(input));
    let flood = pipeline.run(numbers(1_000)).tenant("acme").start();
    crate::behaviour::kit::idle().await;
    assert_eq!((gauge.now(), limiter.stats().keys), (3, 1));
    let run = within(pipeline.run(numbers(3)).tenant("globex")).await.expect("it completes");
    assert!(run.report().duration() < 20.millis(), "it did not wait for the other tenant");
    drop(flood);
}

#[tokio::test(start_paused = true)]
async fn items_weigh_what_they_say() {
    let (gauge, limiter) = (Gauge::default(), limiter(6).build().expect("a limiter"));
    let pipeline = over(|p, input| {
        let map = p.map("a", inside(&gauge)).limiter(&limiter);
        map.request(|_: &Owned<u64>| FanOutRequest::new().weight(3)).over(input)
    });
    within(pipeline.run(numbers(20))).await.expect("it completes");
    assert_eq!((gauge.peak(), limiter.stats().peak), (2, 6));
}

#[tokio::test(start_paused = true)]
async fn the_highest_priority_of_those_that_were_read_goes_first() {
    let limiter = limiter(1).order(QueueOrder::Priority).build().expect("a limiter");
    let order = Log::default();
    let log = order.clone();
    let stage = stage_fn(move |_, Owned(n): Owned<u64>| {
        log.add(n.to_string());
        async move {
            tokio::task::yield_now().await;
            Ok(n)
        }
    });
    let pipeline = over(|p, input| {
        let map = p.map("a", stage).limiter(&limiter);
        map.request(|n: &Owned<u64>| FanOutRequest::new().priority(i32::from(n.0 % 2 == 1))).over(input)
    });
    let run = within(pipeline.run(numbers(7))).await.expect("it completes");
    assert_eq!(order.lines(), ["0", "1", "3", "5", "2", "4", "6"]);
    assert_eq!(*run.output(), numbers(7), "the results are in the order of the input all the same");
}

/// Two may run and two may wait, of ten that are there at once.
#[tokio::test(start_paused = true)]
async fn a_full_queue_does_to_items_what_it_was_told() {
    let statuses = async |overflow| {
        let gauge = Gauge::default();
        let limiter = limiter(2).max_queue(2).overflow(overflow).build().expect("a limiter");
        let (engine, recorder) = recorded();
        let pipeline = over(|p, input| {
            p.map("a", inside(&gauge)).limiter(&limiter).tolerate(Failures::any()).over(input)
        });
        let run = within(engine.run(&pipeline, numbers(10))).await.expect("any may fail");
        let outcomes = run.into_output();
        let word: String = outcomes.outcomes().iter().map(|outcome| &outcome.status()[..1]).collect();
        let told = |name: &str| recorder.events().iter().filter(|event| event.name() == name).count();
        assert_eq!(limiter.stats().in_use, 0);
        assert_eq!(outcomes.summary().peak_in_flight, gauge.peak());
        for (index, failure) in outcomes.failures() {
            assert_eq!(failure.code(), code::FAN_OUT_FULL, "item {index}");
        }
        (word, told("fan_out.refused"), told("fan_out.dropped"), gauge.peak())
    };
    assert_eq!(statuses(Overflow::Wait).await, ("cccccccccc".to_owned(), 0, 0, 2));
    assert_eq!(statuses(Overflow::Reject).await, ("ccccffffff".to_owned(), 6, 0, 2));
    assert_eq!(statuses(Overflow::DropNewest).await, ("ccccdddddd".to_owned(), 0, 6, 2));
    assert_eq!(statuses(Overflow::DropOldest).await, ("ccddddddcc".to_owned(), 0, 6, 2));
    // The one without a permit is beyond the limit, and there is one at a time.
    assert_eq!(statuses(Overflow::CallerRuns).await, ("cccccccccc".to_owned(), 0, 0, 3));
}

#[tokio::test(start_paused = true)]
async fn refusals_count_as_failures_and_drops_do_not() {
    let full = |overflow| {
        let gauge = Gauge::default();
        let limiter = limiter(2).max_queue(2).overflow(overflow).build().expect("a limiter");
        over(move |p, input| p.map("a", inside(&gauge)).limiter(&limiter).over(input))
    };
    let error = error_of(full(Overflow::Reject).run(numbers(10))).await;
    assert_eq!(error.code(), code::FAN_OUT_FULL);
    let run = within(full(Overflow::DropNewest).run(numbers(10))).await.expect("nothing failed");
    assert_eq!(*run.output(), [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn the_queue_timeout_is_cut_to_what_the_deadline_leaves() {
    let limiter = limiter(1).queue_timeout(60.secs()).build().expect("a limiter");
    let held = limiter.acquire(FanOutRequest::new()).await.expect("there is room");
    let gauge = Gauge::default();
    let pipeline = over(|p, input| {
        let map = p.map("a", inside(&gauge)).limiter(&limiter).tolerate(Failures::any());
        map.over_with(input, |stage| stage.min_time(3.secs()))
    });
    let started = tokio::time::Instant::now();
    let run = within(pipeline.run(numbers(1)).deadline(10.secs())).await.expect("any may fail");
    assert_eq!(started.elapsed().as_secs(), 7, "as long as an item could still end in time");
    let failure = run.output().outcomes()[0].failure().expect("it had no turn");
    assert_eq!(failure.message(), "the limiter `provider` had no turn within 7.0s");
    let error = error_of(pipeline.run(numbers(1)).deadline(2.secs())).await;
    assert_eq!(error.code(), code::DEADLINE_EXCEEDED);
    drop(held);
    assert_eq!(gauge.peak(), 0, "no item was begun");
}

/// What waits in the queue is dropped with its run.
#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_leaves_the_queue() {
    let (gauge, limiter) = (Gauge::default(), limiter(2).build().expect("a limiter"));
    let pipeline = over(|p, input| p.map("a", inside(&gauge)).limiter(&limiter).read_ahead(50).over(input));
    let run = pipeline.run(numbers(100)).start();
    crate::behaviour::kit::idle().await;
    assert_eq!((limiter.stats().in_use, limiter.stats().queued), (2, 50));
    run.cancel("enough");
    drop(error_of(run).await);
    let stats = limiter.stats();
    assert_eq!((stats.in_use, stats.queued, stats.left, gauge.now()), (0, 0, 50, 0));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_item_says_why() {
    let gauge = Gauge::default();
    let limiter = limiter(1).max_queue(0).overflow(Overflow::DropNewest).build().expect("a limiter");
    let made = Arc::new(Mutex::new(0_u64));
    let counter = Arc::clone(&made);
    let items = Items::new((0..3_u64).inspect(move |_| *counter.lock().expect("no panic") += 1));
    let pipeline = over(|p, input| {
        p.map("a", inside(&gauge)).limiter(&limiter).tolerate(Failures::count(0)).over(input)
    });
    let run = within(pipeline.run(items)).await.expect("nothing failed");
    let dropped = ItemOutcome::Dropped(RefusedBy::Newest);
    assert_eq!(run.output().outcomes(), [ItemOutcome::Completed(0), dropped.clone(), dropped]);
    assert_eq!(*made.lock().expect("no panic"), 3);
}
