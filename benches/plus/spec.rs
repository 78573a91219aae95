//! A pipeline from data: read, built, and beside the same one written in code.

use std::{fmt::Write, hint::black_box, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use stageflow::{
    Stage, StageContext, StageResult,
    prelude::*,
    spec::{PipelineSpec, Registry, SpecError},
};
use stageflow_benches::{report::Goal, stopwatch::Stopwatch};

use crate::campaign::{Campaign, Case};

const STAGES: [u32; 2] = [1_000, 10_000];
const LARGE: u32 = 10_000;
/// Milliseconds for a thousand stages.
const GOAL: f64 = 20.0;

const READ: &str = "read";
const BUILD: &str = "built";
const BOTH: &str = "read and built";
const CODE: &str = "the same in code";

fn table(stages: u32) -> String {
    format!("A pipeline from data, {stages} stages with two inputs, a configuration and a timeout each")
}

struct Add(u32);

impl Stage for Add {
    type Input = (Arc<u32>, Arc<u32>);
    type Output = u32;

    async fn run(&self, _: &StageContext, (a, b): (Arc<u32>, Arc<u32>)) -> StageResult<u32> {
        Ok(a.wrapping_add(*b).wrapping_add(self.0))
    }
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.stage("add", |more: u32| Ok::<_, SpecError>(Add(more)));
    registry
}

/// Stages that each read the one before and one further back.
fn text(stages: u32) -> String {
    let mut text = String::from(r#"{"stageflow":1,"name":"bench","stages":{"#);
    for stage in 0..stages {
        let (near, far) = sources(stage);
        let name = |stage: Option<u32>| stage.map_or("input".to_owned(), |stage| format!("stage-{stage}"));
        let comma = if stage == 0 { "" } else { "," };
        let (near, far) = (name(near), name(far));
        let _always = write!(
            text,
            r#"{comma}"stage-{stage}":{{"use":"add","with":{stage},"inputs":["{near}","{far}"],"policies":{{"timeout":"2s"}}}}"#
        );
    }
    let _always = write!(text, r#"}},"output":"stage-{}"}}"#, stages - 1);
    text
}

fn sources(stage: u32) -> (Option<u32>, Option<u32>) {
    (stage.checked_sub(1), (stage > 0).then_some(stage / 2).filter(|far| *far < stage))
}

fn in_code(stages: u32) -> Result<Pipeline<u32, u32>> {
    let mut p = Pipeline::builder("bench");
    let input = p.input();
    let mut ports = Vec::new();
    for stage in 0..stages {
        let (near, far) = sources(stage);
        let port = |stage: Option<u32>| stage.map_or(input, |stage| ports[stage as usize]);
        let wires = (port(near), port(far));
        let name = format!("stage-{stage}");
        ports.push(p.stage(name, Add(stage)).timeout(Duration::from_secs(2)).inputs(wires));
    }
    Ok(p.build(ports[ports.len() - 1])?)
}

fn from_data(text: &str, registry: &Registry) -> Result<Pipeline<u32, u32>> {
    Ok(registry.build(&PipelineSpec::from_json(text)?)?)
}

pub(crate) fn cases() -> Vec<Case> {
    STAGES.into_iter().flat_map(cases_of).collect()
}

fn cases_of(stages: u32) -> Vec<Case> {
    let text: Arc<str> = text(stages).into();
    let registry = Arc::new(registry());
    let case = |name: &str, work: Box<dyn Fn() -> Result<Duration>>| Case {
        table: table(stages),
        name: name.to_owned(),
        unit: "ms/1,000 stages",
        measure: Box::new(move |_| Ok(work()?.as_secs_f64() * 1e6 / f64::from(stages))),
        is_exact: false,
    };
    let (read, both) = (Arc::clone(&text), Arc::clone(&text));
    let (build, build_both) = (Arc::clone(&registry), registry);
    vec![
        case(BOTH, Box::new(move || timed(|| from_data(&both, &build_both)))),
        case(READ, Box::new(move || timed(|| Ok(PipelineSpec::from_json(&read)?)))),
        case(
            BUILD,
            Box::new(move || {
                let spec = PipelineSpec::from_json(&text)?;
                timed(|| Ok(build.build::<u32, u32>(&spec)?))
            }),
        ),
        case(CODE, Box::new(move || timed(|| in_code(stages)))),
    ]
}

/// The time of the work, without that of dropping what it made.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let watch = Stopwatch::start();
    let made = black_box(work()?);
    let took = watch.elapsed();
    drop(made);
    Ok(took)
}

pub(crate) fn goals(campaign: &Campaign) -> Vec<Goal> {
    let measured = campaign.median(&table(LARGE), BOTH).into_iter();
    let goal = |measured| Goal {
        name: format!("{LARGE} stages read and built"),
        unit: "ms/1,000 stages",
        measured,
        limit: GOAL,
    };
    measured.map(goal).collect()
}

pub(crate) fn verify() -> Result<()> {
    let (data, code) = (from_data(&text(500), &registry())?, in_code(500)?);
    ensure!(data.to_tree() == code.to_tree(), "data and code differ");
    crate::say(format_args!("verified a pipeline from data: it is the one in code"));
    Ok(())
}
