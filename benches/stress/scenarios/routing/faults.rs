//! A router that fails: a fallback decides in its place, and afterwards everything is as before.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use stageflow::{FailurePolicy, prelude::*};

use super::super::common::{load, report_of};
use crate::harness::{
    bench::Bench,
    clock::Moment,
    scenario::{Control, Scenario, Step},
    stats::count,
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "routing.failure",
        suites: &["seeds"],
        answers: &["SEED0-1", "SEED0-14", "SEED0-16"],
        about: "Where the router fails or gives nothing the fallback decides, and nowhere else; spikes delay only their own request.",
        parameters: "500 requests, 20 at a time; every 5th an error, every 7th no answer, every 11th 300 ms late",
        faults: &["router error", "no answer", "latency spike"],
        controls: &[
            Control::new("no fallback", &["each request is answered"]),
            Control::new("eager fallback", &["the fallback decides only in place of the router"]),
            Control::new("swallowed error", &["each router error is reported"]),
            Control::new("queue behind spikes", &["others do not wait for a spike"]),
        ],
        body: Step::Run(|bench| Box::pin(failure(bench))),
    },
    Scenario {
        name: "routing.recovery",
        suites: &["seeds"],
        answers: &["SEED0-1"],
        about: "After a time of failures the first request is answered again, with each of 30 seeds.",
        parameters: "30 seeds, 200 requests each, the failures begin and end anywhere",
        faults: &["router error"],
        controls: &[
            Control::new("sticky failure", &["each request after the failures is answered"]),
            Control::new("swallowed error", &["requests fail while the router does"]),
        ],
        body: Step::Run(|bench| Box::pin(recovery(bench))),
    },
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Decided {
    ByRouter,
    ByFallback,
}

async fn failure(bench: Arc<Bench>) -> Result<()> {
    let (error, nothing, spike) =
        (bench.fault("router error"), bench.fault("no answer"), bench.fault("latency spike"));
    let (swallows, queues) = (bench.is_broken("swallowed error"), bench.is_broken("queue behind spikes"));
    let (none, eager) = (bench.is_broken("no fallback"), bench.is_broken("eager fallback"));
    let gate = Arc::new(tokio::sync::Mutex::new(()));

    let mut p = Pipeline::builder("with fallback");
    p.on_failure(FailurePolicy::Continue);
    let request = p.input();
    let router = stage_fn(move |_ctx, index: Arc<usize>| {
        let (error, nothing, spike) = (error.clone(), nothing.clone(), spike.clone());
        let gate = Arc::clone(&gate);
        async move {
            let _held = if queues { Some(gate.lock().await) } else { None };
            if spike.fires(*index % 11 == 10) {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            if error.fires(*index % 5 == 4) && !swallows {
                return Err("the router is down").transient();
            }
            if nothing.fires(*index % 7 == 6) {
                return Err(StageExit::skip("no route found"));
            }
            Ok(Decided::ByRouter)
        }
    });
    let primary = p.stage("router", router).kind(StageKind::Route).inputs(request);
    let fallback = stage_fn(move |_ctx, primary: Option<Arc<Decided>>| async move {
        match primary {
            Some(decided) if !eager => Ok(*decided),
            None if none => Err(StageExit::fail("there is no fallback")),
            _ => Ok(Decided::ByFallback),
        }
    });
    let decided = p.stage("fallback", fallback).kind(StageKind::Route).inputs(primary.optional());
    let pipeline = p.build(decided)?;

    let engine = Engine::builder().build()?;
    let requests = bench.size(500, 100);
    let answers = load(requests, 20, |index| {
        let run = engine.run(&pipeline, index);
        let started = Moment::now();
        async move {
            let ended = run.await;
            let failures = report_of(&ended).map_or(0, |report| report.failures().len());
            (ended.ok().map(|run| *run.output()), failures, started.elapsed())
        }
    });
    let answers = answers.await?;

    let fails = |index: &usize| index % 5 == 4;
    let takes_over = |index: &usize| fails(index) || index % 7 == 6;
    bench.equal(
        "each request is answered",
        "",
        requests,
        answers.iter().filter(|(by, ..)| by.is_some()).count(),
    );
    let expected = (0..requests).filter(takes_over).count();
    let seen = answers.iter().enumerate();
    let right =
        seen.filter(|(index, (by, ..))| (*by == Some(Decided::ByFallback)) == takes_over(index)).count();
    bench.equal(
        "the fallback decides only in place of the router",
        format!("{expected} times"),
        requests,
        right,
    );
    let reported =
        answers.iter().enumerate().filter(|(index, (_, failures, _))| fails(index) && *failures == 1);
    bench.equal("each router error is reported", "", (0..requests).filter(fails).count(), reported.count());
    let others = answers.iter().enumerate().filter(|(index, _)| index % 11 != 10);
    let mut times: Vec<Duration> = others.map(|(_, (.., time))| *time).collect();
    bench.figures("time of a request without a spike", "").times(&times, Duration::ZERO);
    times.sort();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    bench.within("others do not wait for a spike", "", Duration::from_millis(100), middle);
    Ok(())
}

async fn recovery(bench: Arc<Bench>) -> Result<()> {
    let fault = bench.fault("router error");
    let (swallows, sticky) = (bench.is_broken("swallowed error"), bench.is_broken("sticky failure"));
    let requests = bench.size(200, 40);
    let mut until_answered = Vec::new();
    let (mut failed, mut expected_failed, mut answered, mut expected_answered) = (0, 0, 0, 0);
    for seed in 0..30 {
        let mut rng = bench.rng(seed);
        let from = rng.below(requests / 2);
        let until = from + 1 + rng.below(requests / 4);
        let has_failed = Arc::new(AtomicBool::new(false));
        let mut p = Pipeline::builder("recovering");
        let request = p.input();
        let fault = fault.clone();
        let router = stage_fn(move |_ctx, index: Arc<usize>| {
            let fails = fault.fires((from..until).contains(&*index));
            let remembers = sticky && has_failed.load(Ordering::SeqCst);
            has_failed.fetch_or(fails, Ordering::SeqCst);
            async move {
                if (fails && !swallows) || remembers { Err(StageExit::fail("down")) } else { Ok(*index) }
            }
        });
        let decided = p.stage("router", router).inputs(request);
        let pipeline = p.build(decided)?;
        let engine = Engine::builder().build()?;
        let mut first = None;
        for index in 0..requests {
            let is_answered = engine.run(&pipeline, index).await.is_ok_and(|run| *run.output() == index);
            if (from..until).contains(&index) {
                (expected_failed, failed) = (expected_failed + 1, failed + usize::from(!is_answered));
            } else if index >= until {
                (expected_answered, answered) = (expected_answered + 1, answered + usize::from(is_answered));
                if is_answered {
                    first.get_or_insert(index - until);
                }
            }
        }
        until_answered.push(count(first.unwrap_or(requests)));
    }
    bench.equal("requests fail while the router does", "30 seeds", expected_failed, failed);
    bench.equal("each request after the failures is answered", "30 seeds", expected_answered, answered);
    bench.figures("requests until one is answered again", "30 seeds").of("requests", &until_answered);
    Ok(())
}
