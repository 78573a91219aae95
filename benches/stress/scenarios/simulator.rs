//! The simulator: what a simulation costs beside a plain run, and that its seeds replay and find what is wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow};
use stageflow::{
    prelude::*,
    testing::{Faults, Sim, SimFailure},
};

use crate::harness::{
    bench::Bench,
    clock::Moment,
    panics::INJECTED,
    scenario::{Control, Scenario, Step},
};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "simulator.seeds",
    suites: &["daily"],
    answers: &[],
    about: "Each seed replays to its trace, and a planted race between two stages is found and replays from its seed.",
    parameters: "10,000 seeds of a pipeline of 20 stages with latencies and 1 % failures, beside as many plain runs of it",
    faults: &["failure"],
    controls: &[
        Control::new("a clock of its own", &["each seed replays to its trace"]),
        Control::new("no race", &["a planted race is found", "the race replays"]),
    ],
    body: Step::Run(|bench| Box::pin(seeds(bench))),
}];

/// A head, 18 stages beside each other, and their sum. `outside` is not under the control of a simulation.
fn wide(outside: Option<&Arc<AtomicU64>>) -> Result<Pipeline<u64, u64>> {
    let mut p = Pipeline::builder("wide");
    let input = p.input();
    let head = p.stage("head", stage_fn(|_ctx, n: Arc<u64>| async move { Ok(*n) })).inputs(input);
    let parts = p.parallel("part", 0..18, |index| {
        let outside = outside.cloned();
        stage_fn(move |_ctx: StageContext, n: Arc<u64>| {
            let millis = outside.as_ref().map_or(0, |outside| outside.fetch_add(1, Ordering::Relaxed));
            async move {
                tokio::task::yield_now().await;
                if millis > 0 {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                }
                Ok(*n + index as u64)
            }
        })
    });
    let parts = parts.inputs(head);
    let sum =
        stage_fn(
            |_ctx, parts: Vec<Arc<u64>>| async move { Ok(parts.iter().map(|part| **part).sum::<u64>()) },
        );
    let sum = p.stage("sum", sum).inputs(parts);
    Ok(p.build(sum)?)
}

/// Two stages that read and write without a lock, with a wait between.
fn race(shared: &Arc<AtomicU64>, is_safe: bool) -> Result<Pipeline<(), u64>> {
    let mut p = Pipeline::builder::<()>("race");
    let add = |_| {
        let shared = Arc::clone(shared);
        stage_fn(move |_ctx: StageContext, (): ()| {
            let shared = Arc::clone(&shared);
            async move {
                if is_safe {
                    return Ok(shared.fetch_add(1, Ordering::Relaxed));
                }
                let seen = shared.load(Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
                shared.store(seen + 1, Ordering::Relaxed);
                Ok(seen)
            }
        })
    };
    let parts = p.parallel("add", 0..2, add).inputs(());
    Ok(p.build(parts[1])?)
}

/// A simulation brings its own runtime: it needs a thread that has none.
fn outside_of_the_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    thread::spawn(work).join().map_err(|_| anyhow!("the simulation panicked"))
}

fn replays(seeds: u64, outside: Option<&Arc<AtomicU64>>) -> Result<()> {
    let pipeline = wide(outside)?;
    Sim::seeds(0..seeds).twice().faults_may_not_fire().try_run(|sim| {
        let pipeline = pipeline.clone();
        async move {
            sim.latency("part-003", Duration::from_millis(1)..Duration::from_secs(9));
            let _may_fail = sim.run(&pipeline, 1).await;
        }
    })?;
    Ok(())
}

fn find_race(is_safe: bool) -> Result<Option<(u64, bool)>> {
    let shared = Arc::new(AtomicU64::new(0));
    let pipeline = race(&shared, is_safe)?;
    let found = Sim::seeds(0..2_000).try_run(|sim| {
        let (pipeline, shared) = (pipeline.clone(), Arc::clone(&shared));
        async move {
            shared.store(0, Ordering::Relaxed);
            sim.latency("add-001", Duration::ZERO..Duration::from_millis(200));
            let _done = sim.run(&pipeline, ()).await;
            assert!(shared.load(Ordering::Relaxed) == 2, "{INJECTED} an update was lost");
        }
    });
    Ok(match found {
        Err(SimFailure::Seed { seed, trace, replayed, .. }) => Some((seed, trace.hash() == replayed)),
        _ => None,
    })
}

async fn seeds(bench: Arc<Bench>) -> Result<()> {
    let (count, fault) = (bench.size(10_000, 300) as u64, bench.fault("failure"));
    let rate = if fault.is_armed() { 0.01 } else { 0.0 };
    let pipeline = wide(None)?;
    let simulated = pipeline.clone();
    let began = Moment::now();
    let report = outside_of_the_runtime(move || {
        Sim::seeds(0..count).faults_may_not_fire().try_run(|sim| {
            let pipeline = simulated.clone();
            async move {
                sim.faults(Faults::everywhere().rate(rate).permanent().named("failure"))
                    .latency("head", Duration::from_millis(1)..Duration::from_secs(9));
                let _may_fail = sim.run(&pipeline, 1).await;
            }
        })
    })??;
    let took = began.elapsed();
    fault.happened(report.fired("failure"));
    #[expect(clippy::cast_precision_loss, reason = "a count of runs fits a float")]
    let per_second = |runs: u64, took: Duration| runs as f64 / took.as_secs_f64();
    bench.figures("simulated runs", "20 stages").of("runs/s", &[per_second(count, took)]);

    let began = Moment::now();
    for _ in 0..count {
        pipeline.run(1).await?;
    }
    bench
        .figures("plain runs, one after the other", "20 stages")
        .of("runs/s", &[per_second(count, began.elapsed())]);

    let outside = bench.is_broken("a clock of its own").then(Arc::default);
    let replayed = outside_of_the_runtime(move || replays(50, outside.as_ref()))?;
    let seen = replayed.as_ref().map_or_else(ToString::to_string, |()| "one trace each".to_owned());
    let seen = seen.lines().next().unwrap_or_default().to_owned();
    bench.check(
        "each seed replays to its trace",
        "50 seeds, twice",
        "one trace each",
        seen,
        replayed.is_ok(),
    );

    let is_safe = bench.is_broken("no race");
    let found = outside_of_the_runtime(move || find_race(is_safe))??;
    let seed = found.map_or_else(|| "none".to_owned(), |(seed, _)| format!("seed {seed}"));
    bench.check("a planted race is found", "2,000 seeds at most", "a seed", seed, found.is_some());
    let same = found.is_some_and(|(_, same)| same);
    bench.equal("the race replays", "", true, same);
    Ok(())
}
