//! What others see of a map: `explain()`, progress, events.

use stageflow::{
    FieldValue, WaitReason, code,
    plus::fan_out::{Failures, FanOutLimiter, Items, MapExt},
    prelude::*,
};

use super::over;
use crate::behaviour::kit::{error_of, idle, recorded, within};

/// Takes ten milliseconds.
fn slow() -> impl Stage<Input = Owned<u64>, Output = u64> {
    stage_fn(|_, Owned(n): Owned<u64>| async move {
        // sleeps: on paused time
        tokio::time::sleep(10.millis()).await;
        Ok(n)
    })
}

#[tokio::test(start_paused = true)]
async fn explain_says_how_many_are_done_running_and_queued() {
    let limiter = FanOutLimiter::builder("api").limit(16).build().expect("a limiter");
    let pipeline = over(|p, input| p.map("embed", slow()).limiter(&limiter).read_ahead(40).over(input));
    let run = pipeline.run((0..1_000).collect::<Vec<u64>>()).start();
    // sleeps: on paused time
    tokio::time::sleep(205.millis()).await;
    let explained = run.explain().expect("it runs");
    let expected = WaitReason::Items { done: 320, total: Some(1_000), running: 16, queued: 40 };
    assert_eq!(explained.reason("embed"), Some(&expected));
    assert!(
        explained.to_string().contains("has done 320 of 1000 items, 16 running, 40 queued"),
        "{explained}"
    );
    within(run).await.expect("it completes");
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_no_total() {
    let pipeline = over(|p, input| p.map("embed", slow()).max_in_flight(2).over(input));
    let mut left = 100_u64;
    let items = Items::poll_fn(move |_| {
        left = left.saturating_sub(1);
        std::task::Poll::Ready((left > 0).then_some(left))
    });
    let run = pipeline.run(items).start();
    idle().await;
    let explained = run.explain().expect("it runs");
    let expected = WaitReason::Items { done: 0, total: None, running: 2, queued: 0 };
    assert_eq!(explained.reason("embed"), Some(&expected));
    within(run).await.expect("it completes");
}

/// Each item that ends is a sign of progress, and a map in which none ends is idle.
#[tokio::test(start_paused = true)]
async fn an_item_that_ends_is_progress() {
    let map = |stage_idle: u64| {
        over(move |p, input| {
            let map = p.map("embed", slow()).max_in_flight(1);
            map.over_with(input, |stage| stage.idle_timeout(stage_idle.millis()))
        })
    };
    within(map(15).run((0..20).collect::<Vec<u64>>())).await.expect("it gets on");
    let error = error_of(map(5).run((0..20).collect::<Vec<u64>>())).await;
    assert_eq!(error.code(), code::IDLE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn events_say_what_was_decided() {
    let stage = stage_fn(|_, Owned(n): Owned<u64>| {
        std::future::ready(if n % 2 == 1 { Err(StageExit::fail("odd")) } else { Ok(n) })
    });
    let (engine, recorder) = recorded();
    let pipeline =
        over(|p, input| p.map("even", stage).max_in_flight(1).tolerate(Failures::count(2)).over(input));
    drop(error_of(engine.run(&pipeline, (0..10).collect::<Vec<u64>>())).await);
    let events: Vec<_> = recorder
        .events()
        .into_iter()
        .filter_map(|event| match event.kind() {
            stageflow::EventKind::Custom(custom) => Some((**custom).clone()),
            _ => None,
        })
        .collect();
    let names: Vec<_> = events.iter().map(stageflow::CustomEvent::name).collect();
    let failed = "fan_out.item_failed";
    assert_eq!(names, [failed, failed, failed, "fan_out.stopped", "fan_out.finished"]);
    assert!(names.iter().all(|name| stageflow::EventClass::of_name(name) == stageflow::EventClass::Decision));
    assert_eq!(events[2].field("index"), Some(&FieldValue::Int(5)));
    assert_eq!(events[2].field("code"), Some(&FieldValue::Text("STAGE_FAILED".to_owned())));
    assert_eq!(events[3].field("failed"), Some(&FieldValue::Int(3)));
    let finished: Vec<_> = events[4].fields().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(
        finished,
        [
            "completed=3",
            "failed=3",
            "skipped=0",
            "dropped=0",
            "cancelled=0",
            "not_begun=4",
            "peak_in_flight=1"
        ]
    );
}
