//! Cancellation at any moment releases everything, once, after the stages have stopped.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use stageflow::{RunOutcome, prelude::*};

use super::common::{Counter, load, outcome_of};
use crate::harness::{
    bench::Bench,
    clock::Moment,
    rng::Rng,
    scenario::{Control, Scenario, Step},
};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "cancel.cleanup",
    suites: &["seeds", "daily"],
    answers: &["SEED2-6", "SEED2-7", "SEED2-8", "SEED2-16", "SEED2-26", "SEED2-27"],
    about: "A run that is cancelled at a random moment releases each resource once, and only after its last stage has stopped.",
    parameters: "10,000 runs of 8 stages, 100 at a time, each cancelled within 4 ms of its start",
    faults: &["cancelled midway"],
    controls: &[
        Control::new("leaked resource", &["each resource is released"]),
        Control::new("released twice", &["no resource is released twice"]),
        Control::new("orphaned sibling", &["nothing runs after the end"]),
        Control::new("early clean-up", &["clean-ups begin after the last stage"]),
    ],
    body: Step::Run(|bench| Box::pin(cleanup(bench))),
}];

/// What one run has taken and given back.
#[derive(Default)]
struct Ledger {
    running: Counter,
    acquired: Counter,
    released: Counter,
    early: Counter,
}

/// Counts as a running stage until it is dropped.
struct Running(Arc<Ledger>);

impl Running {
    fn new(ledger: &Arc<Ledger>) -> Self {
        ledger.running.add();
        Self(Arc::clone(ledger))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.take_off();
    }
}

#[derive(Clone, Copy)]
struct Doubles {
    leaks: bool,
    twice: bool,
    orphans: bool,
    early: bool,
}

/// Takes a resource, works for a while, and leaves the release to a clean-up.
#[derive(Clone, Copy)]
struct Worker {
    index: u64,
    doubles: Doubles,
}

impl Stage for Worker {
    type Input = Arc<(u64, Arc<Ledger>)>;
    type Output = (u64, Arc<Ledger>);

    async fn run(&self, ctx: &StageContext, input: Self::Input) -> StageResult<Self::Output> {
        let (seed, ledger) = (input.0, Arc::clone(&input.1));
        let running = Running::new(&ledger);
        ledger.acquired.add();
        let is_third = self.index == 2;
        let clean_up = |ledger: Arc<Ledger>| async move {
            if ledger.running.get() > 0 {
                ledger.early.add();
            }
            tokio::task::yield_now().await;
            ledger.released.add();
        };
        if self.doubles.early && is_third {
            tokio::spawn(clean_up(Arc::clone(&ledger)));
        } else if !(self.doubles.leaks && is_third) {
            ctx.on_cleanup(clean_up(Arc::clone(&ledger)));
        }
        if self.doubles.twice && is_third {
            ctx.on_cleanup(clean_up(Arc::clone(&ledger)));
        }
        if self.doubles.orphans && is_third {
            let orphan = Running::new(&ledger);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                drop(orphan);
            });
        }
        let work = Rng::new(seed, self.index).time_below(Duration::from_millis(3));
        tokio::time::sleep(work).await;
        tokio::task::yield_now().await;
        drop(running);
        Ok((seed, ledger))
    }
}

async fn cleanup(bench: Arc<Bench>) -> Result<()> {
    let fault = bench.fault("cancelled midway");
    let doubles = Doubles {
        leaks: bench.is_broken("leaked resource"),
        twice: bench.is_broken("released twice"),
        orphans: bench.is_broken("orphaned sibling"),
        early: bench.is_broken("early clean-up"),
    };
    let mut p = Pipeline::builder("cancelled");
    let input = p.input();
    let mut ports = vec![input];
    // Two chains of four beside each other.
    for index in 0..8 {
        let from = ports[if index < 2 { 0 } else { index - 1 }];
        ports.push(p.stage(format!("worker-{index}"), Worker { index: index as u64, doubles }).inputs(from));
    }
    let pipeline = p.build(ports[8])?;
    let engine = Engine::builder().build()?;
    let runs = bench.size(10_000, 400);
    let seed = bench.seed();
    let ended = load(runs, 100, |index| {
        let (engine, pipeline, fault) = (engine.clone(), pipeline.clone(), fault.clone());
        async move {
            let ledger = Arc::new(Ledger::default());
            let mut rng = Rng::new(seed, index as u64);
            let run = engine.start(&pipeline, (rng.next(), Arc::clone(&ledger)));
            tokio::time::sleep(rng.time_below(Duration::from_millis(4))).await;
            let asked = Moment::now();
            if fault.is_armed() {
                run.cancel("at a random moment");
            }
            let ended = run.await;
            let after = ledger.running.get();
            fault.fires(outcome_of(&ended) == Some(RunOutcome::Cancelled));
            (ledger, after, asked.elapsed())
        }
    });
    let ended = ended.await?;
    let sum = |of: fn(&Ledger) -> usize| ended.iter().map(|(ledger, ..)| of(ledger)).sum::<usize>();
    let acquired = sum(|ledger| ledger.acquired.get());
    let missing = sum(|ledger| ledger.acquired.get().saturating_sub(ledger.released.get()));
    bench.equal("each resource is released", format!("{acquired} resources"), 0, missing);
    let twice = sum(|ledger| ledger.released.get().saturating_sub(ledger.acquired.get()));
    bench.equal("no resource is released twice", format!("{acquired} resources"), 0, twice);
    let after: usize = ended.iter().map(|(_, after, _)| after).sum();
    bench.equal("nothing runs after the end", format!("{runs} runs"), 0, after);
    bench.equal(
        "clean-ups begin after the last stage",
        format!("{runs} runs"),
        0,
        sum(|ledger| ledger.early.get()),
    );
    let times: Vec<Duration> = ended.iter().map(|(.., time)| *time).collect();
    bench.figures("time from the cancel to the end", "").times(&times, Duration::ZERO);
    Ok(())
}
