//! S-15: no attempt begins at or after its deadline, nor with less time than it takes at least, and no run outlives its deadline:
//! random pipelines with limits, retries, back-offs, queues and child runs, in virtual time.
//!
//! `PROPTEST_CASES=100000 cargo test -p stageflow-tests --test it deadline` looks further.

use std::{
    cell::RefCell,
    error::Error as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner},
};
use stageflow::{
    Builder, Engine, ErrorClass, Failure, FailurePolicy, NotBegun, Pipeline, RunOutcome,
    interceptors::{Bulkhead, RateLimiter, Retry},
    prelude::*,
};
use tokio::time::Instant;

const CASES: u32 = 2_000;

/// What a stage does and what is set for it; times in milliseconds, 0 for none.
#[derive(Clone, Debug)]
struct Gene {
    works: u64,
    least: u64,
    timeout: u64,
    attempt: u64,
    idle: u64,
    /// How many of its attempts fail, and how: by asking for a retry, or transiently.
    fails: u32,
    asks: bool,
    delay: u64,
    policy: bool,
    bulkhead: bool,
    rate: bool,
    child: bool,
    /// Which of the stages before it wait for, by bits.
    after: u8,
}

#[derive(Clone, Debug)]
struct Case {
    stages: Vec<Gene>,
    deadline: u64,
    of_run: u32,
    of_engine: u32,
    keep_on: bool,
}

fn time(most: u64) -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..=most]
}

fn gene() -> impl Strategy<Value = Gene> {
    let times = (0..20_u64, time(12), time(60), time(25), time(15));
    let fails = (prop_oneof![3 => Just(0), 2 => 1..4_u32], any::<bool>(), 0..25_u64, any::<bool>());
    let around =
        (prop::bool::weighted(0.3), prop::bool::weighted(0.3), prop::bool::weighted(0.2), any::<u8>());
    (times, fails, around).prop_map(|(times, fails, around)| Gene {
        works: times.0,
        least: times.1,
        timeout: times.2,
        attempt: times.3,
        idle: times.4,
        fails: fails.0,
        asks: fails.1,
        delay: fails.2,
        policy: fails.3,
        bulkhead: around.0,
        rate: around.1,
        child: around.2,
        after: around.3 & around.3 >> 1,
    })
}

fn case() -> impl Strategy<Value = Case> {
    (vec(gene(), 1..8), 1..100_u64, 0..4_u32, 0..4_u32, any::<bool>()).prop_map(
        |(stages, deadline, of_run, of_engine, keep_on)| Case {
            stages,
            deadline,
            of_run,
            of_engine,
            keep_on,
        },
    )
}

/// An attempt that began.
#[derive(Debug)]
struct Begun {
    stage: String,
    at: Duration,
    left: Duration,
    least: Duration,
}

type Seen = Arc<Mutex<Vec<Begun>>>;

struct World {
    began: Instant,
    seen: Seen,
    bulkhead: Bulkhead,
    rate: RateLimiter,
}

impl World {
    fn new() -> Self {
        let bulkhead = Bulkhead::builder("b").max_concurrent(1).build().expect("a bulkhead");
        let rate = RateLimiter::builder("r").dimension("calls", 1, 7.millis(), 1).build().expect("a limit");
        Self { began: Instant::now(), seen: Seen::default(), bulkhead, rate }
    }

    fn leaf(&self, gene: &Gene) -> impl Stage<Input = (), Output = ()> + use<> {
        let (gene, seen, began) = (gene.clone(), Arc::clone(&self.seen), self.began);
        stage_fn(move |ctx: StageContext, (): ()| {
            let (gene, seen) = (gene.clone(), Arc::clone(&seen));
            async move {
                let begun = Begun {
                    stage: ctx.stage_name().to_owned(),
                    at: began.elapsed(),
                    left: ctx.remaining().unwrap_or_default(),
                    least: gene.least.millis(),
                };
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(begun);
                // sleeps: on paused time
                tokio::time::sleep(gene.works.millis()).await;
                let exit = if gene.asks {
                    StageExit::retry("asks")
                } else {
                    StageExit::fail("fails").class(ErrorClass::Transient)
                };
                if ctx.attempt() <= gene.fails { Err(exit.after(gene.delay.millis())) } else { Ok(()) }
            }
        })
    }

    /// Adds a stage; in a child run all of it is the child's, and the parent's stage is bare.
    fn add(&self, p: &mut Builder<()>, name: &str, gene: &Gene, after: &[Port<()>]) -> Port<()> {
        // What contradicts itself is refused when it is built: that is tested elsewhere.
        let no_less = |limit: u64| Some(limit.max(gene.least).millis()).filter(|_| limit > 0);
        let mut stage = p.stage(name, self.leaf(gene)).min_time(gene.least.millis());
        stage = stage.timeout(no_less(gene.timeout)).attempt_timeout(no_less(gene.attempt));
        stage = stage.idle_timeout(Some(gene.idle.millis()).filter(|_| gene.idle > 0));
        if gene.policy {
            stage = stage.retry(Retry::constant(gene.delay.millis()).max_attempts(4));
        }
        if gene.bulkhead {
            stage = stage.intercept(self.bulkhead.clone());
        }
        if gene.rate {
            stage = stage.intercept(self.rate.clone());
        }
        for port in after {
            stage = stage.after(*port);
        }
        stage.inputs(())
    }

    fn pipeline(&self, case: &Case) -> Pipeline<(), ()> {
        let mut p = Pipeline::builder("random");
        if case.of_run > 0 {
            p.max_in_flight(case.of_run);
        }
        if case.keep_on {
            p.on_failure(FailurePolicy::Continue);
        }
        let (input, mut ports) = (p.input(), Vec::new());
        for (index, gene) in case.stages.iter().enumerate() {
            let sources = ports.iter().enumerate().filter(|(bit, _)| gene.after >> bit & 1 == 1);
            let after: Vec<Port<()>> = sources.map(|(_, port)| *port).collect();
            let name = format!("s{index}");
            let port = if gene.child {
                let mut kid = Pipeline::builder(format!("kid{index}"));
                let first = self.add(&mut kid, &format!("{name}.a"), gene, &[]);
                let second = self.add(&mut kid, &format!("{name}.b"), gene, &[first]);
                let kid = kid.build(second).expect("the child is right");
                let stage = p.stage(name, kid);
                after.iter().fold(stage, |stage, port| stage.after(*port)).inputs(input)
            } else {
                self.add(&mut p, &name, gene, &after)
            };
            ports.push(port);
        }
        let last = *ports.last().expect("there is a stage");
        p.build(last).expect("the pipeline is right")
    }
}

/// How often which end was seen: what never happened proves nothing.
#[derive(Debug, Default)]
struct Tally {
    refused: u32,
    timed_out: u32,
    completed: u32,
    not_begun: u32,
    retried: u32,
}

async fn holds(case: &Case, tally: &mut Tally) -> Result<(), TestCaseError> {
    let world = World::new();
    let pipeline = world.pipeline(case);
    let engine = Engine::builder().seed(case.deadline);
    let engine = if case.of_engine > 0 { engine.max_in_flight(case.of_engine) } else { engine };
    let engine = engine.build().expect("an engine");
    let deadline = case.deadline.millis();
    let ended = engine.run(&pipeline, ()).deadline(deadline).await;
    let took = world.began.elapsed();
    let seen = world.seen.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = match &ended {
        Ok(done) => Some(done.outcome()),
        Err(error) => error.outcome(),
    };
    prop_assert_eq!(outcome.is_none(), pipeline.min_time() > deadline, "{:?}", ended.as_ref().err());
    prop_assert!(took <= deadline, "it took {took:?} of {deadline:?}");
    if outcome == Some(RunOutcome::TimedOut) {
        prop_assert_eq!(took, deadline);
    }
    for begun in &*seen {
        prop_assert!(begun.at < deadline, "{begun:?} at the deadline {deadline:?}");
        prop_assert!(!begun.left.is_zero() && begun.left >= begun.least, "{begun:?}");
    }
    let attempts = match &ended {
        Ok(done) => Some(done.report()),
        Err(error) => error.report(),
    };
    tally.refused += u32::from(outcome.is_none());
    tally.timed_out += u32::from(outcome == Some(RunOutcome::TimedOut));
    tally.completed += u32::from(outcome == Some(RunOutcome::Completed));
    if let Some(report) = attempts {
        let not_begun =
            |failure: &Failure| failure.source().is_some_and(<dyn std::error::Error>::is::<NotBegun>);
        tally.not_begun += u32::from(report.failures().iter().any(not_begun));
        tally.retried += u32::from(report.stages().any(|stage| stage.attempts > 1));
        let leaves = report.stages().filter(|stage| seen.iter().any(|begun| begun.stage == stage.name));
        for stage in leaves {
            let count = seen.iter().filter(|begun| begun.stage == stage.name).count();
            prop_assert_eq!(stage.attempts as usize, count, "of {}", stage.name);
        }
    }
    Ok(())
}

#[test]
fn s_15_no_attempt_begins_without_the_time_it_takes() {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    let paused = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let cases = config.cases;
    let tally = RefCell::new(Tally::default());
    let run = |case: Case| paused().expect("a runtime").block_on(holds(&case, &mut tally.borrow_mut()));
    match TestRunner::new(config).run(&case(), run) {
        Ok(()) => {
            let Tally { refused, timed_out, completed, not_begun, retried } = *tally.borrow();
            let rarest = [refused, timed_out, completed, not_begun, retried].into_iter().min();
            assert!(rarest >= Some(cases / 50), "of {cases} cases: {:?}", tally.borrow());
        }
        Err(TestError::Fail(reason, case)) => panic!("{reason}\nby {case:#?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}
