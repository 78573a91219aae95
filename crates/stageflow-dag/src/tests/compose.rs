//! Two pipelines in one plan.

use std::{sync::Arc, time::Duration};

use stageflow_core::{Call, Interceptor, Next, StageKind, StageResult, Value, code, stage_fn};

use super::{codes, next, single};
use crate::{Pipeline, names, plan::INPUT};

struct Wrap(&'static str);

impl Interceptor for Wrap {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        next.run().await
    }

    fn name(&self) -> String {
        self.0.to_owned()
    }
}

fn listing<I, O>(pipeline: &Pipeline<I, O>) -> Vec<String> {
    let line = |stage: crate::StageView<'_>| {
        let inputs: Vec<_> = stage.inputs().map(|input| input.to_string()).collect();
        format!("{}({})", stage.name(), inputs.join(", "))
    };
    pipeline.stages().map(line).collect()
}

/// Branches on a number; every kind of edge is in it.
fn branches(name: &str) -> Pipeline<u32, u32> {
    let mut p = Pipeline::builder(name);
    let input = p.input();
    let small = p.stage(format!("{name}.small"), stage_fn(next)).when(input, |n| *n < 5).inputs(input);
    let large = p.stage(format!("{name}.large"), stage_fn(next)).when(input, |n| *n >= 5).inputs(input);
    let joined = p.stage(format!("{name}.joined"), stage_fn(next)).after(input).inputs(small.or(large));
    let named = names([format!("{name}.joined")]).optional([format!("{name}.small")]);
    let last = p.stage(format!("{name}.last"), stage_fn(super::named)).inputs(named);
    assert_ne!(joined.erase(), last.erase());
    p.build(last).unwrap()
}

/// KEEP 18.1-22, 18.1-26 and 18.1-27.
#[test]
fn one_after_the_other() {
    let both = branches("a").then(&branches("b")).unwrap();
    assert_eq!(both.name(), "a+b");
    assert_eq!(
        listing(&both),
        [
            "a.small(input, when input)",
            "a.large(input, when input)",
            "a.joined(or a.small, or a.large, after input)",
            "a.last(a.joined, a.small?)",
            "b.small(a.last, when a.last)",
            "b.large(a.last, when a.last)",
            "b.joined(or b.small, or b.large, after a.last)",
            "b.last(b.joined, b.small?)",
        ]
    );
    let plan = both.plan();
    assert_eq!((plan.roots(), plan.output(), plan.groups(), plan.conditions().len()), (&[0, 1][..], 7, 2, 4));
    assert_eq!(plan.in_degree(4), 2);
    assert!(
        plan.conditions()[2].holds(&Value::new(1_u32)) && !plan.conditions()[3].holds(&Value::new(1_u32))
    );
    assert_eq!(branches("same").zip(&branches("same")).unwrap_err().pipeline(), "same");
}

#[test]
fn side_by_side() {
    let pair: Pipeline<u32, (Arc<u32>, Arc<u32>)> = single("a", "x").zip(&single("b", "y")).unwrap();
    assert_eq!(listing(&pair), ["x(input)", "y(input)", "zip(x, y)(x, y)"]);
    assert_eq!((pair.plan().roots(), pair.plan().output()), (&[0, 1][..], 2));
    assert_eq!(pair.plan().location(2).file(), file!());
}

#[test]
fn the_joining_stage_takes_a_free_name() {
    let taken = single("a", "x").then(&single("b", "zip(x, y)")).unwrap();
    let first = taken.zip(&single("c", "y")).unwrap();
    assert_eq!(first.stages().last().unwrap().name(), "zip(zip(x, y), y)");
    let mut p = Pipeline::builder("d");
    let input = p.input();
    p.stage("zip(input, y)", stage_fn(next)).inputs(input);
    let second = p.build(input).unwrap().zip(&single("e", "y")).unwrap();
    assert_eq!(second.stages().last().unwrap().name(), "zip(input, y) 2");
    assert_eq!(second.plan().edges(2)[0].source, INPUT);
}

/// KEEP 18.1-24: another stage under the same name is refused, and both places are named.
#[test]
fn different_stages_of_one_name_are_refused() {
    let (a, b) = (single("a", "x"), single("b", "x"));
    let error = a.zip(&b).unwrap_err();
    assert_eq!(codes(error.problems()), [code::DUPLICATE]);
    assert_eq!(error.problems()[0].stages(), ["x"]);
    let place = a.plan().location(0);
    assert!(error.problems()[0].message().contains(&place.to_string()), "{error}");
    assert_eq!(error.pipeline(), "a+b");
    assert!(a.then(&b).unwrap_err().has(code::DUPLICATE));
    // The very same stage, wired another way.
    assert!(a.then(&a).unwrap_err().has(code::DUPLICATE));
}

/// KEEP 18.1-23: what both have in common is taken once.
#[test]
fn a_common_part_is_taken_once() {
    let base = branches("base");
    let left = base.then(&single("left", "l")).unwrap();
    let right = base.then(&single("right", "r")).unwrap();
    let both = left.zip(&right).unwrap();
    assert_eq!(both.len(), base.len() + 3);
    let last: Vec<_> = listing(&both).split_off(base.len());
    assert_eq!(last, ["l(base.last)", "r(base.last)", "zip(l, r)(l, r)"]);
    assert_eq!(both.plan().readers(3), 2);
    assert_eq!(base.zip(&base).unwrap().len(), base.len() + 1);
}

#[test]
fn interceptors_stay_with_their_stages_and_settings_with_the_first() {
    let build = |name: &str, wrap| {
        let mut p = Pipeline::builder(name);
        p.intercept(Wrap(wrap)).max_in_flight(3).deadline(Duration::from_secs(1));
        p.limit_kind(StageKind::Work, if name == "a" { 1 } else { 2 });
        let input = p.input();
        let port = p.stage(name, stage_fn(next)).intercept(Wrap("own")).inputs(input);
        let port = p.stage(format!("{name}2"), stage_fn(next)).inputs(port);
        p.build::<u32>(port).unwrap()
    };
    let both = build("a", "A").then(&build("b", "B")).unwrap();
    let plan = both.plan();
    let wraps = |stage| -> Vec<_> {
        plan.settings(stage).unwrap().interceptors.iter().map(|it| it.name().to_owned()).collect()
    };
    assert_eq!([0, 1, 2, 3].map(wraps).concat().join(" "), "A own A B own B");
    assert!(plan.policies().interceptors.is_empty());
    assert_eq!(plan.policies().kind_limits, [(StageKind::Work, 1)]);
    assert_eq!(plan.policies().max_in_flight, Some(3));
}

/// KEEP 18.1-9 in spirit: composing leaves both sides as they were.
#[test]
fn composing_changes_neither_side() {
    let (a, b) = (branches("a"), branches("b"));
    let before = (listing(&a), listing(&b));
    a.zip(&b).unwrap();
    assert_eq!((listing(&a), listing(&b)), before);
}
