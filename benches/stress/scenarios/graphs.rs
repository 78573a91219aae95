//! Dependencies: random graphs against models that are calculated one stage after the other.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use stageflow::{FailurePolicy, StageOutcome, code, names, prelude::*};

use super::common::report_of;
use crate::harness::{
    bench::{Bench, Fault},
    clock::Moment,
    rng::{Rng, mix},
    scenario::{Control, Scenario, Step},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "dag.cycle_detection",
        suites: &["daily", "tue"],
        answers: &["SEED2-18", "SEED2-27"],
        about: "A graph with a circle is rejected with a path that is one, and a graph without is not.",
        parameters: "300 random graphs of 10 to 400 stages, each with and without an edge that closes a circle",
        faults: &["closing edge"],
        controls: &[
            Control::new("blind builder", &["each circle is rejected"]),
            Control::new("wrong path", &["the path is a circle"]),
            Control::new("suspicious builder", &["no graph without a circle is rejected"]),
        ],
        body: Step::Run(|bench| Box::pin(cycles(bench))),
    },
    Scenario {
        name: "dag.random",
        suites: &["tue"],
        answers: &["SEED2-38", "SEED1-29"],
        about: "In random graphs no stage starts before its inputs have ended, and each value is that of the model.",
        parameters: "100 random graphs of 10 to 400 stages",
        faults: &[],
        controls: &[
            Control::new(
                "ignored edge",
                &["no stage starts before its inputs", "values agree with the model"],
            ),
            Control::new("wrong value", &["values agree with the model"]),
        ],
        body: Step::Run(|bench| Box::pin(random(bench))),
    },
    Scenario {
        name: "dag.outcomes",
        suites: &["tue"],
        answers: &["SEED1-16", "SEED1-19"],
        about: "When stages of random graphs skip and fail, each other stage ends as the rules say.",
        parameters: "100 random graphs of 10 to 400 stages; 5 % skip, 5 % fail, a third of the edges is optional",
        faults: &["skip", "failure"],
        controls: &[
            Control::new("swallowed failure", &["outcomes agree with the model"]),
            Control::new("everything optional", &["outcomes agree with the model"]),
            Control::new("fail fast", &["outcomes agree with the model"]),
        ],
        body: Step::Run(|bench| Box::pin(outcomes(bench))),
    },
];

/// For each stage the earlier ones that it reads.
type Graph = Vec<Vec<usize>>;

fn graph(rng: &mut Rng) -> Graph {
    let stages = 10 + rng.below(391);
    let edges = |stage: usize, rng: &mut Rng| {
        let wanted = if stage == 0 { 0 } else { 1 + rng.below(3) };
        let mut from: Vec<usize> = (0..wanted).map(|_| rng.below(stage)).collect();
        from.sort_unstable();
        from.dedup();
        from
    };
    (0..stages).map(|stage| edges(stage, rng)).collect()
}

fn name(stage: usize) -> String {
    format!("s{stage}")
}

async fn cycles(bench: Arc<Bench>) -> Result<()> {
    let fault = bench.fault("closing edge");
    let (blind, wrong, suspicious) = (
        bench.is_broken("blind builder"),
        bench.is_broken("wrong path"),
        bench.is_broken("suspicious builder"),
    );
    let graphs = bench.size(300, 20);
    let (mut rejected, mut right_path, mut built) = (0, 0, 0);
    let mut times = Vec::new();
    for salt in 0..graphs as u64 {
        let mut rng = bench.rng(salt);
        let graph = graph(&mut rng);
        // An ancestor of a stage: it closes a circle by waiting for that stage.
        let last = 1 + rng.below(graph.len() - 1);
        let mut first = graph[last][rng.below(graph[last].len())];
        while first > 0 && rng.percent(70) {
            first = graph[first][rng.below(graph[first].len())];
        }
        let build = |closing: Option<(usize, usize)>| {
            let mut p = Pipeline::builder::<()>("graph");
            let mut output = None;
            for (stage, from) in graph.iter().enumerate() {
                let mut made = p.stage(name(stage), stage_fn(|_ctx, _: StageInputs| async { Ok(0_u64) }));
                if let Some((_, behind)) = closing.filter(|(before, _)| *before == stage) {
                    made = made.after_name(name(behind));
                }
                output = Some(made.inputs(from.iter().map(|from| name(*from)).collect::<Vec<_>>()));
            }
            output.map(|output| p.build(output))
        };
        let closing = fault.fires(true).then_some((first, last)).filter(|_| !blind);
        let started = Moment::now();
        if let Some(Err(error)) = build(closing) {
            times.push(started.elapsed());
            rejected += usize::from(error.has(code::CYCLE));
            let problem = error.problems().iter().find(|problem| problem.code() == code::CYCLE);
            let mut path = problem.map(|problem| problem.stages().to_vec()).unwrap_or_default();
            if wrong {
                path = vec![name(0), name(graph.len() - 1)];
            }
            right_path += usize::from(is_circle(&path, &graph, (first, last)));
        }
        let extra = if suspicious { Some((first, last)) } else { None };
        built += usize::from(build(extra).is_some_and(|built| built.is_ok()));
    }
    bench.equal("each circle is rejected", "", graphs, rejected);
    bench.equal("the path is a circle", "", rejected, right_path);
    bench.equal("no graph without a circle is rejected", "", graphs, built);
    bench.figures("time to reject a graph", "").times(&times, Duration::ZERO);
    Ok(())
}

/// Whether names lead around in a circle, in either direction.
fn is_circle(path: &[String], graph: &Graph, closing: (usize, usize)) -> bool {
    let stages: Option<Vec<usize>> = path.iter().map(|name| name.strip_prefix('s')?.parse().ok()).collect();
    let Some(mut stages) = stages else { return false };
    if stages.len() > 1 && stages.first() == stages.last() {
        stages.pop();
    }
    let waits = |stage: usize, on: usize| {
        graph.get(stage).is_some_and(|from| from.contains(&on)) || closing == (stage, on)
    };
    let next = |at: usize| stages[(at + 1) % stages.len()];
    let forward = (0..stages.len()).all(|at| waits(stages[at], next(at)));
    let backward = (0..stages.len()).all(|at| waits(next(at), stages[at]));
    let distinct: HashSet<&usize> = stages.iter().collect();
    stages.len() >= 2 && distinct.len() == stages.len() && (forward || backward)
}

/// When a stage started and ended, in ticks that all stages share.
#[derive(Default)]
struct Ticks {
    started: AtomicUsize,
    ended: AtomicUsize,
}

async fn random(bench: Arc<Bench>) -> Result<()> {
    let (ignores, is_wrong) = (bench.is_broken("ignored edge"), bench.is_broken("wrong value"));
    let graphs = bench.size(100, 10);
    let (mut in_order, mut right) = (0, 0);
    for salt in 0..graphs as u64 {
        let graph = graph(&mut bench.rng(salt));
        let clock = Arc::new(AtomicUsize::new(1));
        let ticks: Arc<Vec<Ticks>> = Arc::new(graph.iter().map(|_| Ticks::default()).collect());
        let mut p = Pipeline::builder::<()>("graph");
        let mut ports = Vec::new();
        for (index, from) in graph.iter().enumerate() {
            let (clock, ticks) = (Arc::clone(&clock), Arc::clone(&ticks));
            let stage = stage_fn(move |_ctx, inputs: Vec<Arc<u64>>| {
                let (clock, ticks) = (Arc::clone(&clock), Arc::clone(&ticks));
                async move {
                    ticks[index].started.store(clock.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                    if index == 0 {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    } else if index % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    let value = inputs.iter().fold(mix(index as u64), |value, input| mix(value ^ **input));
                    ticks[index].ended.store(clock.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                    Ok(value ^ u64::from(is_wrong && index == 1))
                }
            });
            // The second stage always reads the first one.
            let wired = from.iter().filter(|_| !(ignores && index == 1)).map(|from| ports[*from]);
            let wired: Vec<Port<u64>> = wired.collect();
            ports.push(p.stage(name(index), stage).inputs(wired));
        }
        let pipeline = p.build(ports[graph.len() - 1])?;
        let run = pipeline.run(()).await?;
        let report = run.report();
        let mut model: Vec<u64> = Vec::new();
        for (index, from) in graph.iter().enumerate() {
            model.push(from.iter().fold(mix(index as u64), |value, from| mix(value ^ model[*from])));
        }
        let agrees =
            |(index, value): (usize, &u64)| report.output_of::<u64>(&name(index)).as_deref() == Some(value);
        right += usize::from(model.iter().enumerate().all(agrees));
        in_order += usize::from(graph.iter().enumerate().all(|(index, from)| {
            let started = ticks[index].started.load(Ordering::SeqCst);
            from.iter().all(|from| ticks[*from].ended.load(Ordering::SeqCst) < started)
        }));
    }
    bench.equal("no stage starts before its inputs", "graphs", graphs, in_order);
    bench.equal("values agree with the model", "graphs", graphs, right);
    Ok(())
}

/// How a stage ends by the model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    Completed,
    Skipped,
    Failed,
    Blocked,
    /// One input was skipped and another one will never come: either may be noticed first.
    SkippedOrBlocked,
}

impl Ends {
    fn allows(self, outcome: &StageOutcome) -> bool {
        match outcome {
            StageOutcome::Completed => self == Self::Completed,
            StageOutcome::Skipped(_) => matches!(self, Self::Skipped | Self::SkippedOrBlocked),
            StageOutcome::Failed(_) => self == Self::Failed,
            StageOutcome::Blocked { .. } => matches!(self, Self::Blocked | Self::SkippedOrBlocked),
            _ => false,
        }
    }
}

/// What a stage does by plan.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Completes,
    Skips,
    Fails,
}

async fn outcomes(bench: Arc<Bench>) -> Result<()> {
    let (skip, failure) = (bench.fault("skip"), bench.fault("failure"));
    let swallows = bench.is_broken("swallowed failure");
    let all_optional = bench.is_broken("everything optional");
    let policy = if bench.is_broken("fail fast") { FailurePolicy::FailFast } else { FailurePolicy::Continue };
    let graphs = bench.size(100, 10);
    let mut right = 0;
    for salt in 0..graphs as u64 {
        let mut rng = bench.rng(salt);
        let graph = graph(&mut rng);
        // The stage that gives the output has no part in it.
        let optional: Vec<bool> = graph.iter().map(|_| rng.percent(33)).collect();
        let does: Vec<Does> = graph
            .iter()
            .enumerate()
            .map(|(index, _)| match rng.below(20) {
                0 if index > 0 => Does::Skips,
                1 if index > 0 => Does::Fails,
                _ => Does::Completes,
            })
            .collect();
        let mut p = Pipeline::builder::<()>("graph");
        p.on_failure(policy);
        for (index, from) in graph.iter().enumerate() {
            let stage = stage_fn(by_plan(does[index], skip.clone(), failure.clone(), swallows));
            let from: Vec<String> = from.iter().map(|from| name(*from)).collect();
            let wire = if optional[index] || all_optional {
                names(Vec::<String>::new()).optional(from)
            } else {
                names(from)
            };
            p.stage(name(index), stage).inputs(wire);
        }
        let output = p.stage("output", stage_fn(|_ctx, _: ()| async { Ok(()) })).inputs(());
        let ended = p.build(output)?.run(()).await;
        let Some(report) = report_of(&ended) else { continue };
        let model = model(&graph, &optional, &does, skip.is_armed(), failure.is_armed());
        right += usize::from(model.iter().enumerate().all(|(index, ends)| {
            report.stage(&name(index)).is_some_and(|stage| ends.allows(&stage.outcome))
        }));
    }
    bench.equal("outcomes agree with the model", "graphs", graphs, right);
    Ok(())
}

fn by_plan(
    does: Does,
    skip: Fault,
    failure: Fault,
    swallows: bool,
) -> impl Fn(StageContext, StageInputs) -> std::future::Ready<StageResult<u64>> {
    move |_ctx, _inputs| {
        std::future::ready(if skip.fires(does == Does::Skips) {
            Err(StageExit::skip("by plan"))
        } else if failure.fires(does == Does::Fails) && !swallows {
            Err(StageExit::fail("by plan"))
        } else {
            Ok(1)
        })
    }
}

/// How each stage ends, one after the other.
fn model(graph: &Graph, optional: &[bool], does: &[Does], skips: bool, fails: bool) -> Vec<Ends> {
    let mut ends: Vec<Ends> = Vec::new();
    for (index, from) in graph.iter().enumerate() {
        let inputs = || from.iter().map(|from| ends[*from]).filter(|_| !optional[index]);
        let skipped = inputs().any(|end| end == Ends::Skipped);
        let gone = inputs().any(|end| matches!(end, Ends::Failed | Ends::Blocked));
        let either = inputs().any(|end| end == Ends::SkippedOrBlocked) || (skipped && gone);
        ends.push(match does[index] {
            _ if either => Ends::SkippedOrBlocked,
            _ if skipped => Ends::Skipped,
            _ if gone => Ends::Blocked,
            Does::Skips if skips => Ends::Skipped,
            Does::Fails if fails => Ends::Failed,
            _ => Ends::Completed,
        });
    }
    ends
}
