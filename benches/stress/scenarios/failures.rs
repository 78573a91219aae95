//! Failures by class, and an engine that goes on after any of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use stageflow::{Call, ErrorClass, Interceptor, Next, RunOutcome, Value, code, prelude::*};

use super::common::{Counter, load, outcome_of, report_of};
use crate::harness::{
    bench::Bench,
    lock, panics,
    rng::Rng,
    scenario::{Control, Scenario, Step},
    stats::count,
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "failure.classes",
        suites: &["seeds"],
        answers: &["SEED4-11", "SEED4-14", "SEED4-16"],
        about: "An interceptor that tries transient failures again heals those, leaves permanent ones alone, and gives up in time.",
        parameters: "3,000 requests, 50 at a time; a third each heals at the third attempt, never heals, is permanent",
        faults: &["transient failure", "permanent failure"],
        controls: &[
            Control::new("retries everything", &["permanent failures are tried once"]),
            Control::new("gives up at once", &["transient failures heal", "exhausted attempts are reported"]),
            Control::new("wrong class", &["a caller can tell the classes apart"]),
        ],
        body: Step::Run(|bench| Box::pin(classes(bench))),
    },
    Scenario {
        name: "recovery.after_faults",
        suites: &["seeds", "chaos"],
        answers: &["SEED2-6", "SEED1-16"],
        about: "After panics, failures, cancellations and timeouts the same engine runs on as if nothing had been.",
        parameters: "30 seeds, each with 200 troubled runs and then 100 clean ones, on one engine",
        faults: &["panic", "failure", "cancel", "timeout"],
        controls: &[
            Control::new("poisoned store", &["clean runs complete"]),
            Control::new("swallowed panic", &["each panic is a failure of its stage"]),
            Control::new("run left behind", &["no run is left"]),
        ],
        body: Step::Run(|bench| Box::pin(recovery(bench))),
    },
];

/// Tries again up to the third attempt.
struct Again {
    everything: bool,
    attempts: u32,
}

impl Interceptor for Again {
    async fn around(&self, _call: &Call, next: Next<'_>) -> StageResult<Value> {
        for _ in 1..self.attempts {
            match next.clone().run().await {
                Err(exit) if self.everything || exit.error_class() == Some(ErrorClass::Transient) => {}
                done => return done,
            }
        }
        next.run().await
    }
}

async fn classes(bench: Arc<Bench>) -> Result<()> {
    let (transient, permanent) = (bench.fault("transient failure"), bench.fault("permanent failure"));
    let mixes_up = bench.is_broken("wrong class");
    let mut p = Pipeline::builder("classes");
    let input = p.input();
    let call = stage_fn(move |ctx: StageContext, kind: Arc<usize>| {
        let (transient, permanent) = (transient.clone(), permanent.clone());
        async move {
            tokio::task::yield_now().await;
            if transient.fires(*kind == 1 || (*kind == 0 && ctx.attempt() < 3)) {
                Err("busy").transient()
            } else if permanent.fires(*kind == 2) {
                if mixes_up { Err("no such key").transient() } else { Err("no such key").permanent() }
            } else {
                Ok(ctx.attempt())
            }
        }
    });
    let attempts = if bench.is_broken("gives up at once") { 1 } else { 3 };
    let again = Again { everything: bench.is_broken("retries everything"), attempts };
    let called = p.stage("call", call).intercept(again).inputs(input);
    let pipeline = p.build(called)?;
    let engine = Engine::builder().build()?;
    let requests = bench.size(3_000, 60);
    let answers = load(requests, 50, |index| {
        let run = engine.run(&pipeline, index % 3);
        async move {
            let ended = run.await;
            let attempts =
                report_of(&ended).and_then(|report| report.stage("call")).map(|stage| stage.attempts);
            (index % 3, attempts, ended.map(|_| ()).map_err(|error| error.recoverable()))
        }
    });
    let answers = answers.await?;
    let number = |kind: usize, attempts: u32, result: std::result::Result<(), bool>| {
        answers.iter().filter(|answer| **answer == (kind, Some(attempts), result)).count()
    };
    bench.equal("transient failures heal", "at the third attempt", requests / 3, number(0, 3, Ok(())));
    bench.equal("exhausted attempts are reported", "three of them", requests / 3, number(1, 3, Err(true)));
    let once = answers.iter().filter(|(kind, attempts, _)| *kind == 2 && *attempts == Some(1)).count();
    bench.equal("permanent failures are tried once", "", requests / 3, once);
    let told = answers.iter().filter(|(kind, _, result)| *kind == 2 && *result == Err(false)).count();
    bench.equal("a caller can tell the classes apart", "not recoverable", requests / 3, told);
    Ok(())
}

/// What a run is to go through.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    None,
    Panic,
    Failure,
    Cancel,
    Timeout,
}

async fn recovery(bench: Arc<Bench>) -> Result<()> {
    let engine = Engine::builder().build()?;
    let pipeline = troubled(&bench)?;
    let (troubled, clean) = (bench.size(200, 40), bench.size(100, 20));
    let (cancel, runs_left) = (bench.fault("cancel"), Counter::default());
    let (mut panics, mut reported, mut completed, mut left_over) = (0, 0, 0, Vec::new());
    for seed in 0..30 {
        let mut rng = Rng::new(bench.seed(), seed);
        let plan: Vec<Trouble> = (0..troubled)
            .map(|_| [Trouble::Panic, Trouble::Failure, Trouble::Cancel, Trouble::Timeout][rng.below(4)])
            .collect();
        let ended = load(troubled, 20, |index| {
            let (run, trouble) = (engine.start(&pipeline, plan[index]), plan[index]);
            if cancel.fires(trouble == Trouble::Cancel) {
                run.cancel("by plan");
            }
            async move {
                let ended = run.await;
                let is_panic = ended.as_ref().is_err_and(|error| error.code() == code::PANIC);
                (trouble, outcome_of(&ended) == Some(RunOutcome::Failed) && is_panic)
            }
        });
        for (trouble, is_panic) in ended.await? {
            panics += usize::from(trouble == Trouble::Panic);
            reported += usize::from(trouble == Trouble::Panic && is_panic);
        }
        if bench.is_broken("run left behind") {
            engine.start(&hanging()?, ()).detach();
        }
        let right = load(clean, 20, |_| {
            let run = engine.run(&pipeline, Trouble::None);
            async move { run.await.is_ok_and(|run| *run.output() == 4) }
        });
        completed += right.await?.into_iter().filter(|right| *right).count();
        let left = engine.drain(Duration::from_millis(if bench.is_small() { 10 } else { 500 })).await;
        left_over.push(count(left));
        runs_left.add_all(left);
    }
    bench.equal("each panic is a failure of its stage", "30 seeds", panics, reported);
    bench.equal("clean runs complete", "30 seeds", 30 * clean, completed);
    bench.equal("no run is left", "30 seeds", 0, runs_left.get());
    bench.figures("runs left after a seed", "30 seeds").of("runs", &left_over);
    engine.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

fn hanging() -> Result<Pipeline<(), ()>> {
    let mut p = Pipeline::builder("hanging");
    let done = p.stage("hang", stage_fn(|_ctx, _: ()| std::future::pending::<StageResult<()>>())).inputs(());
    Ok(p.build(done)?)
}

fn troubled(bench: &Bench) -> Result<Pipeline<Trouble, usize>> {
    let [panic, failure, timeout] = ["panic", "failure", "timeout"].map(|name| bench.fault(name));
    let (poisons, swallows) = (bench.is_broken("poisoned store"), bench.is_broken("swallowed panic"));
    let store: Arc<Mutex<HashMap<usize, usize>>> = Arc::default();
    let mut p = Pipeline::builder("troubled");
    let trouble = p.input();
    let stages = p.parallel("stage", 0..4, |index| {
        let (panic, failure, timeout) = (panic.clone(), failure.clone(), timeout.clone());
        let store = Arc::clone(&store);
        stage_fn(move |_ctx, trouble: Arc<Trouble>| {
            let (panic, failure, timeout, store) =
                (panic.clone(), failure.clone(), timeout.clone(), Arc::clone(&store));
            async move {
                let here = index == 2;
                if panic.fires(here && *trouble == Trouble::Panic) && !swallows {
                    let _held = poisons.then(|| lock(&store));
                    panic!("{} by plan", panics::INJECTED);
                }
                if failure.fires(here && *trouble == Trouble::Failure) {
                    return Err(StageExit::fail("by plan"));
                }
                if timeout.fires(here && *trouble == Trouble::Timeout) {
                    std::future::pending::<()>().await;
                }
                tokio::task::yield_now().await;
                if poisons && store.is_poisoned() {
                    return Err(StageExit::fail("the store is poisoned"));
                }
                *lock(&store).entry(index).or_default() += 1;
                Ok(())
            }
        })
    });
    let stages = stages.timeout(Duration::from_millis(10)).inputs(trouble);
    let done =
        p.stage("done", stage_fn(|_ctx, all: Vec<Arc<()>>| async move { Ok(all.len()) })).inputs(stages);
    Ok(p.build(done)?)
}
