//! Fan-out under stress: many writers, failures that the run tolerates, and a limit on how much runs at a time.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use stageflow::{FailurePolicy, RunOutcome, prelude::*};

use crate::harness::{
    bench::Bench,
    clock::Moment,
    lock,
    record::Plot,
    rng::mix,
    scenario::{Control, Scenario, Step},
    stats::count,
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "fanout.writers",
        suites: &["seeds"],
        answers: &["SEED1-6", "SEED1-14", "SEED1-33"],
        about: "Stages that write to one store on several threads lose no write and repeat none.",
        parameters: "500, 5,000 and 50,000 writers, each of a key of its own and of one of eight shared counters",
        faults: &[],
        controls: &[
            Control::new("dropped write", &["no write is lost", "shared counters add up"]),
            Control::new("repeated write", &["no write is repeated"]),
            Control::new("one worker", &["writers work at the same time"]),
        ],
        body: Step::Run(|bench| Box::pin(writers(bench))),
    },
    Scenario {
        name: "fanout.partial_failure",
        suites: &["seeds"],
        answers: &["SEED1-16", "SEED1-18", "SEED1-19"],
        about: "When two percent of the stages fail, the other outputs and a report of each failure are there.",
        parameters: "500, 5,000 and 50,000 stages, each 50th fails, policy Continue",
        faults: &["stage failure"],
        controls: &[
            Control::new("fail fast", &["the other outputs are there", "the run ends with failures"]),
            Control::new("swallowed failure", &["each failure is reported with its stage"]),
        ],
        body: Step::Run(|bench| Box::pin(partial_failure(bench))),
    },
    Scenario {
        name: "fanout.limit",
        suites: &["seeds"],
        answers: &["SEED1-20", "SEED1-25", "SEED1-28", "SEED3-7"],
        about: "However many stages are ready, not more than the limit are in flight, and all of them run.",
        parameters: "10,000 stages, 64 at a time",
        faults: &[],
        controls: &[
            Control::new("no-op limiter", &["never more than the limit"]),
            Control::new("too narrow", &["the limit is used"]),
            Control::new("lost stage", &["each stage runs once"]),
        ],
        body: Step::Run(|bench| Box::pin(limit(bench))),
    },
];

/// What the writers write to.
#[derive(Default)]
struct Store {
    own: Mutex<HashMap<usize, usize>>,
    shared: [AtomicUsize; 8],
    now: AtomicUsize,
    most: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Writer {
    index: usize,
    writes: usize,
}

impl Stage for Writer {
    type Input = Arc<Arc<Store>>;
    type Output = ();

    async fn run(&self, _ctx: &StageContext, store: Self::Input) -> StageResult<()> {
        // Without an `.await`, so that two at the same time are two threads.
        let now = store.now.fetch_add(1, Ordering::SeqCst) + 1;
        store.most.fetch_max(now, Ordering::SeqCst);
        // Enough to do that other threads come to help.
        std::hint::black_box((0..20_000).fold(0, |burnt: u64, n| burnt ^ mix(n)));
        for _ in 0..self.writes {
            *lock(&store.own).entry(self.index).or_default() += 1;
            store.shared[self.index % 8].fetch_add(1, Ordering::Relaxed);
        }
        store.now.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

async fn writers(bench: Arc<Bench>) -> Result<()> {
    for size in bench.sizes(&[500, 5_000, 50_000]) {
        let mut p = Pipeline::builder("writers");
        let store = p.input();
        let (dropped, repeated) = (bench.is_broken("dropped write"), bench.is_broken("repeated write"));
        let written = p.parallel("writer", 0..size, |index| Writer {
            index,
            writes: if index == 7 { 1 - usize::from(dropped) + usize::from(repeated) } else { 1 },
        });
        let written = written.inputs(store);
        let done = p.stage("done", stage_fn(|_ctx, written: Vec<Arc<()>>| async move { Ok(written.len()) }));
        let done = done.inputs(written);
        let pipeline = p.build(done)?;

        let store = Arc::new(Store::default());
        let engine = Engine::builder();
        let engine = if bench.is_broken("one worker") { engine.seed(bench.seed()) } else { engine };
        let engine = engine.build()?;
        let started = Moment::now();
        engine.run(&pipeline, Arc::clone(&store)).await?;
        bench.figures("time of a run", size).times(&[started.elapsed()], std::time::Duration::ZERO);

        let own = lock(&store.own);
        bench.equal("no write is lost", size, size, own.len());
        let repeated = own.values().filter(|writes| **writes > 1).count();
        bench.equal("no write is repeated", size, 0, repeated);
        let shared: usize = store.shared.iter().map(|counter| counter.load(Ordering::Relaxed)).sum();
        bench.equal("shared counters add up", size, size, shared);
        bench.at_least("writers work at the same time", size, 2, store.most.load(Ordering::SeqCst));
    }
    Ok(())
}

async fn partial_failure(bench: Arc<Bench>) -> Result<()> {
    let fault = bench.fault("stage failure");
    for size in bench.sizes(&[500, 5_000, 50_000]) {
        let mut p = Pipeline::builder("partly");
        let is_fail_fast = bench.is_broken("fail fast");
        p.on_failure(if is_fail_fast { FailurePolicy::FailFast } else { FailurePolicy::Continue });
        let input = p.input();
        let swallows = bench.is_broken("swallowed failure");
        let leaves = p.parallel("leaf", 0..size, |index| {
            let fault = fault.clone();
            stage_fn(move |_ctx, n: Arc<u64>| {
                let fails = fault.fires(index % 50 == 49) && !(swallows && index == 49);
                async move {
                    if fails {
                        Err(StageExit::fail(format!("leaf {index} broke")))
                    } else {
                        Ok(mix(*n + index as u64))
                    }
                }
            })
        });
        leaves.inputs(input);
        let output = p.stage("output", stage_fn(|_ctx, n: Arc<u64>| async move { Ok(*n) })).inputs(input);
        let pipeline = p.build(output)?;

        let ended = pipeline.run(7).await;
        let (outcome, report) = match &ended {
            Ok(run) => (Some(run.outcome()), Some(run.report())),
            Err(error) => (error.outcome(), error.report()),
        };
        let seen = outcome.map_or("nothing", RunOutcome::as_str);
        bench.equal("the run ends with failures", size, RunOutcome::CompletedWithFailures.as_str(), seen);
        let Some(report) = report else { continue };
        let names: Vec<String> =
            pipeline.stages().map(|stage| stage.name().to_owned()).filter(|name| name != "output").collect();
        let right = names.iter().enumerate().filter(|(index, name)| {
            report.output_of::<u64>(name).is_some_and(|value| *value == mix(7 + *index as u64))
        });
        bench.equal("the other outputs are there", size, size - size / 50, right.count());
        let failures = report.failures();
        let named = names.iter().enumerate().filter(|(index, name)| {
            let message = format!("leaf {index} broke");
            failures.iter().any(|failure| failure.stage() == name.as_str() && failure.message() == message)
        });
        bench.equal("each failure is reported with its stage", size, size / 50, named.count());
    }
    Ok(())
}

#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

async fn limit(bench: Arc<Bench>) -> Result<()> {
    let (size, limit) = (bench.size(10_000, 500), 64);
    let mut p = Pipeline::builder("limited");
    match (bench.is_broken("no-op limiter"), bench.is_broken("too narrow")) {
        (true, _) => {}
        (_, true) => drop(p.max_in_flight(8)),
        _ => drop(p.max_in_flight(limit)),
    }
    let input = p.input();
    let counted = size - usize::from(bench.is_broken("lost stage"));
    let leaves = p.parallel("leaf", 0..counted, |_| {
        stage_fn(|_ctx, gauge: Arc<Arc<Gauge>>| async move {
            let now = gauge.now.fetch_add(1, Ordering::SeqCst) + 1;
            gauge.most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            gauge.all.fetch_add(1, Ordering::SeqCst);
            gauge.now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
    });
    let leaves = leaves.inputs(input);
    let done =
        p.stage("done", stage_fn(|_ctx, all: Vec<Arc<()>>| async move { Ok(all.len()) })).inputs(leaves);
    let pipeline = p.build(done)?;

    let gauge = Arc::new(Gauge::default());
    let started = Moment::now();
    pipeline.run(Arc::clone(&gauge)).await?;
    let rate = count(size) / started.elapsed().as_secs_f64();
    bench.figures("stages per second", size).plot(Plot::Throughput, size).of("stages/s", &[rate]);
    let most = gauge.most.load(Ordering::SeqCst);
    bench.at_most("never more than the limit", "", limit as usize, most);
    bench.at_least("the limit is used", "", limit as usize, most);
    bench.equal("each stage runs once", "", size, gauge.all.load(Ordering::SeqCst));
    Ok(())
}
