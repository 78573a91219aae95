//! Fan-out: a root, many stages beside each other, and one that takes all their outputs.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use stageflow::{StageOutcome, prelude::*};

use crate::harness::{
    bench::{Bench, Fault},
    clock::Moment,
    memory,
    record::Plot,
    rng::mix,
    scenario::{Control, Scenario, Step},
    stats::{count, linearity},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "fanout.sizes",
        suites: &["seeds"],
        answers: &["SEED1-1", "SEED1-2", "SEED1-3", "SEED1-4", "SEED1-8", "SEED1-9", "SEED1-12", "SEED1-17"],
        about: "A fan-out of stages without cost delivers each output once, in 10 ms and at the same rate at any size.",
        parameters: "50, 100, 250, 500, 5,000 and 50,000 stages; two more for the root and the sum",
        faults: &[],
        controls: &[
            Control::new("lost output", &["each output arrives once"]),
            Control::new("skipped stage", &["each stage completes"]),
            Control::new("slow stage", &["a run takes at most 10 ms", "stages per second"]),
            Control::new("quadratic sum", &["the rate does not fall with the size"]),
        ],
        body: Step::Run(|bench| Box::pin(sizes(bench))),
    },
    Scenario {
        name: "fanout.latency",
        suites: &["seeds"],
        answers: &["SEED1-5", "SEED1-31", "SEED1-33"],
        about: "Stages that wait 50 ms wait at the same time, and the framework adds little to it.",
        parameters: "50, 100, 250, 500, 5,000 and 50,000 stages of 50 ms, the same latency at all sizes",
        faults: &["latency"],
        controls: &[
            Control::new("four at a time", &["the framework adds at most 10 ms and 10 µs per stage"]),
            Control::new("no wait", &["no run is faster than its latency"]),
        ],
        body: Step::Run(|bench| Box::pin(latency(bench))),
    },
    Scenario {
        name: "fanout.memory",
        suites: &["seeds"],
        answers: &["SEED1-10", "SEED1-13"],
        about: "The memory of a run is linear in its stages, and at most 2 KiB for each.",
        parameters: "50, 100, 250, 500, 5,000 and 50,000 stages",
        faults: &[],
        controls: &[
            Control::new("ballast", &["at most 2 KiB for each stage"]),
            Control::new("growing ballast", &["memory is linear in the stages"]),
        ],
        body: Step::Run(|bench| Box::pin(memory_by_size(bench))),
    },
];

const LATENCY: Duration = Duration::from_millis(50);

/// What a leaf of the fan-out does.
#[derive(Clone, Default)]
struct Leaf {
    index: u64,
    latency: Option<Fault>,
    wait: Duration,
    skips: bool,
    ballast: usize,
}

/// What a leaf gives.
struct Given {
    value: u64,
    _ballast: Vec<u8>,
}

impl Stage for Leaf {
    type Input = Arc<u64>;
    type Output = Given;

    async fn run(&self, _ctx: &StageContext, root: Self::Input) -> StageResult<Given> {
        if self.skips {
            return Err(StageExit::skip("sabotage"));
        }
        let waits = self.latency.as_ref().is_none_or(|fault| fault.fires(true));
        if waits && !self.wait.is_zero() {
            tokio::time::sleep(self.wait).await;
        }
        Ok(Given { value: mix(*root + self.index), _ballast: vec![1; self.ballast] })
    }
}

/// How many outputs arrived, and their sum.
type Sum = (usize, u64);

/// The pipeline of so many leaves, of which the last one reads `wired`.
fn fan_out(
    leaves: usize,
    wired: usize,
    work: u64,
    leaf: impl Fn(usize) -> Leaf,
) -> Result<Pipeline<u64, Sum>> {
    let mut p = Pipeline::builder("fan-out");
    let input = p.input();
    let root = p.stage("root", stage_fn(|_ctx, n: Arc<u64>| async move { Ok(*n) })).inputs(input);
    let given = p.parallel("leaf", 0..leaves, leaf).inputs(root);
    let sum = stage_fn(move |_ctx, given: Vec<Arc<Given>>| async move {
        let burnt = (0..work).fold(0, |burnt: u64, n| burnt ^ mix(n));
        std::hint::black_box(burnt);
        Ok((given.len(), given.iter().fold(0_u64, |sum, given| sum.wrapping_add(given.value))))
    });
    let sum = p.stage("sum", sum).inputs(given.into_iter().take(wired).collect::<Vec<_>>());
    Ok(p.build(sum)?)
}

/// What the sum has to be, calculated without an engine.
fn expected(leaves: usize) -> String {
    let sum = (0..leaves as u64).fold(0_u64, |sum, index| sum.wrapping_add(mix(7 + index)));
    format!("{leaves} with sum {sum:016x}")
}

async fn sizes(bench: Arc<Bench>) -> Result<()> {
    let sizes =
        if bench.is_small() { vec![50, 500] } else { bench.sizes(&[50, 100, 250, 500, 5_000, 50_000]) };
    let mut reference: Option<f64> = None;
    // That of 500 stages.
    let reference_at = if bench.is_small() { 0 } else { 3 };
    for (at, size) in sizes.into_iter().enumerate() {
        let wired = size - usize::from(bench.is_broken("lost output"));
        let work = if bench.is_broken("quadratic sum") { 40 * size as u64 * size as u64 } else { 0 };
        let (skips, slow) = (bench.is_broken("skipped stage"), bench.is_broken("slow stage"));
        let pipeline = fan_out(size, wired, work, |index| Leaf {
            index: index as u64,
            wait: if slow && index == 0 { Duration::from_millis(30) } else { Duration::ZERO },
            skips: skips && index == 3,
            ..Leaf::default()
        })?;
        let rounds = (50_000 / size).clamp(5, 200);
        let (mut times, mut completed, mut arrived) = (Vec::new(), size + 2, expected(size));
        for round in 0..rounds + 2 {
            let started = Moment::now();
            let ended = pipeline.run(7).await;
            let time = started.elapsed();
            let report = match &ended {
                Ok(run) => Some(run.report()),
                Err(error) => error.report(),
            };
            let stages = report.iter().flat_map(stageflow::RunReport::stages);
            completed =
                completed.min(stages.filter(|stage| stage.outcome == StageOutcome::Completed).count());
            let seen = match &ended {
                Ok(run) => format!("{} with sum {:016x}", run.output().0, run.output().1),
                Err(error) => error.to_string(),
            };
            if seen != expected(size) {
                arrived = seen;
            }
            // The first rounds warm up.
            if round >= 2 {
                times.push(time);
            }
        }
        bench.equal("each output arrives once", size, expected(size), arrived);
        bench.equal("each stage completes", size, size + 2, completed);
        bench.figures("time of a run", size).times(&times, Duration::ZERO);
        let rates: Vec<f64> = times.iter().map(|time| count(size + 2) / time.as_secs_f64()).collect();
        bench.figures("stages per second", size).plot(Plot::Throughput, size).of("stages/s", &rates);
        times.sort();
        let middle = times.get(times.len() / 2).copied().unwrap_or_default();
        if size <= 500 {
            bench.within("a run takes at most 10 ms", size, Duration::from_millis(10), middle);
        }
        let rate = count(size + 2) / middle.as_secs_f64();
        bench.at_least("stages per second", size, 125_000.0, rate.round());
        if at == reference_at {
            reference = Some(rate);
        }
        match reference {
            Some(reference) if at > reference_at => {
                let percent = (100.0 * rate / reference).round();
                bench.at_least(
                    "the rate does not fall with the size",
                    format!("{size}, in percent"),
                    90.0,
                    percent,
                );
            }
            _ => {}
        }
    }
    Ok(())
}

async fn latency(bench: Arc<Bench>) -> Result<()> {
    let fault = bench.fault("latency");
    for size in bench.sizes(&[50, 100, 250, 500, 5_000, 50_000]) {
        let wait = if bench.is_broken("no wait") { Duration::ZERO } else { LATENCY };
        let pipeline = fan_out(size, size, 0, |index| Leaf {
            index: index as u64,
            latency: Some(fault.clone()),
            wait,
            ..Leaf::default()
        })?;
        let mut times = Vec::new();
        for _ in 0..10 {
            let started = Moment::now();
            let run = pipeline.run(7);
            let run = if bench.is_broken("four at a time") { run.max_in_flight(4) } else { run };
            run.await?;
            times.push(started.elapsed());
        }
        bench.figures("time of a run", size).times(&times, LATENCY);
        times.sort();
        let (first, middle) =
            (times.first().copied().unwrap_or_default(), times.get(5).copied().unwrap_or_default());
        let per_stage = Duration::from_micros(10) * u32::try_from(size)?;
        let name = "the framework adds at most 10 ms and 10 µs per stage";
        bench.within(name, size, LATENCY + Duration::from_millis(10) + per_stage, middle);
        let name = "no run is faster than its latency";
        bench.check(name, size, "at least 50 ms", format_args!("{first:?}"), first >= LATENCY);
    }
    Ok(())
}

async fn memory_by_size(bench: Arc<Bench>) -> Result<()> {
    let all = [50, 100, 250, 500, 5_000, 50_000];
    let sizes = if bench.is_small() { all[..4].to_vec() } else { bench.sizes(&all) };
    let mut points = Vec::new();
    for size in sizes {
        let (ballast, growing) = (bench.is_broken("ballast"), bench.is_broken("growing ballast"));
        let pipeline = fan_out(size, size, 0, |index| Leaf {
            index: index as u64,
            ballast: match (ballast, growing) {
                (true, _) => 4_096,
                (_, true) => index * 128,
                _ => 0,
            },
            ..Leaf::default()
        })?;
        let mut samples = Vec::new();
        for _ in 0..10 {
            let before = memory::live();
            memory::reset_peak();
            let run = pipeline.run(7).await?;
            samples.push(count(memory::peak().saturating_sub(before)));
            drop(run);
        }
        bench.figures("memory of a run", size).plot(Plot::Memory, size).of("bytes", &samples);
        samples.sort_by(f64::total_cmp);
        let most = samples.get(5).copied().unwrap_or_default();
        points.push((count(size), most));
        bench.at_most("at most 2 KiB for each stage", size, 2_048.0, (most / count(size + 2)).round());
    }
    let fit = linearity(&points);
    let seen = format!("r² = {fit:.4}");
    bench.check("memory is linear in the stages", "", "r² above 0.99", seen, fit > 0.99);
    Ok(())
}
