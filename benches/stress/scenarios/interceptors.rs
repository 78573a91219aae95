//! Interceptors and timeouts: what is entered is left, guards fail closed, and time limits hold.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use stageflow::{Call, Interceptor, Layer, Next, Placement, RunOutcome, Value, code, prelude::*};

use super::common::{Counter, load, outcome_of, report_of};
use crate::harness::{
    bench::{Bench, Fault},
    clock::Moment,
    lock, panics,
    rng::Rng,
    scenario::{Control, Scenario, Step},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "intercept.balance",
        suites: &["wed"],
        answers: &["SEED2-19", "SEED2-38"],
        about: "Interceptors are entered in their order, and whatever is entered is left, on every path.",
        parameters: "3,000 runs of 6 stages in 3 interceptors, 50 at a time; stages complete, fail, panic and are cancelled",
        faults: &["failure", "panic", "cancel"],
        controls: &[
            Control::new("never leaves", &["what is entered is left"]),
            Control::new("wrong layer", &["the order is that of the layers"]),
        ],
        body: Step::Run(|bench| Box::pin(balance(bench))),
    },
    Scenario {
        name: "intercept.fail_closed",
        suites: &["wed", "fri"],
        answers: &["SEED2-19"],
        about: "A guard that fails or panics denies: the stage behind it never runs, and the run ends as denied.",
        parameters: "3,000 runs, 50 at a time; a third each is let through, denied by an error, denied by a panic",
        faults: &["guard error", "guard panic"],
        controls: &[
            Control::new("fail-open guard", &["nothing runs behind a broken guard", "a broken guard denies"]),
            Control::new("guard in the wrong layer", &["a broken guard denies"]),
            Control::new("guard that never opens", &["who may pass does"]),
        ],
        body: Step::Run(|bench| Box::pin(fail_closed(bench))),
    },
    Scenario {
        name: "timeout.stages",
        suites: &["wed"],
        answers: &["SEED2-38"],
        about: "Stages and runs that take too long end at their time limit, neither before it nor long after it.",
        parameters: "2,000 runs, 200 at a time, a limit of 100 ms, half of them would take 10 s",
        faults: &["slow stage"],
        controls: &[
            Control::new("no limit", &["who is too slow is ended", "nobody is ended late"]),
            Control::new("early limit", &["nobody is ended early"]),
            Control::new("everybody is slow", &["who is fast is left alone"]),
        ],
        body: Step::Run(|bench| Box::pin(timeouts(bench))),
    },
];

type Log = Arc<Mutex<Vec<String>>>;

/// Notes that it was entered, and leaves when it is dropped.
struct Layered {
    layer: Layer,
    name: &'static str,
    inside: Arc<Counter>,
    never_leaves: bool,
}

/// What is left on every path: the return, the error, the panic and the drop.
struct Inside(Arc<Counter>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.take_off();
    }
}

impl Interceptor for Layered {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        if let Some(log) = call.context().extension::<Log>() {
            lock(log).push(format!("{} {}", call.stage_name(), self.name));
        }
        self.inside.add();
        let inside = Inside(Arc::clone(&self.inside));
        let done = next.run().await;
        if self.never_leaves {
            std::mem::forget(inside);
        }
        done
    }

    fn placement(&self) -> Placement {
        Placement::At(self.layer)
    }
}

async fn balance(bench: Arc<Bench>) -> Result<()> {
    let [failure, panic, cancel] = ["failure", "panic", "cancel"].map(|name| bench.fault(name));
    let inside = Arc::new(Counter::default());
    let layered = |layer, name| Layered {
        layer,
        name,
        inside: Arc::clone(&inside),
        never_leaves: name == "limit" && bench.is_broken("never leaves"),
    };
    let outermost = if bench.is_broken("wrong layer") { Layer::Trace } else { Layer::Authenticate };
    // Added in another order than that of their layers.
    let engine = Engine::builder()
        .interceptor(layered(Layer::Timeout, "timeout"))
        .interceptor(layered(outermost, "authenticate"))
        .interceptor(layered(Layer::Limit, "limit"))
        .build()?;
    let mut p = Pipeline::builder("layers");
    let input = p.input();
    let stages = p.parallel("stage", 0..6, |index| {
        let (failure, panic, cancel) = (failure.clone(), panic.clone(), cancel.clone());
        stage_fn(move |_ctx, seed: Arc<u64>| {
            let (failure, panic, cancel) = (failure.clone(), panic.clone(), cancel.clone());
            async move {
                let mut rng = Rng::new(*seed, index as u64);
                tokio::time::sleep(rng.time_below(Duration::from_millis(2))).await;
                match rng.below(20) {
                    0 if failure.fires(true) => Err(StageExit::fail("by plan")),
                    1 if panic.fires(true) => panic!("{} by plan", panics::INJECTED),
                    2 if cancel.fires(true) => Err(StageExit::cancel("by plan")),
                    _ => Ok(()),
                }
            }
        })
    });
    let stages = stages.inputs(input);
    let done =
        p.stage("done", stage_fn(|_ctx, all: Vec<Arc<()>>| async move { Ok(all.len()) })).inputs(stages);
    let pipeline = p.build(done)?;
    let runs = bench.size(3_000, 200);
    let seed = bench.seed();
    let logs = load(runs, 50, |index| {
        let log = Log::default();
        let run = engine.run(&pipeline, seed.wrapping_add(index as u64)).extension(Arc::clone(&log));
        async move {
            let ended = run.await;
            drop(ended);
            std::mem::take(&mut *lock(&log))
        }
    });
    let logs = logs.await?;
    bench.equal("what is entered is left", "", 0, inside.get());
    let order = ["authenticate", "limit", "timeout"];
    let in_order = |log: &Vec<String>| {
        pipeline.stages().all(|stage| {
            let of_stage = log.iter().filter_map(|line| line.strip_prefix(stage.name())?.strip_prefix(' '));
            // A run that is cancelled may enter only the first ones.
            of_stage.zip(order).all(|(seen, expected)| seen == expected)
        })
    };
    let right = logs.iter().filter(|log| !log.is_empty() && in_order(log)).count();
    bench.equal("the order is that of the layers", "runs", runs, right);
    Ok(())
}

/// A guard that breaks, by what the run's metadata asks for.
struct Guard {
    error: Fault,
    panic: Fault,
    layer: Layer,
    fails_open: bool,
    never_opens: bool,
}

impl Interceptor for Guard {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let kind = call.snapshot().metadata("kind").and_then(serde_json::Value::as_u64);
        if self.error.fires(kind == Some(1)) {
            return if self.fails_open { next.run().await } else { Err(StageExit::fail("no connection")) };
        }
        if self.panic.fires(kind == Some(2)) && !self.fails_open {
            panic!("{} in a guard", panics::INJECTED);
        }
        if self.never_opens {
            return Err(StageExit::deny("nobody passes"));
        }
        next.run().await
    }

    fn placement(&self) -> Placement {
        Placement::At(self.layer)
    }
}

async fn fail_closed(bench: Arc<Bench>) -> Result<()> {
    let in_wrong_layer = bench.is_broken("guard in the wrong layer");
    let guard = Guard {
        error: bench.fault("guard error"),
        panic: bench.fault("guard panic"),
        layer: if in_wrong_layer { Layer::Trace } else { Layer::Authenticate },
        fails_open: bench.is_broken("fail-open guard"),
        never_opens: bench.is_broken("guard that never opens"),
    };
    let engine = Engine::builder().interceptor(guard).build()?;
    let behind = Arc::new([Counter::default(), Counter::default(), Counter::default()]);
    let mut p = Pipeline::builder("guarded");
    let kind = p.input();
    let behind_it = Arc::clone(&behind);
    let work = stage_fn(move |_ctx, kind: Arc<usize>| {
        behind_it[*kind].add();
        async move { Ok(*kind) }
    });
    let done = p.stage("work", work).kind(StageKind::Work).inputs(kind);
    let pipeline = p.build(done)?;
    let runs = bench.size(3_000, 60);
    let ended = load(runs, 50, |index| {
        let run = engine.run(&pipeline, index % 3).metadata("kind", index % 3);
        async move { (index % 3, outcome_of(&run.await)) }
    });
    let ended = ended.await?;
    let number = |kind: usize, outcome| ended.iter().filter(|one| **one == (kind, Some(outcome))).count();
    bench.equal("who may pass does", "", runs / 3, number(0, RunOutcome::Completed));
    bench.equal("a broken guard denies", "by an error", runs / 3, number(1, RunOutcome::Denied));
    bench.equal("a broken guard denies", "by a panic", runs / 3, number(2, RunOutcome::Denied));
    bench.equal("nothing runs behind a broken guard", "", 0, behind[1].get() + behind[2].get());
    Ok(())
}

async fn timeouts(bench: Arc<Bench>) -> Result<()> {
    const LIMIT: Duration = Duration::from_millis(100);
    let slow = bench.fault("slow stage");
    let long = if bench.is_small() { Duration::from_millis(600) } else { Duration::from_secs(10) };
    let (none, early) = (bench.is_broken("no limit"), bench.is_broken("early limit"));
    let everybody = bench.is_broken("everybody is slow");
    let mut p = Pipeline::builder("timed");
    let input = p.input();
    let work = stage_fn(move |_ctx, index: Arc<usize>| {
        let is_slow = slow.fires(index.is_multiple_of(2)) || everybody;
        async move {
            tokio::time::sleep(if is_slow { long } else { Duration::from_millis(1) }).await;
            Ok(())
        }
    });
    let limit = match (none, early) {
        (true, _) => Duration::from_secs(3_600),
        (_, true) => LIMIT / 4,
        _ => LIMIT,
    };
    let done = p.stage("work", work).timeout(limit).inputs(input);
    let by_stage = p.build(done)?;
    // The same limit as a deadline of the run, around a stage that knows none.
    let mut p = Pipeline::builder("deadline");
    let input = p.input();
    let done = p.stage("inner", by_stage.clone()).inputs(input);
    let by_run = p.build(done)?;
    let engine = Engine::builder().build()?;
    let runs = bench.size(2_000, 100);
    for (case, by_deadline) in [("stage timeout", false), ("deadline of the run", true)] {
        let ended = load(runs, 200, |index| {
            let run = if by_deadline {
                engine.run(&by_run, index).deadline(limit)
            } else {
                engine.run(&by_stage, index)
            };
            async move {
                let started = Moment::now();
                let ended = run.await;
                let time = started.elapsed();
                let is_over = ended.as_ref().is_err_and(|error| {
                    error.code() == code::STAGE_TIMEOUT || error.code() == code::DEADLINE_EXCEEDED
                });
                drop(report_of(&ended));
                (index.is_multiple_of(2), is_over, ended.is_ok(), time)
            }
        });
        let ended = ended.await?;
        let slow: Vec<_> = ended.iter().filter(|(is_slow, ..)| *is_slow).collect();
        let ended_slow = slow.iter().filter(|(_, is_over, ..)| *is_over).count();
        bench.equal("who is too slow is ended", case, slow.len(), ended_slow);
        let fast = ended.iter().filter(|(is_slow, _, is_ok, _)| !is_slow && *is_ok).count();
        bench.equal("who is fast is left alone", case, ended.len() - slow.len(), fast);
        let times: Vec<Duration> = slow.iter().map(|(.., time)| *time).collect();
        let (first, last) = (times.iter().min().copied(), times.iter().max().copied());
        let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
        let at_least = format!("at least {LIMIT:?}");
        bench.check("nobody is ended early", case, at_least, format_args!("{first:?}"), first >= LIMIT);
        bench.within("nobody is ended late", case, LIMIT + Duration::from_millis(200), last);
        bench.figures("time until ended, beyond the limit", case).times(&times, LIMIT);
    }
    Ok(())
}
