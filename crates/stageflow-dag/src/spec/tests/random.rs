//! Random pipelines in code and in data are the same, in whatever order the data stands; and no mutation of data panics.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use stageflow_core::{Randomness, time::SeededRandom};

use super::registry;
use crate::{
    Builder, Pipeline, Port,
    plan::{EdgeKind, INPUT, Plan},
    spec::PipelineSpec,
    tests::any,
};

struct Random(SeededRandom);

impl Random {
    fn below(&self, limit: usize) -> usize {
        usize::try_from(self.0.next_u64() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

/// A pipeline in both forms: stages by name, and what was built.
fn twins(random: &Random) -> (Map<String, Value>, Pipeline<u32, u32>) {
    let mut p: Builder<u32> = Pipeline::builder("random");
    let mut ports: Vec<(String, Port<u32>)> = vec![("input".to_owned(), p.input())];
    let mut stages = Map::new();
    for index in 0..1 + random.below(12) {
        let name = format!("s{index:02}");
        let mut pick = || ports[random.below(ports.len())].clone();
        let mut data = json!({});
        let (a, b, c) = (pick(), pick(), pick());
        let after = (random.below(4) == 0).then(&mut pick);
        let when = (random.below(4) == 0).then(&mut pick);
        macro_rules! stage {
            ($kind:literal, $input:ty, $inputs:tt, $wire:expr) => {{
                data["use"] = json!($kind);
                data["inputs"] = json!($inputs);
                let mut stage = p.stage(name.clone(), any::<$input>());
                if let Some((name, port)) = after {
                    data["after"] = json!(name);
                    stage = stage.after(port);
                }
                if let Some((name, port)) = when {
                    data["when"] = json!({ "of": name, "is": "even" });
                    stage = stage.when(port, |n| n.is_multiple_of(2));
                }
                stage.inputs($wire)
            }};
        }
        let port = match random.below(8) {
            0 => stage!("zero", (), [], ()),
            1 => stage!("one", Arc<u32>, { "or": [a.0, b.0] }, a.1.or(b.1)),
            2 => stage!("own", stageflow_core::Owned<u32>, (a.0), a.1),
            3 => {
                stage!("maybe", Option<Arc<u32>>, { "optional": { "or": [a.0, b.0] } }, a.1.or(b.1).optional())
            }
            4 => stage!("list", Vec<Arc<u32>>, [a.0, b.0, c.0], [a.1, b.1, c.1]),
            5 => stage!("maybes", Vec<Option<Arc<u32>>>, [{ "optional": a.0 }], [a.1.optional()]),
            6 => stage!("pair", (Arc<u32>, Arc<u32>), [a.0, b.0], (a.1, b.1)),
            _ => stage!(
                "deep",
                ((Arc<u32>, Vec<Arc<u32>>), Option<Arc<u32>>),
                [[a.0, [b.0]], { "optional": c.0 }],
                ((a.1, vec![b.1]), c.1.optional())
            ),
        };
        stages.insert(name.clone(), data);
        ports.push((name, port));
    }
    let (_, last) = ports.pop().unwrap();
    (stages, p.build(last).unwrap())
}

/// Everything that the executor reads, but for what cannot be compared.
fn said(plan: &Plan) -> String {
    let rows: Vec<_> = (0..u32::try_from(plan.len()).unwrap())
        .map(|stage| {
            (
                plan.stage_name(stage),
                plan.edges(stage),
                plan.successors(stage),
                plan.in_degree(stage),
                plan.kind(stage),
            )
        })
        .collect();
    format!("{rows:?} {:?} {:?} {} {}", plan.roots(), plan.specials(), plan.groups(), plan.output())
}

/// What feeds each stage, by names, in an order that does not depend on that of the stages.
fn wires(plan: &Plan) -> Vec<String> {
    let name = |index| if index == INPUT { "input" } else { plan.stage_name(index) };
    let mut wires: Vec<_> = (0..u32::try_from(plan.len()).unwrap())
        .map(|stage| {
            let edges = plan.edges(stage).iter().map(|edge| match edge.kind {
                EdgeKind::Or { rest, optional, .. } => format!("{} or {rest} {optional}", name(edge.source)),
                EdgeKind::When(_) => format!("{} when", name(edge.source)),
                kind => format!("{} {kind:?}", name(edge.source)),
            });
            format!("{}: {:?}", name(stage), edges.collect::<Vec<_>>())
        })
        .collect();
    wires.sort();
    wires
}

fn text(stages: &[(String, Value)], output: &str) -> String {
    let stages: Vec<_> = stages.iter().map(|(name, stage)| format!("{}:{stage}", json!(name))).collect();
    format!(r#"{{"stageflow":1,"name":"random","stages":{{{}}},"output":"{output}"}}"#, stages.join(","))
}

#[test]
fn data_and_code_give_the_same_plan_in_any_order() {
    let random = Random(SeededRandom::new(28));
    let mut moved = 0;
    for _ in 0..1_500 {
        let (stages, in_code) = twins(&random);
        let mut stages: Vec<_> = stages.into_iter().collect();
        let output = stages.last().unwrap().0.clone();
        let built = |stages: &[(String, Value)]| -> Pipeline<u32, u32> {
            let spec = PipelineSpec::from_json(&text(stages, &output)).unwrap();
            registry().build(&spec).unwrap_or_else(|error| panic!("{error}\n{stages:?}"))
        };
        let from_data = built(&stages);
        assert_eq!(from_data.to_tree(), in_code.to_tree());
        assert_eq!(said(from_data.plan()), said(in_code.plan()));
        // Fisher-Yates.
        for last in (1..stages.len()).rev() {
            stages.swap(last, random.below(last + 1));
        }
        let shuffled = built(&stages);
        assert_eq!(wires(shuffled.plan()), wires(in_code.plan()));
        moved += u32::from(shuffled.to_tree() != in_code.to_tree());
    }
    assert!(moved > 500, "{moved} of 1,500 were written in another order");
}

#[test]
fn no_change_of_the_data_panics() {
    let random = Random(SeededRandom::new(1));
    let (mut unread, mut refused, mut built) = (0, 0, 0);
    for _ in 0..6_000 {
        let (stages, _) = twins(&random);
        let stages: Vec<_> = stages.into_iter().collect();
        let mut bytes = text(&stages, &stages[stages.len() - 1].0).into_bytes();
        for _ in 0..1 + random.below(3) {
            change(&random, &mut bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        match PipelineSpec::from_json(&text) {
            Err(error) => {
                assert!(!error.to_string().is_empty());
                unread += 1;
            }
            Ok(spec) => {
                let again = serde_json::to_string(&spec).unwrap();
                assert_eq!(PipelineSpec::from_json(&again).as_ref(), Ok(&spec));
                match registry().build::<u32, u32>(&spec) {
                    Ok(_) => built += 1,
                    Err(error) => {
                        let places = error.problems().iter().map(crate::Problem::pointer);
                        assert!(places.into_iter().all(|place| place.is_some()), "{error}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(
        unread > 100 && refused > 100 && built > 100,
        "{unread} unread, {refused} refused, {built} built"
    );
}

/// Cuts, copies or replaces some bytes; the last such that it often stays well formed.
fn change(random: &Random, bytes: &mut Vec<u8>) {
    let from = random.below(bytes.len());
    let to = (from + random.below(24)).min(bytes.len());
    match random.below(8) {
        0 => drop(bytes.drain(from..to)),
        1 => {
            let copy = bytes[from..to].to_vec();
            let at = random.below(bytes.len());
            drop(bytes.splice(at..at, copy));
        }
        2 if from < bytes.len() => bytes[from] = u8::try_from(random.below(256)).unwrap(),
        _ => {
            let digits: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_alphanumeric()).collect();
            if !digits.is_empty() {
                let (to, from) = (digits[random.below(digits.len())], digits[random.below(digits.len())]);
                bytes[to] = bytes[from];
            }
        }
    }
}
