//! What runs of pipelines from data give: the same as in code, whatever the order of the stages.

use std::{fmt::Write, sync::Arc};

use proptest::{prelude::*, test_runner::TestRunner};
use stageflow::{
    Builder, OrPort, code,
    prelude::*,
    spec::{Registry, SpecError},
};

use super::{calculating, read};
use crate::behaviour::kit::statuses;

#[tokio::test]
async fn a_stage_whose_condition_does_not_hold_is_skipped_and_its_branches_join() {
    let spec = read(
        r#"{
        "stageflow": 1,
        "name": "branches",
        "stages": {
            "join": { "use": "add", "with": 0, "inputs": { "or": ["large", "small"] } },
            "large": {
                "use": "add", "with": 1000, "inputs": "input",
                "when": [{ "of": "input", "is": "above", "with": 9 }, { "of": "input", "is": "even" }]
            },
            "small": { "use": "add", "with": 1, "inputs": "input", "when": { "of": "input", "not": "above", "with": 9 } },
            "seen": { "use": "pair", "inputs": ["join", { "optional": "large" }], "after": "join" },
            "by-name": { "use": "named", "inputs": ["seen", { "optional": "large" }] }
        },
        "output": "seen"
    }"#,
    );
    let pipeline: Pipeline<u32, u32> = calculating().build(&spec).unwrap();
    let small = pipeline.run(4).await.unwrap();
    assert_eq!(*small.output(), 5 * 17 + 11);
    assert_eq!(
        statuses(&small.report()),
        [
            "large: skipped: branch not taken at `input`",
            "small: completed",
            "join: completed",
            "seen: completed",
            "by-name: completed"
        ]
    );
    let large = pipeline.run(10).await.unwrap();
    assert_eq!(*large.output(), 1010 * 17 + 1010);
    assert_eq!(large.report().output_of::<u32>("by-name").map(|n| *n), Some((1010 * 17 + 1010) * 13 + 1010));
    // Neither branch: the join is skipped, and with it the output.
    let neither = pipeline.run(11).await.unwrap_err();
    assert_eq!(neither.code(), code::NO_OUTPUT);
}

#[tokio::test]
async fn a_condition_that_panics_fails_the_stage() {
    let mut registry = calculating();
    registry.predicate("broken", |(): &(), _: &u32| panic!("a condition of a test"));
    let spec = read(
        r#"{
        "stageflow": 1,
        "name": "p",
        "stages": { "a": { "use": "add", "with": 1, "inputs": "input", "when": { "of": "input", "not": "broken" } } },
        "output": "a"
    }"#,
    );
    let pipeline: Pipeline<u32, u32> = registry.build(&spec).unwrap();
    assert_eq!(pipeline.run(1).await.unwrap_err().code(), code::PANIC);
}

#[tokio::test]
async fn the_last_reader_gets_what_it_wants_to_own_without_a_copy() {
    #[derive(Debug)]
    struct Big(u32);

    impl Clone for Big {
        fn clone(&self) -> Self {
            panic!("it was copied")
        }
    }

    let mut registry = Registry::new();
    registry
        .stage("make", |(): ()| Ok::<_, SpecError>(stage_fn(|_, n: Arc<u32>| async move { Ok(Big(*n)) })))
        .stage("take", |(): ()| {
            Ok::<_, SpecError>(stage_fn(|_, Owned(big): Owned<Big>| async move { Ok(big.0) }))
        });
    let spec = read(
        r#"{
        "stageflow": 1,
        "name": "p",
        "policies": { "keep": "output" },
        "stages": { "b": { "use": "take", "inputs": "a" }, "a": { "use": "make", "inputs": "input" } },
        "output": "b"
    }"#,
    );
    let pipeline: Pipeline<u32, u32> = registry.build(&spec).unwrap();
    assert_eq!(*pipeline.run(9).await.unwrap().output(), 9);
}

#[tokio::test]
async fn stages_of_each_build_are_their_own() {
    let mut registry = Registry::new();
    registry.stage("count", |(): ()| {
        let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
        Ok::<_, SpecError>(stage_fn(move |_, (): ()| {
            let count = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move { Ok(count) }
        }))
    });
    let spec =
        read(r#"{ "stageflow": 1, "name": "p", "stages": { "a": { "use": "count" } }, "output": "a" }"#);
    let first: Pipeline<(), u32> = registry.build(&spec).unwrap();
    let second: Pipeline<(), u32> = registry.build(&spec).unwrap();
    let mut seen = Vec::new();
    for pipeline in [&first, &first, &second] {
        seen.push(*pipeline.run(()).await.unwrap().output());
    }
    assert_eq!(seen, [0, 1, 0]);
}

/// One stage of a random pipeline: its form, three earlier ones, and a number.
type Choice = (u8, [prop::sample::Index; 3], u32, bool);

/// The same pipeline in code, and as the stages of data.
fn twins(choices: &[Choice]) -> (Pipeline<u32, u32>, Vec<String>) {
    let mut p: Builder<u32> = Pipeline::builder("random");
    let mut ports = vec![("input".to_owned(), p.input())];
    let mut data = Vec::new();
    for (at, (form, picks, number, conditional)) in choices.iter().enumerate() {
        let name = format!("s{at}");
        let [(an, a), (bn, b), (cn, c)] = picks.map(|pick| pick.get(&ports).clone());
        let mut text = String::new();
        macro_rules! stage {
            ($stage:expr, $wire:expr, $($text:tt)*) => {{
                write!(text, $($text)*).unwrap();
                let mut stage = p.stage(name.clone(), $stage);
                if form % 6 == 5 {
                    stage = stage.after(b);
                }
                if *conditional {
                    write!(text, r#","when":{{"of":"{cn}","is":"even"}}"#).unwrap();
                    stage = stage.when(c, |n| n.is_multiple_of(2));
                }
                stage.inputs($wire)
            }};
        }
        let more = *number;
        let port = match form % 6 {
            0 => stage!(stage_fn(|_, (): ()| async { Ok(3_u32) }), (), r#""use":"three""#),
            1 => stage!(
                stage_fn(move |_, n: Arc<u32>| async move { Ok(n.wrapping_add(more)) }),
                OrPort::from(a).or(b),
                r#""use":"add","with":{more},"inputs":{{"or":["{an}","{bn}"]}}"#
            ),
            2 => stage!(
                stage_fn(|_, Owned(n): Owned<u32>| async move { Ok(n.wrapping_mul(5)) }),
                a,
                r#""use":"own","inputs":"{an}""#
            ),
            3 => stage!(
                stage_fn(|_, all: Vec<Arc<u32>>| async move {
                    Ok(all.iter().fold(7_u32, |sum, n| sum.wrapping_mul(31).wrapping_add(**n)))
                }),
                [a, b, c],
                r#""use":"sum","inputs":["{an}","{bn}","{cn}"]"#
            ),
            4 => stage!(
                stage_fn(|_, (a, b): (Arc<u32>, Option<Arc<u32>>)| async move {
                    Ok(a.wrapping_mul(17).wrapping_add(b.map_or(11, |b| *b)))
                }),
                (a, b.optional()),
                r#""use":"pair","inputs":["{an}",{{"optional":"{bn}"}}]"#
            ),
            _ => stage!(
                stage_fn(|_, n: Arc<u32>| async move { Ok(n.wrapping_add(1)) }),
                a,
                r#""use":"add","with":1,"inputs":"{an}","after":"{bn}""#
            ),
        };
        data.push(format!(r#""{name}":{{{text}}}"#));
        ports.push((name, port));
    }
    let (_, last) = ports.pop().expect("there is a stage");
    (p.build(last).expect("it is sound"), data)
}

#[test]
fn random_pipelines_run_the_same_from_data_in_any_order_and_in_code() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let registry = calculating();
    let choice = (any::<u8>(), any::<[prop::sample::Index; 3]>(), 0..100_u32, prop::bool::weighted(0.3));
    let strategy = (prop::collection::vec(choice, 1..12), any::<u64>(), 0..20_u32);
    let completed = std::cell::Cell::new(0);
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    runner
        .run(&strategy, |(choices, order, input)| {
            let (in_code, mut stages) = twins(&choices);
            let output = stages.len() - 1;
            let count = u64::try_from(stages.len()).unwrap();
            stages.rotate_left(usize::try_from(order % count).unwrap());
            if order & 64 == 0 {
                stages.reverse();
            }
            let text = format!(
                r#"{{"stageflow":1,"name":"random","stages":{{{}}},"output":"s{output}"}}"#,
                stages.join(",")
            );
            let from_data: Pipeline<u32, u32> = registry.build(&read(&text)).unwrap();
            let ended = |pipeline: &Pipeline<u32, u32>| {
                let run = runtime.block_on(pipeline.run(input).into_future());
                let report = match &run {
                    Ok(run) => run.report().clone(),
                    Err(error) => error.report().unwrap().clone(),
                };
                let mut stages: Vec<_> = report
                    .stages()
                    .map(|stage| format!("{} {:?}", stage.name, stage.outcome.is_completed()))
                    .collect();
                stages.sort();
                (run.ok().map(|run| *run.output()), stages)
            };
            let (data, code) = (ended(&from_data), ended(&in_code));
            completed.set(completed.get() + u32::from(code.0.is_some()));
            prop_assert_eq!(data, code, "{}", text);
            Ok(())
        })
        .unwrap();
    let completed = completed.get();
    assert!(completed > 150, "{completed} of 400 runs gave an output");
}
