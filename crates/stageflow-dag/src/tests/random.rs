//! Random graphs against the simplest possible model of them.

use stageflow_core::{Randomness, code, stage_fn, time::SeededRandom};

use super::named;
use crate::{
    Builder, Pipeline, names,
    plan::{Plan, SPECIAL},
};

/// `[reader][source]`: how often the one names the other.
type Matrix = Vec<Vec<u32>>;

fn random(rng: &SeededRandom) -> Matrix {
    let size = 1 + rng.next_u64() % 8;
    let density = 1 + rng.next_u64() % 4;
    let row = |reader| (0..size).map(|source| entry(rng, density, reader == source)).collect();
    (0..size).map(row).collect()
}

/// Stages name themselves seldom, and others sometimes twice.
fn entry(rng: &SeededRandom, density: u64, is_self: bool) -> u32 {
    let n = rng.next_u64() % if is_self { 64 } else { 16 };
    if n == 0 { 2 } else { u32::from(n < density) }
}

fn build(matrix: &Matrix) -> Result<Pipeline<(), u32>, crate::BuildError> {
    let mut p: Builder<()> = Pipeline::builder("random");
    let mut last = None;
    for (reader, row) in matrix.iter().enumerate() {
        let sources =
            row.iter().enumerate().flat_map(|(source, times)| vec![source.to_string(); *times as usize]);
        last = Some(p.stage(reader.to_string(), stage_fn(named)).inputs(names(sources)));
    }
    p.build(last.unwrap())
}

/// Which stages reach which over one edge or more, without edges from a stage to itself.
fn reach(matrix: &Matrix) -> Vec<Vec<bool>> {
    let size = matrix.len();
    let edge = |a: usize, b: usize| a != b && matrix[a][b] > 0;
    let mut reach: Vec<Vec<bool>> = (0..size).map(|a| (0..size).map(|b| edge(a, b)).collect()).collect();
    for via in 0..size {
        for a in 0..size {
            for b in 0..size {
                reach[a][b] |= reach[a][via] && reach[via][b];
            }
        }
    }
    reach
}

#[test]
fn circles_are_found_exactly_where_there_are_some() {
    let rng = SeededRandom::new(7);
    let (mut circular, mut acyclic) = (0, 0);
    for _ in 0..3_000 {
        let matrix = random(&rng);
        let size = matrix.len();
        let reach = reach(&matrix);
        // A knot is named by its first stage.
        let knots = (0..size).filter(|a| reach[*a][*a] && (0..*a).all(|b| !(reach[*a][b] && reach[b][*a])));
        let selves = (0..size).filter(|a| matrix[*a][*a] > 0).map(|a| matrix[a][a]).sum::<u32>();
        let expected = (knots.count(), selves as usize);
        match build(&matrix) {
            Ok(pipeline) => {
                assert_eq!(expected, (0, 0), "{matrix:?}");
                follows(&matrix, pipeline.plan());
                acyclic += 1;
            }
            Err(error) => {
                let count = |code| error.problems().iter().filter(|problem| problem.code() == code).count();
                assert_eq!((count(code::CYCLE), count(code::SELF_DEP)), expected, "{matrix:?}\n{error}");
                for problem in error.problems().iter().filter(|problem| problem.code() == code::CYCLE) {
                    is_circle(&matrix, problem.stages());
                }
                circular += 1;
            }
        }
    }
    assert!(circular > 500 && acyclic > 500, "{circular} circular, {acyclic} acyclic");
}

fn is_circle(matrix: &Matrix, stages: &[String]) {
    let path: Vec<usize> = stages.iter().map(|name| name.parse().unwrap()).collect();
    for (at, source) in path.iter().enumerate() {
        let reader = path[(at + 1) % path.len()];
        assert!(matrix[reader][*source] > 0, "{stages:?} in {matrix:?}");
        assert_eq!(path.iter().filter(|stage| *stage == source).count(), 1, "{stages:?}");
    }
    assert_eq!(path.iter().min(), path.first());
}

/// Running the plan by its counts alone decides every stage exactly once, and never before its sources.
fn follows(matrix: &Matrix, plan: &Plan) {
    let count = u32::try_from(plan.len()).unwrap();
    let mut waits: Vec<u32> = (0..count).map(|stage| plan.in_degree(stage)).collect();
    let mut ready = plan.roots().to_vec();
    let mut done = vec![false; plan.len()];
    while let Some(stage) = ready.pop() {
        assert!(matrix[stage as usize].iter().zip(&done).all(|(times, done)| *times == 0 || *done));
        assert!(!std::mem::replace(&mut done[stage as usize], true));
        for target in plan.successors(stage) {
            assert_eq!(target & SPECIAL, 0);
            let waits = &mut waits[*target as usize];
            *waits -= 1;
            if *waits == 0 {
                ready.push(*target);
            }
        }
    }
    assert!(done.iter().all(|done| *done), "{matrix:?}");
}
