//! What the executor reads: counts, successors, readers.

use std::sync::Arc;

use stageflow_core::{Owned, StageInputs, stage_fn};

use super::{any, builds, named, next, single};
use crate::{
    names,
    plan::{Plan, SPECIAL, Special},
};

fn degrees(plan: &Plan) -> Vec<u32> {
    (0..).take(plan.len()).map(|stage| plan.in_degree(stage)).collect()
}

fn readers(plan: &Plan) -> Vec<u32> {
    (0..).take(plan.len()).map(|stage| plan.readers(stage)).collect()
}

#[test]
fn a_diamond_counts_its_edges() {
    let pipeline = builds(|p| {
        let input = p.input();
        let a = p.stage("a", stage_fn(next)).inputs(input);
        let b = p.stage("b", stage_fn(next)).inputs(a);
        let c = p.stage("c", any::<Owned<u32>>()).inputs(a);
        p.stage("d", any::<(Arc<u32>, Arc<u32>, Arc<u32>)>()).inputs((b, c, c))
    });
    let plan = pipeline.plan();
    assert_eq!(degrees(plan), [0, 1, 1, 3]);
    assert_eq!(plan.successors(0), [1, 2]);
    assert_eq!(
        (plan.successors(1), plan.successors(2), plan.successors(3)),
        (&[3][..], &[3, 3][..], &[][..])
    );
    assert_eq!(readers(plan), [2, 1, 2, 1]);
    assert_eq!((plan.input_readers(), plan.roots(), plan.output()), (1, &[0][..], 3));
    assert!(plan.has_owned_edges() && (0..4).all(|stage| plan.is_plain(stage)));
    assert!(plan.specials().is_empty());
}

#[test]
fn an_or_counts_once_and_tells_from_every_side() {
    let pipeline = builds(|p| {
        let input = p.input();
        let a = p.stage("a", stage_fn(next)).inputs(input);
        let b = p.stage("b", stage_fn(next)).inputs(input);
        let late = p.stage("late", any::<(Arc<u32>, Arc<u32>)>()).inputs((a, b.or(input).or(a)));
        p.stage("early", any::<(Arc<u32>, Arc<u32>)>()).inputs((input.or(a), late.or(b)))
    });
    let plan = pipeline.plan();
    assert_eq!(degrees(plan), [0, 0, 2, 1]);
    // Targets in declaration order; of `late` the plain edge comes before the sides.
    assert_eq!(plan.successors(0), [2, 1 | SPECIAL]);
    assert_eq!(plan.successors(1), [SPECIAL, 3 | SPECIAL]);
    assert_eq!(plan.successors(2), [2 | SPECIAL]);
    let special = |target, edge| Special { target, edge };
    assert_eq!(plan.specials(), [special(2, 1), special(2, 1), special(3, 2), special(3, 2)]);
    assert_eq!(readers(plan), [3, 2, 1, 1]);
    assert_eq!(plan.input_readers(), 4);
    assert_eq!(plan.groups(), 3);
    assert_eq!([0, 1, 2, 3].map(|stage| plan.is_plain(stage)), [true, true, false, false]);
}

#[test]
fn parallel_stages_have_groups_of_their_own() {
    let pipeline = builds(|p| {
        let input = p.input();
        let a = p.stage("a", stage_fn(next)).inputs(input);
        let b = p.stage("b", stage_fn(next)).inputs(input);
        let parts = p.parallel("part", 0..2, |_| stage_fn(next)).inputs(a.or(b));
        p.stage("last", any::<Vec<Arc<u32>>>()).inputs(parts)
    });
    let plan = pipeline.plan();
    assert_eq!((plan.groups(), plan.in_degree(2), plan.in_degree(3)), (2, 1, 1));
    assert_ne!(plan.edges(2), plan.edges(3));
    assert_eq!((plan.readers(0), plan.successors(0)), (2, &[SPECIAL, 2 | SPECIAL][..]));
}

#[test]
fn conditions_tell_and_read_but_order_does_not_read() {
    let pipeline = builds(|p| {
        let input = p.input();
        let a = p.stage("a", stage_fn(next)).inputs(input);
        let b = p.stage("b", stage_fn(next)).after(a).inputs(input);
        p.stage("c", stage_fn(next)).when(a, |_| true).when(input, |_| true).inputs(b)
    });
    let plan = pipeline.plan();
    assert_eq!(degrees(plan), [0, 1, 2]);
    assert_eq!(plan.successors(0), [1, SPECIAL]);
    assert_eq!(plan.specials(), [Special { target: 2, edge: 1 }]);
    assert_eq!(readers(plan), [1, 1, 1]);
    assert_eq!(plan.input_readers(), 3);
    assert_eq!([0, 1, 2].map(|stage| plan.is_plain(stage)), [true, true, false]);
}

#[test]
fn a_stage_with_conditions_on_the_input_alone_is_a_root_that_is_not_plain() {
    let pipeline = builds(|p| {
        let input = p.input();
        p.stage("a", stage_fn(next)).when(input, |n| *n > 1).inputs(input.or(input))
    });
    assert_eq!((pipeline.plan().roots(), pipeline.plan().is_plain(0)), (&[0][..], false));
    assert!(pipeline.plan().specials().is_empty());
}

/// KEEP 18.1-28: listings are in declaration order, also where names refer forward; KEEP 18.1-30: an entry that
/// occurs twice counts twice on both sides, so that nobody waits for ever.
#[test]
fn names_may_refer_forward_and_occur_twice() {
    let pipeline = builds(|p| {
        let a = p.stage("a", stage_fn(named)).inputs(names(["c"]).optional(["b", "c"]));
        p.stage("c", stage_fn(named)).inputs(["b", "b"]);
        p.stage("b", stage_fn(named)).inputs(Vec::<String>::new());
        a
    });
    let plan = pipeline.plan();
    assert_eq!(degrees(plan), [3, 2, 0]);
    assert_eq!((plan.successors(1), plan.successors(2)), (&[0, 0][..], &[0, 1, 1][..]));
    assert_eq!([0, 1, 2].map(|stage| plan.is_plain(stage)), [false, true, true]);
    assert_eq!(readers(plan), [1, 2, 3]);
    assert_eq!(plan.roots(), [2]);
    assert_eq!(pipeline.stages().map(|stage| stage.name()).collect::<Vec<_>>(), ["a", "c", "b"]);
    assert_eq!((plan.index_of("b"), plan.index_of("nobody")), (Some(2), None));
}

#[test]
fn the_input_may_be_the_output() {
    let pipeline = builds(|p| {
        p.stage("aside", any::<StageInputs>()).inputs(Vec::<String>::new());
        p.input()
    });
    assert_eq!(pipeline.plan().output(), crate::plan::INPUT);
    assert_eq!(pipeline.plan().input_readers(), 1);
}

#[test]
fn plans_have_ids_of_their_own_and_locations() {
    let (a, b) = (single("a", "x"), single("b", "x"));
    assert_ne!(a.plan().id(), b.plan().id());
    assert_eq!(a.clone().plan().id(), a.plan().id());
    assert!(a.stages().all(|stage| stage.location().file().ends_with("tests.rs")));
}
