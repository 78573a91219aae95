//! Building is linear and needs no stack (rule S-1).

use std::sync::Arc;

use stageflow_core::{code, stage_fn};

use super::{any, builds, errors, named, next};

const MANY: u32 = 1_000_000;

#[test]
fn a_chain_of_a_million_stages_builds() {
    let pipeline = builds(|p| {
        let mut port = p.input();
        for index in 0..MANY {
            port = p.stage(index.to_string(), stage_fn(next)).inputs(port);
        }
        port
    });
    let plan = pipeline.plan();
    assert_eq!((plan.len(), plan.roots(), plan.in_degree(MANY - 1)), (1_000_000, &[0][..], 1));
}

#[test]
fn a_fan_of_a_million_stages_builds() {
    let pipeline = builds(|p| {
        let input = p.input();
        let first = p.stage("first", stage_fn(next)).inputs(input);
        let ports = p.parallel("part", 0..MANY as usize, |_| stage_fn(next)).inputs(first);
        p.stage("last", any::<Vec<Arc<u32>>>()).inputs(ports)
    });
    let plan = pipeline.plan();
    assert_eq!(plan.successors(0).len(), 1_000_000);
    assert_eq!((plan.in_degree(MANY + 1), plan.readers(0)), (MANY, MANY));
}

/// FIX 18.1-31: each stage names one that is declared later.
#[test]
fn a_chain_in_reverse_builds() {
    for length in [1_500, 100_000_u32] {
        let pipeline = builds(|p| {
            let last = p.stage("0", stage_fn(named)).inputs(vec!["1".to_owned()]);
            for index in 1..length {
                p.stage(index.to_string(), stage_fn(named)).inputs(vec![(index + 1).to_string()]);
            }
            p.stage(length.to_string(), stage_fn(named)).inputs(Vec::<String>::new());
            last
        });
        assert_eq!(pipeline.plan().roots(), [length]);
    }
}

#[test]
fn a_circle_of_many_stages_needs_no_stack() {
    let error = errors(|p| {
        let name = |n: u32| (n % 100_000).to_string();
        (0..100_000).map(|n| p.stage(name(n), stage_fn(named)).inputs(vec![name(n + 1)])).last().unwrap()
    });
    assert!(error.has(code::CYCLE));
}

#[test]
fn many_missing_names_are_compared_with_few() {
    let error = errors(|p| {
        let wrong = |n| vec![format!("wrong-{n}")];
        (0..50_000).map(|n| p.stage(n.to_string(), stage_fn(named)).inputs(wrong(n))).last().unwrap()
    });
    assert_eq!(error.problems().len(), 50_000);
}
