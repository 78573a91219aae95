//! Soak: what grows when the same is done again and again.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use stageflow::prelude::*;

use super::common::load;
use crate::harness::{
    bench::Bench,
    clock::Moment,
    lock, memory, panics,
    rng::Rng,
    scenario::{Control, Scenario, Step},
    stats::count,
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "soak.memory",
        suites: &["soak"],
        answers: &["SEED1-11"],
        about: "After 1,000 repetitions the process holds at most 5 % more memory than after 10.",
        parameters: "a repetition is 20 fan-outs of 100 stages at a time; with --duration it goes on beyond 1,000",
        faults: &[],
        controls: &[Control::new(
            "leaked block",
            &["resident memory does not grow", "allocated memory does not grow"],
        )],
        body: Step::Run(|bench| Box::pin(same_again(bench))),
    },
    Scenario {
        name: "soak.troubled",
        suites: &["soak", "chaos"],
        answers: &["SEED1-11", "SEED2-6"],
        about: "Runs that fail, panic, are cancelled or dropped leave neither tasks, nor memory, nor runs behind, with any of 30 seeds.",
        parameters: "30 seeds, 1,000 repetitions between them at least, of 20 runs each",
        faults: &["failure", "panic", "cancel", "drop"],
        controls: &[
            Control::new("leaked task", &["no task is left"]),
            Control::new("leaked block", &["allocated memory does not grow"]),
            Control::new("run left behind", &["no run is left"]),
        ],
        body: Step::Run(|bench| Box::pin(troubled(bench))),
    },
];

async fn same_again(bench: Arc<Bench>) -> Result<()> {
    let mut p = Pipeline::builder("fan-out");
    let input = p.input();
    let leaves = p.parallel("leaf", 0..100, |index| {
        stage_fn(move |_ctx, n: Arc<u64>| async move { Ok(vec![*n + index as u64; 16]) })
    });
    let leaves = leaves.inputs(input);
    let sum = stage_fn(|_ctx, leaves: Vec<Arc<Vec<u64>>>| async move { Ok(leaves.len()) });
    let sum = p.stage("sum", sum).inputs(leaves);
    let pipeline = p.build(sum)?;
    let engine = Engine::builder().build()?;
    let leaks = bench.is_broken("leaked block");
    let repetitions = bench.size(1_000, 100);
    let mut leaked: Vec<Vec<u8>> = Vec::new();
    let (mut resident, mut live) = (Vec::new(), Vec::new());
    let mut first = (0, 0);
    let mut repetition = 0;
    while repetition < repetitions || bench.has_time() {
        repetition += 1;
        load(20, 20, |index| {
            let run = engine.run(&pipeline, index as u64);
            async move { run.await.is_ok() }
        })
        .await?;
        if leaks {
            leaked.push(vec![1; 256 << 10]);
        }
        if repetition == 10 {
            first = (memory::resident()?, memory::live());
        }
        if repetition % 10 == 0 {
            resident.push(f64::from(u32::try_from(memory::resident()? / 1024)?));
            live.push(count(memory::live()));
        }
    }
    let last = (memory::resident()?, memory::live());
    drop(leaked);
    bench.figures("resident memory", format!("{repetition} repetitions")).of("KiB", &resident);
    bench.figures("allocated memory", format!("{repetition} repetitions")).of("bytes", &live);
    let case = |first: u64| format!("bytes after {repetition} repetitions, {first} after 10");
    bench.at_most("resident memory does not grow", case(first.0), first.0 + first.0 / 20, last.0);
    let (first, last) = (first.1 as u64, last.1 as u64);
    bench.at_most("allocated memory does not grow", case(first), first + (first / 20).max(128 << 10), last);
    Ok(())
}

async fn troubled(bench: Arc<Bench>) -> Result<()> {
    let [failure, panic, cancel, dropped] =
        ["failure", "panic", "cancel", "drop"].map(|name| bench.fault(name));
    let mut p = Pipeline::builder("troubled");
    let input = p.input();
    let stages = p.parallel("stage", 0..8, |index| {
        let (failure, panic) = (failure.clone(), panic.clone());
        stage_fn(move |ctx: StageContext, seed: Arc<u64>| {
            let (failure, panic) = (failure.clone(), panic.clone());
            async move {
                ctx.on_cleanup(async { tokio::task::yield_now().await });
                tokio::task::yield_now().await;
                match Rng::new(*seed, index as u64).below(60) {
                    0 if failure.fires(true) => Err(StageExit::fail("by plan")),
                    1 if panic.fires(true) => panic!("{} by plan", panics::INJECTED),
                    _ => Ok(vec![*seed; 8]),
                }
            }
        })
    });
    let stages = stages.inputs(input);
    let all = stage_fn(|_ctx, all: Vec<Arc<Vec<u64>>>| async move { Ok(all.len()) });
    let done = p.stage("done", all).inputs(stages);
    let pipeline = p.build(done)?;
    let mut p = Pipeline::builder("hanging");
    let hung = p.stage("hang", stage_fn(|_ctx, _: ()| std::future::pending::<StageResult<()>>())).inputs(());
    let hanging: Pipeline<(), ()> = p.build(hung)?;

    let engine = Engine::builder().build()?;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (leaks, orphans) = (bench.is_broken("leaked block"), bench.is_broken("leaked task"));
    let hoard: Mutex<Vec<Vec<u8>>> = Mutex::default();
    let each = if bench.is_small() { 4 } else { 34 };
    let (mut grown_tasks, mut runs_left, mut live) = (Vec::new(), 0, Vec::new());
    let mut first = None;
    let before = tasks();
    for seed in 0..30_u64 {
        for repetition in 0..each {
            let base = bench.seed() ^ (seed << 32) ^ repetition;
            load(20, 20, |index| {
                let seed = crate::harness::rng::mix(base ^ ((index as u64) << 16));
                let run = engine.start(&pipeline, seed);
                let (cancels, drops) =
                    (cancel.fires(seed.is_multiple_of(7)), dropped.fires(seed.is_multiple_of(11)));
                if cancels {
                    run.cancel("by plan");
                }
                async move {
                    if drops {
                        drop(run);
                    } else {
                        drop(run.await);
                    }
                }
            })
            .await?;
        }
        if orphans {
            tokio::spawn(std::future::pending::<()>());
        }
        if leaks {
            lock(&hoard).push(vec![1; 64 << 10]);
        }
        if bench.is_broken("run left behind") {
            engine.start(&hanging, ()).detach();
        }
        runs_left += engine.drain(Duration::from_millis(if bench.is_small() { 20 } else { 1_000 })).await;
        grown_tasks.push(count(tasks().saturating_sub(before)));
        live.push(count(memory::live()));
        first.get_or_insert(memory::live() as u64);
    }
    // A run counts as ended a moment before its task does.
    let waits = Moment::now();
    while tasks() > before && waits.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (first, last) = (first.unwrap_or_default(), memory::live() as u64);
    bench.equal("no run is left", "30 seeds", 0, runs_left);
    bench.equal("no task is left", "30 seeds", 0, tasks().saturating_sub(before));
    let case = format!("bytes, {first} after the first seed");
    bench.at_most("allocated memory does not grow", case, first + (first / 20).max(128 << 10), last);
    bench.figures("tasks more than before", "30 seeds").of("tasks", &grown_tasks);
    bench.figures("allocated memory", "30 seeds").of("bytes", &live);
    engine.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
