//! Items of many runs in one call: who meets whom, whose turn it is, and what others see.

use stageflow::{
    EventClass, FieldValue, WaitReason,
    plus::{batch::Batcher, fan_out::MapExt},
    prelude::*,
};

use super::{Calls, asks, assert_empty, custom, doubling};
use crate::behaviour::kit::{idle, recorded, within};

#[tokio::test(start_paused = true)]
async fn runs_share_calls_and_each_has_its_own_answer() {
    let calls = Calls::default();
    let batcher = Batcher::builder("model", doubling(&calls)).max_size(4).build().expect("a batcher");
    let pipeline = asks(&batcher);
    let runs: Vec<_> = (0..10).map(|n| pipeline.run(n).start()).collect();
    for (n, run) in (0..).zip(runs) {
        assert_eq!(*within(run).await.expect("an answer").output(), 2 * n);
    }
    let sizes: Vec<_> = calls.lock().expect("calls").iter().map(|(_, items)| items.len()).collect();
    assert_eq!(sizes, [4, 4, 2]);
    assert_empty(&batcher);
}

#[tokio::test(start_paused = true)]
async fn tenants_never_meet_unless_they_are_told_to() {
    for across in [false, true] {
        let calls = Calls::default();
        let mut builder = Batcher::builder("model", doubling(&calls)).max_size(4);
        if across {
            builder = builder.across_tenants();
        }
        let batcher = builder.build().expect("a batcher");
        let pipeline = asks(&batcher);
        let runs: Vec<_> =
            (0..8).map(|n| pipeline.run(n).tenant(if n % 2 == 0 { "even" } else { "odd" }).start()).collect();
        for run in runs {
            within(run).await.expect("an answer");
        }
        let mut calls = calls.lock().expect("calls").clone();
        calls.sort();
        let tenant = |name: &str| Some(name.to_owned());
        let apart = vec![(tenant("even"), vec![0, 2, 4, 6]), (tenant("odd"), vec![1, 3, 5, 7])];
        let together = vec![(None, vec![0, 1, 2, 3]), (None, vec![4, 5, 6, 7])];
        assert_eq!(calls, if across { together } else { apart });
    }
}

/// One at a time is called: who has much waits for who has little.
#[tokio::test(start_paused = true)]
async fn tenants_take_turns() {
    let calls = Calls::default();
    let builder = Batcher::builder("model", doubling(&calls)).max_size(4).max_wait(1.millis());
    let batcher = builder.max_in_flight(1).build().expect("a batcher");
    let pipeline = asks(&batcher);
    let greedy: Vec<_> = (0..40).map(|n| pipeline.run(n).tenant("greedy").start()).collect();
    idle().await;
    let modest = pipeline.run(99).tenant("modest").start();
    let run = within(modest).await.expect("an answer");
    assert!(run.report().duration() <= 31.millis(), "{}", run.report());
    for run in greedy {
        within(run).await.expect("an answer");
    }
    let order: Vec<_> = calls.lock().expect("calls").iter().map(|(tenant, _)| tenant.clone()).collect();
    assert!(order[..3].contains(&Some("modest".to_owned())), "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn waits_and_decisions_are_seen() {
    let calls = Calls::default();
    let builder = Batcher::builder("model", doubling(&calls)).max_size(2).max_wait(5.millis());
    let batcher = builder.max_weight(100, |n| *n).build().expect("a batcher");
    let (engine, recorder) = recorded();
    let pipeline = asks(&batcher);
    let late = engine.run(&pipeline, 1).start();
    idle().await;
    let waits = |is_called| WaitReason::Batch { batcher: "model".to_owned(), is_called };
    let explained = late.explain().expect("it runs");
    assert_eq!(explained.reason("ask"), Some(&waits(false)));
    assert!(explained.to_string().contains("waits for its batch of `model`"), "{explained}");
    // sleeps: on paused time
    tokio::time::sleep(6.millis()).await;
    assert_eq!(late.explain().expect("it runs").reason("ask"), Some(&waits(true)));
    within(late).await.expect("an answer");
    // Full, too heavy for one, and with little time.
    let two = [engine.run(&pipeline, 1).start(), engine.run(&pipeline, 2).start()];
    for run in two {
        within(run).await.expect("an answer");
    }
    within(engine.run(&pipeline, 101)).await.expect("an answer");
    let hurried = within(engine.run(&pipeline, 1).deadline(14.millis()).start()).await;
    assert!(hurried.is_err() || hurried.is_ok());
    let fast =
        Batcher::builder("fast", |batch| async move { Ok(IntoIterator::into_iter(batch).map(Ok).collect()) });
    let fast = fast.max_wait(1.secs()).build().expect("a batcher");
    within(engine.run(&asks(&fast), 1).deadline(100.millis())).await.expect("half of its time was left");

    let events = custom(&recorder);
    assert!(events.iter().all(|event| EventClass::of_name(event.name()) == EventClass::Decision));
    let field = |key| events.iter().map(move |event| event.field(key).expect("a field").to_string());
    let because: Vec<_> = field("because").collect();
    assert_eq!(
        because,
        ["time", "full", "full", "weight", "time", "deadline"].map(|word| format!("{word:?}"))
    );
    assert_eq!(events[1].field("size"), Some(&FieldValue::Int(2)));
    assert_eq!(events[3].field("weight"), Some(&FieldValue::Int(101)));
    let Some(FieldValue::Int(waited)) = events[5].field("waited_ns") else { panic!("{events:?}") };
    assert!((50_000_000..=52_000_000).contains(waited), "{waited}");
}

/// The items of one map meet in the same way.
#[tokio::test(start_paused = true)]
async fn a_map_over_a_batcher_shares_its_calls() {
    let calls = Calls::default();
    let batcher = Batcher::builder("model", doubling(&calls)).max_size(8).build().expect("a batcher");
    let mut p = Pipeline::builder("map");
    let input = p.input();
    let answers = p.map("ask", batcher.clone()).max_in_flight(16).over(input);
    let pipeline = p.build(answers).expect("it builds");
    let run = within(pipeline.run((0..40).collect::<Vec<u64>>())).await.expect("answers");
    assert_eq!(*run.output(), (0..40).map(|n| 2 * n).collect::<Vec<_>>());
    assert_eq!(calls.lock().expect("calls").len(), 5);
    assert_empty(&batcher);
}
