//! The same seed gives the same run, event by event; other seeds give other orders.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use stageflow::{Engine, Pipeline, Recorder, StageContext, StageResult, stage_fn};

use super::pause::{Time, yield_once};

async fn work(_: StageContext, n: Arc<u8>) -> StageResult<u8> {
    yield_once().await;
    Time::Virtual.pass(*n % 3).await;
    Ok(n.wrapping_add(1))
}

async fn sum(_: StageContext, parts: Vec<Arc<u8>>) -> StageResult<u8> {
    Ok(parts.iter().fold(0, |sum, part| sum ^ **part))
}

/// The story of a run: what happened, to whom, and when.
async fn story(pipeline: &Pipeline<u8, u8>, seed: u64) -> Vec<(String, Duration)> {
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).seed(seed).build().expect("an engine");
    engine.run(pipeline, 1).await.expect("it completes");
    let times = recorder.events().into_iter().map(|event| event.elapsed()).collect::<Vec<_>>();
    recorder.lines().into_iter().zip(times).collect()
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_run() {
    let mut p = Pipeline::builder("seeded");
    let input = p.input();
    let first = p.parallel("first", 0..6, |_| stage_fn(work)).inputs(input);
    let second = first
        .iter()
        .enumerate()
        .map(|(i, port)| p.stage(format!("second-{i}"), stage_fn(work)).inputs(*port));
    let second: Vec<_> = second.collect();
    let sum = p.stage("sum", stage_fn(sum)).inputs(second);
    let pipeline = p.build(sum).expect("a pipeline");
    let mut stories = BTreeSet::new();
    for seed in 0..20 {
        let one = story(&pipeline, seed).await;
        assert_eq!(one, story(&pipeline, seed).await, "seed {seed}");
        stories.insert(one);
    }
    assert!(stories.len() > 15, "{} orders of 20 seeds", stories.len());
}
