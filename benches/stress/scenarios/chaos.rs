//! Chaos: random failures, jitter, clocks that disagree, and scarce memory.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::Result;
use stageflow::{Clock, FailurePolicy, Keep, Recorder, StageOutcome, code, prelude::*};

use super::common::{Counter, load, report_of};
use crate::harness::{
    bench::{Bench, Fault},
    clock::{self, Moment},
    lock, memory,
    rng::{Rng, mix},
    scenario::{Control, Scenario, Step},
    stats::count,
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "chaos.stage_failures",
        suites: &["chaos"],
        answers: &["SEED2-29", "SEED1-18"],
        about: "When a tenth of all stages fails, exactly the stages behind them are blocked, and all others complete.",
        parameters: "500 runs of 20 chains of 5 stages, 20 at a time, each stage fails with 10 %",
        faults: &["stage failure"],
        controls: &[
            Control::new("swallowed failure", &["failures are those that were injected"]),
            Control::new(
                "fail fast",
                &["stages before a failure complete", "stages behind a failure are blocked"],
            ),
        ],
        body: Step::Run(|bench| Box::pin(stage_failures(bench))),
    },
    Scenario {
        name: "chaos.jitter",
        suites: &["chaos"],
        answers: &["SEED2-29"],
        about: "Delays of up to a second cost a run its longest path and no more.",
        parameters: "50 runs at a time of 10 chains of 3 stages, each stage delayed by 500 ms ± 500 ms",
        faults: &["delay"],
        controls: &[
            Control::new("three at a time", &["a run takes as long as its longest path"]),
            Control::new("no delay", &["no run is faster than its longest path"]),
            Control::new("wrong order", &["chains run in their order"]),
        ],
        body: Step::Run(|bench| Box::pin(jitter(bench))),
    },
    Scenario {
        name: "chaos.clock_skew",
        suites: &["chaos"],
        answers: &["SEED2-29"],
        about: "A time of day that jumps by a second in both directions changes no duration, deadline or order of events.",
        parameters: "500 runs, 50 at a time, half of them with a deadline of 50 ms; each look at the time of day is 1 s off",
        faults: &["skewed time"],
        controls: &[
            Control::new("deadline by time of day", &["deadlines hold"]),
            Control::new("no deadline", &["deadlines hold"]),
            Control::new("jumping timer", &["durations are right", "time never goes back in events"]),
        ],
        body: Step::Run(|bench| Box::pin(clock_skew(bench))),
    },
    Scenario {
        name: "chaos.memory_limit",
        suites: &["chaos"],
        answers: &["SEED2-29", "SEED1-25"],
        about: "With little memory, refused allocations are failures of their stages, and a limit keeps the rest in bounds.",
        parameters: "2,000 stages of 1 MiB, 16 at a time, a budget of 12 MiB, outputs dropped as soon as they were read",
        faults: &["refused allocation"],
        controls: &[
            Control::new("no bounds", &["memory stays in bounds"]),
            Control::new("keeps all outputs", &["most stages get memory"]),
            Control::new("hoarder", &["memory is given back"]),
            Control::new("swallowed refusal", &["each refusal is a failure of its stage"]),
        ],
        body: Step::Run(|bench| Box::pin(memory_limit(bench))),
    },
];

async fn stage_failures(bench: Arc<Bench>) -> Result<()> {
    const CHAINS: usize = 20;
    const LENGTH: usize = 5;
    let fault = bench.fault("stage failure");
    let swallows = bench.is_broken("swallowed failure");
    let is_fail_fast = bench.is_broken("fail fast");
    let mut p = Pipeline::builder("chaos");
    p.on_failure(if is_fail_fast { FailurePolicy::FailFast } else { FailurePolicy::Continue });
    let input = p.input();
    let fails = |seed: u64, index: usize| Rng::new(seed, index as u64).percent(10);
    for chain in 0..CHAINS {
        let mut port = input;
        for step in 0..LENGTH {
            let (index, fault) = (chain * LENGTH + step, fault.clone());
            let stage = stage_fn(move |_ctx, seed: Arc<u64>| {
                let fails = fault.fires(fails(*seed, index)) && !swallows;
                async move {
                    tokio::task::yield_now().await;
                    if fails { Err("chaos").transient() } else { Ok(*seed) }
                }
            });
            port = p.stage(format!("s{index}"), stage).inputs(port);
        }
    }
    let output = p.stage("output", stage_fn(|_ctx, _: Arc<u64>| async { Ok(()) })).inputs(input);
    let pipeline = p.build(output)?;
    let engine = Engine::builder().build()?;
    let runs = bench.size(500, 50);
    let seed = bench.seed();
    let armed = fault.is_armed();
    let seen = load(runs, 20, |index| {
        let seed = mix(seed ^ index as u64);
        let run = engine.run(&pipeline, seed);
        async move {
            let Some(report) = report_of(&run.await) else { return [false; 3] };
            let mut right = [true; 3];
            for chain in 0..CHAINS {
                let first =
                    (0..LENGTH).find(|step| armed && fails(seed, chain * LENGTH + step)).unwrap_or(LENGTH);
                for step in 0..LENGTH {
                    let outcome =
                        report.stage(&format!("s{}", chain * LENGTH + step)).map(|stage| stage.outcome);
                    let (part, is_right) = match step.cmp(&first) {
                        std::cmp::Ordering::Less => (0, outcome == Some(StageOutcome::Completed)),
                        std::cmp::Ordering::Equal => (1, matches!(outcome, Some(StageOutcome::Failed(_)))),
                        std::cmp::Ordering::Greater => {
                            (2, matches!(outcome, Some(StageOutcome::Blocked { .. })))
                        }
                    };
                    right[part] &= is_right;
                }
            }
            right
        }
    });
    let seen = seen.await?;
    let number = |part: usize| seen.iter().filter(|right| right[part]).count();
    bench.equal("stages before a failure complete", "runs", runs, number(0));
    bench.equal("failures are those that were injected", "runs", runs, number(1));
    bench.equal("stages behind a failure are blocked", "runs", runs, number(2));
    Ok(())
}

async fn jitter(bench: Arc<Bench>) -> Result<()> {
    const CHAINS: u64 = 10;
    let fault = bench.fault("delay");
    let (none, swapped) = (bench.is_broken("no delay"), bench.is_broken("wrong order"));
    let most = Duration::from_millis(if bench.is_small() { 100 } else { 1_000 });
    let delay = move |seed: u64, chain: u64, step: u64| Rng::new(seed, 3 * chain + step).time_below(most);
    let mut p = Pipeline::builder("jitter");
    let input = p.input();
    let mut ends = Vec::new();
    for chain in 0..CHAINS {
        let mut port = input;
        for step in if swapped && chain == 0 { [0_u64, 2, 1] } else { [0, 1, 2] } {
            let fault = fault.clone();
            let stage = stage_fn(move |_ctx, (seed, value): (Arc<u64>, Arc<u64>)| {
                let delays = fault.fires(true) && !none;
                async move {
                    if delays {
                        tokio::time::sleep(delay(*seed, chain, step)).await;
                    }
                    Ok(mix(*value ^ step))
                }
            });
            port = p.stage(format!("c{chain}-{step}"), stage).inputs((input, port));
        }
        ends.push(port);
    }
    let sum =
        stage_fn(
            |_ctx, ends: Vec<Arc<u64>>| async move { Ok(ends.iter().fold(0_u64, |sum, end| sum ^ **end)) },
        );
    let output = p.stage("sum", sum).inputs(ends);
    let pipeline = p.build(output)?;
    let engine = Engine::builder().build()?;
    let narrow = bench.is_broken("three at a time");
    let (runs, seed) = (bench.size(50, 20), bench.seed());
    let seen = load(runs, runs, |index| {
        let seed = mix(seed ^ index as u64);
        let run = engine.run(&pipeline, seed);
        let run = if narrow { run.max_in_flight(3) } else { run };
        async move {
            let started = Moment::now();
            let value = run.await.ok().map(|run| *run.output());
            let time = started.elapsed();
            let paths =
                (0..CHAINS).map(|chain| (0..3).map(|step| delay(seed, chain, step)).sum::<Duration>());
            let one = mix(mix(mix(seed) ^ 1) ^ 2);
            let expected = (0..CHAINS).fold(0, |sum, _| sum ^ one);
            (value == Some(expected), time, paths.max().unwrap_or_default())
        }
    });
    let seen = seen.await?;
    bench.equal("chains run in their order", "runs", runs, seen.iter().filter(|(right, ..)| *right).count());
    let early = seen.iter().filter(|(_, time, path)| time < path).count();
    bench.equal("no run is faster than its longest path", "runs that are", 0, early);
    let over: Vec<Duration> = seen.iter().map(|(_, time, path)| time.saturating_sub(*path)).collect();
    let longest = over.iter().max().copied().unwrap_or_default();
    bench.within("a run takes as long as its longest path", "beyond it", Duration::from_millis(100), longest);
    bench.figures("time beyond the longest path", "").times(&over, Duration::ZERO);
    Ok(())
}

/// A clock whose time of day is a second off, in turns to either side.
struct Skewed {
    base: Moment,
    fault: Fault,
    looks: AtomicUsize,
    jumping: bool,
}

impl Clock for Skewed {
    fn monotonic_nanos(&self) -> u64 {
        let nanos = u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX) + 10_000_000_000;
        // At random, so that two looks in a row do not jump alike.
        let jumps = self.jumping && mix(self.looks.fetch_add(1, Ordering::Relaxed) as u64).is_multiple_of(2);
        if jumps { nanos - 1_000_000_000 } else { nanos }
    }

    fn wall(&self) -> SystemTime {
        let now = clock::time_of_day();
        if !self.fault.fires(true) {
            return now;
        }
        let skew = Duration::from_secs(1);
        let back = self.looks.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        if back { now - skew } else { now + skew }
    }
}

async fn clock_skew(bench: Arc<Bench>) -> Result<()> {
    let (by_wall, none) = (bench.is_broken("deadline by time of day"), bench.is_broken("no deadline"));
    let clock = Skewed {
        base: Moment::now(),
        fault: bench.fault("skewed time"),
        looks: AtomicUsize::new(0),
        jumping: bench.is_broken("jumping timer"),
    };
    let recorder = Recorder::new();
    let engine = Engine::builder().clock(clock).sink(recorder.clone()).build()?;
    let mut p = Pipeline::builder("skewed");
    let input = p.input();
    let wait = stage_fn(move |ctx: StageContext, millis: Arc<u64>| async move {
        tokio::time::sleep(Duration::from_millis(*millis / 2)).await;
        ctx.emit("halfway", [("millis", i64::try_from(*millis)?)]);
        tokio::time::sleep(Duration::from_millis(*millis / 2)).await;
        Ok(())
    });
    let done = p.stage("wait", wait).inputs(input);
    let pipeline = p.build(done)?;
    let runs = bench.size(500, 50);
    let seen = load(runs, 50, |index| {
        // Every other run would take too long for its deadline.
        let has_deadline = index.is_multiple_of(2);
        let run = engine.run(&pipeline, if has_deadline { 1_000 } else { 20 });
        // A deadline by a time of day that is a second off is a second late.
        let deadline = Duration::from_millis(if by_wall { 1_050 } else { 50 });
        let run = if has_deadline && !none { run.deadline(deadline) } else { run };
        async move {
            let started = Moment::now();
            let ended = run.await;
            let time = started.elapsed();
            let is_over = ended.as_ref().is_err_and(|error| error.code() == code::DEADLINE_EXCEEDED);
            let told = report_of(&ended).map(|report| report.duration()).unwrap_or_default();
            (has_deadline, is_over && time < Duration::from_millis(300), told.abs_diff(time))
        }
    });
    let seen = seen.await?;
    let due = seen.iter().filter(|(has_deadline, ..)| *has_deadline).count();
    bench.equal("deadlines hold", "runs", due, seen.iter().filter(|(has, held, _)| *has && *held).count());
    let apart: Vec<Duration> = seen.iter().map(|(.., apart)| *apart).collect();
    let most = apart.iter().max().copied().unwrap_or_default();
    bench.within(
        "durations are right",
        "the report's against the real one",
        Duration::from_millis(100),
        most,
    );
    bench.figures("difference of durations", "").times(&apart, Duration::ZERO);
    let events = recorder.events();
    let mut of_runs = std::collections::HashMap::new();
    let back = events.iter().filter(|event| {
        let before = of_runs.insert(event.run_id(), event.elapsed());
        before.is_some_and(|before| before > event.elapsed())
    });
    bench.equal("time never goes back in events", format!("{} events", events.len()), 0, back.count());
    Ok(())
}

/// Bytes that may be taken, and are given back.
#[derive(Clone)]
struct Budget {
    left: Arc<AtomicUsize>,
    fault: Fault,
}

const MEGABYTE: usize = 1 << 20;

/// A megabyte of the budget, really allocated.
struct Block {
    bytes: Vec<u8>,
    budget: Budget,
}

impl Drop for Block {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes.len(), Ordering::SeqCst);
    }
}

impl Budget {
    fn take(&self) -> Option<Block> {
        let take = |left: usize| left.checked_sub(MEGABYTE);
        let taken = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        if self.fault.fires(taken.is_err()) {
            return None;
        }
        Some(Block { bytes: vec![1; MEGABYTE], budget: self.clone() })
    }
}

async fn memory_limit(bench: Arc<Bench>) -> Result<()> {
    let fault = bench.fault("refused allocation");
    // Without bounds there is neither a limit nor a budget: all stages are in flight with a block each.
    let unlimited = bench.is_broken("no bounds");
    let budget = if unlimited || !fault.is_armed() { usize::MAX / 2 } else { 12 * MEGABYTE };
    let budget = Budget { left: Arc::new(AtomicUsize::new(budget)), fault };
    let (hoards, swallows) = (bench.is_broken("hoarder"), bench.is_broken("swallowed refusal"));
    let hoard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let stages = bench.size(2_000, 200);
    let mut p = Pipeline::builder("scarce");
    let keep = if bench.is_broken("keeps all outputs") { Keep::All } else { Keep::Output };
    p.on_failure(FailurePolicy::Continue).keep(keep);
    if !unlimited {
        // A limit of their kind: readers that waited for the same permits would come after all blocks.
        p.limit_kind(StageKind::Work, 16);
    }
    let input = p.input();
    let blocks = p.parallel("block", 0..stages, |_| {
        stage_fn(move |_ctx, budget: Arc<Budget>| async move {
            let block = budget.take();
            tokio::time::sleep(Duration::from_millis(2)).await;
            match block {
                None if !swallows => Err("out of memory").transient(),
                block => Ok(block),
            }
        })
    });
    let blocks = blocks.kind(StageKind::Work).inputs(input);
    let read = Arc::new(Counter::default());
    for (index, block) in blocks.into_iter().enumerate() {
        let (hoard, read) = (Arc::clone(&hoard), Arc::clone(&read));
        let reader = stage_fn(move |_ctx, block: Arc<Option<Block>>| {
            let bytes = block.as_ref().as_ref().map(|block| block.bytes.as_slice()).unwrap_or_default();
            if bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>() == MEGABYTE {
                read.add();
            }
            if hoards {
                lock(&hoard).push(bytes.to_vec());
            }
            async { Ok(()) }
        });
        p.stage(format!("read-{index}"), reader).inputs(block);
    }
    let output = p.stage("output", stage_fn(|_ctx, _: Arc<Budget>| async { Ok(()) })).inputs(input);
    let pipeline = p.build(output)?;
    let before = memory::live();
    memory::reset_peak();
    let ended = pipeline.run(budget.clone()).await;
    let peak = memory::peak().saturating_sub(before);
    let failures = report_of(&ended).map_or(0, |report| report.failures().len());
    drop(ended);
    let after = memory::live().saturating_sub(before);
    bench.equal("each refusal is a failure of its stage", "", budget.fault.count(), failures as u64);
    bench.at_least("most stages get memory", "", stages / 2, read.get());
    bench.at_most("memory stays in bounds", "bytes at the peak", 20 * MEGABYTE, peak);
    bench.at_most("memory is given back", "bytes afterwards", MEGABYTE, after);
    bench.figures("memory at the peak", "").of("bytes", &[count(peak)]);
    Ok(())
}
