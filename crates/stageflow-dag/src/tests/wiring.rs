//! What can be wired to what, and which edges come of it.

use std::{sync::Arc, task::Poll};

use stageflow_core::{
    Owned, Stage, StageContext, StageInputs, StageKind, Value, code, stage_fn, value::TypeTag,
};

use super::{any, builds, named, next, single, zero};
use crate::{
    Builder, InputMark, IntoStage, Pipeline, Port, Wire, names,
    plan::{Edge, EdgeKind, INPUT},
};

/// The edges of a stage that takes `In` from the wire, after the stages `a` (0) and `b` (1).
fn edges<In: stageflow_core::StageInput, W: Wire<In>>(
    wire: impl FnOnce(&mut Builder<u32>, Port<u32>, Port<u32>) -> W,
) -> Vec<(u32, EdgeKind)> {
    let pipeline = builds(|p| {
        let a = p.stage("a", stage_fn(zero)).inputs(());
        let b = p.stage("b", stage_fn(zero)).inputs(());
        let wire = wire(p, a, b);
        p.stage("reader", any::<In>()).inputs(wire)
    });
    pipeline.plan().edges(2).iter().map(|edge| (edge.source, edge.kind)).collect()
}

const ONE: EdgeKind = EdgeKind::One { owned: false };
const REQUIRED: EdgeKind = EdgeKind::NamedOne { optional: false };

fn or(rest: u32, optional: bool) -> EdgeKind {
    EdgeKind::Or { group: 0, rest, optional }
}

#[test]
fn each_wire_makes_its_edges() {
    type Shared = Arc<u32>;
    assert_eq!(edges::<(), _>(|_, _, _| ()), []);
    assert_eq!(edges::<Shared, _>(|p, _, _| p.input()), [(INPUT, ONE)]);
    assert_eq!(edges::<Shared, _>(|_, _, b| b), [(1, ONE)]);
    assert_eq!(edges::<Owned<u32>, _>(|_, a, _| a), [(0, EdgeKind::One { owned: true })]);
    assert_eq!(edges::<Option<Shared>, _>(|_, a, _| a.optional()), [(0, EdgeKind::Optional)]);
    assert_eq!(edges::<Shared, _>(|_, a, b| a.or(b)), [(0, or(1, false)), (1, or(0, false))]);
    assert_eq!(
        edges::<Option<Shared>, _>(|p, a, b| b.or(a).or(p.input()).optional()),
        [(1, or(2, true)), (0, or(1, true)), (INPUT, or(0, true))]
    );
    assert_eq!(edges::<Shared, _>(|p, a, b| a.or(b.or(p.input()))).len(), 3);
    let list = [(INPUT, EdgeKind::Many(2)), (0, ONE), (1, ONE)];
    assert_eq!(edges::<Vec<Shared>, _>(|_, a, b| vec![a, b]), list);
    assert_eq!(edges::<Vec<Shared>, _>(|_, a, b| [a, b]), list);
    let partial = [(INPUT, EdgeKind::Many(2)), (0, EdgeKind::Optional), (1, EdgeKind::Optional)];
    assert_eq!(edges::<Vec<Option<Shared>>, _>(|_, a, b| vec![a.optional(), b.optional()]), partial);
    assert_eq!(edges::<Vec<Option<Shared>>, _>(|_, a, b| [a.optional(), b.optional()]), partial);
    assert_eq!(edges::<Vec<Shared>, _>(|_, _, _| Vec::<Port<u32>>::new()), [(INPUT, EdgeKind::Many(0))]);
    assert_eq!(
        edges::<(Shared, Vec<Shared>, (Option<Shared>,)), _>(|_, a, b| (a, [b], (b.optional(),))),
        [(0, ONE), (INPUT, EdgeKind::Many(1)), (1, ONE), (1, EdgeKind::Optional)]
    );
}

#[test]
fn slices_of_ports_make_a_list() {
    let pipeline = builds(|p| {
        let input = p.input();
        let ports = p.parallel("part", 0..3, |_| stage_fn(next)).inputs(input);
        let one = p.stage("one", any::<Vec<Arc<u32>>>()).inputs(&ports);
        let two = p.stage("two", any::<Vec<Arc<u32>>>()).inputs(&ports[1..]);
        p.stage("last", any::<(Arc<u32>, Arc<u32>)>()).inputs((one, two))
    });
    assert_eq!(pipeline.plan().edges(3).len(), 4);
    assert_eq!(pipeline.plan().edges(4).len(), 3);
}

#[test]
fn names_make_one_edge_each() {
    let both = [(INPUT, EdgeKind::Named(2)), (0, REQUIRED), (1, REQUIRED)];
    assert_eq!(edges::<StageInputs, _>(|_, _, _| ["a", "b"]), both);
    assert_eq!(edges::<StageInputs, _>(|_, _, _| vec!["a", "b"]), both);
    assert_eq!(edges::<StageInputs, _>(|_, _, _| vec!["a".to_owned(), "b".to_owned()]), both);
    assert_eq!(edges::<StageInputs, _>(|_, _, _| &["a", "b"][..]), both);
    assert_eq!(
        edges::<StageInputs, _>(|_, _, _| names(["b"]).optional(["a"])),
        [(INPUT, EdgeKind::Named(2)), (1, REQUIRED), (0, EdgeKind::NamedOne { optional: true })]
    );
    // KEEP 18.1-30: an entry may occur twice.
    assert_eq!(edges::<StageInputs, _>(|_, _, _| ["a", "a"]).len(), 3);
}

/// FIX 18.1-21: a bare string is one name, not one name per letter.
#[test]
fn a_bare_string_is_one_name() {
    assert_eq!(edges::<StageInputs, _>(|_, _, _| "a"), [(INPUT, EdgeKind::Named(1)), (0, REQUIRED)]);
}

#[test]
fn twelve_wires_feed_a_tuple_of_twelve() {
    type A = Arc<u32>;
    let edges =
        edges::<(A, A, A, A, A, A, A, A, A, A, A, A), _>(|_, a, b| (a, a, a, a, a, a, a, a, a, a, a, b));
    assert_eq!(edges.len(), 12);
    assert_eq!(edges[11], (1, ONE));
}

#[test]
fn edges_that_deliver_come_first_then_after_then_when() {
    let pipeline = builds(|p| {
        let input = p.input();
        let a = p.stage("a", stage_fn(next)).inputs(input);
        let b = p.stage("b", stage_fn(next)).inputs(input);
        p.stage("c", stage_fn(next))
            .when(a, |n| *n > 1)
            .after(b)
            .when(b, |_| true)
            .after_name("a")
            .inputs(input)
    });
    let plan = pipeline.plan();
    let expected = [
        (INPUT, ONE),
        (1, EdgeKind::After),
        (0, EdgeKind::After),
        (0, EdgeKind::When(0)),
        (1, EdgeKind::When(1)),
    ];
    assert_eq!(plan.edges(2), expected.map(|(source, kind)| Edge { source, kind }));
    let first = &plan.conditions()[0];
    assert!(
        first.holds(&Value::new(2_u32))
            && !first.holds(&Value::new(1_u32))
            && !first.holds(&Value::new("no"))
    );
    let view = pipeline.stages().nth(2).unwrap();
    assert_eq!(
        view.inputs().map(|input| input.to_string()).collect::<Vec<_>>(),
        ["input", "after b", "after a", "when a", "when b"]
    );
    assert_eq!(view.inputs().last().unwrap().mark(), InputMark::When);
    assert!(view.is_output());
}

/// KEEP 18.1-13 and 18.1-16: the kind is the stage's own unless the pipeline says otherwise.
#[test]
fn the_kind_is_inferred_or_given() {
    struct Guard;
    impl Stage for Guard {
        type Input = Arc<u32>;
        type Output = ();
        const KIND: StageKind = StageKind::Guard;
        async fn run(&self, _: &StageContext, _: Arc<u32>) -> stageflow_core::StageResult<()> {
            Ok(())
        }
    }
    let pipeline = builds(|p| {
        let input = p.input();
        p.stage("own", Guard).inputs(input);
        p.stage("given", Guard).kind(StageKind::Route).inputs(input);
        p.stage("default", stage_fn(next)).inputs(input)
    });
    let kinds: Vec<_> = pipeline.stages().map(|stage| stage.kind()).collect();
    assert_eq!(kinds, [StageKind::Guard, StageKind::Route, StageKind::Transform]);
}

#[test]
fn parallel_pads_numbers_and_shares_setters() {
    let pipeline = builds(|p| {
        let input = p.input();
        let after = p.stage("after", stage_fn(next)).inputs(input);
        let few = p.parallel("few", [3, 40], |_| stage_fn(next)).inputs(input);
        let many = p
            .parallel("many", 998..1001, |_| stage_fn(next))
            .kind(StageKind::Work)
            .timeout(std::time::Duration::from_secs(1))
            .after(after)
            .when(after, |n| *n > 0)
            .inputs(input);
        p.stage("all", any::<(Vec<Arc<u32>>, Vec<Arc<u32>>)>()).inputs((few, many))
    });
    let names: Vec<_> = pipeline.stages().map(|stage| stage.name()).collect();
    assert_eq!(names, ["after", "few-003", "few-040", "many-0998", "many-0999", "many-1000", "all"]);
    let plan = pipeline.plan();
    assert_eq!(plan.conditions().len(), 1, "the predicate is shared");
    assert_eq!(plan.edges(3), plan.edges(5));
    assert_eq!(plan.kind(4), StageKind::Work);
    assert_eq!(plan.all_settings().len(), 3);
}

/// KEEP 18.1-42 in spirit: no index, no stage.
#[test]
fn parallel_over_nothing_adds_nothing() {
    let pipeline = builds(|p| {
        let input = p.input();
        let none = p.parallel("none", 0..0, |_| stage_fn(next)).inputs(input);
        assert!(none.is_empty());
        p.stage("one", any::<Vec<Arc<u32>>>()).inputs(none)
    });
    assert_eq!(pipeline.len(), 1);
}

#[test]
fn a_stage_without_inputs_adds_nothing() {
    let pipeline = builds(|p| {
        let input = p.input();
        let _ = p.stage("forgotten", stage_fn(next)).when(input, |_| true);
        p.stage("kept", stage_fn(next)).inputs(input)
    });
    assert_eq!(pipeline.stages().map(|stage| stage.name()).collect::<Vec<_>>(), ["kept"]);
    assert!(pipeline.plan().conditions().is_empty());
}

#[test]
fn a_pipeline_is_a_stage() {
    let inner = single("inner", "step");
    let pipeline = builds(|p| {
        let input = p.input();
        let inner = p.stage("inner", inner.clone()).inputs(input);
        p.stage("outer", stage_fn(next)).inputs(inner)
    });
    let stage = pipeline.plan().stage(0);
    assert_eq!(stage.role(), stageflow_core::stage::StageRole::Pipeline);
    assert_eq!(stage.output(), TypeTag::of::<u32>());
}

#[test]
fn a_pipeline_without_an_engine_says_so() {
    let inner = single("inner", "step").into_stage();
    let ctx = StageContext::for_test();
    let mut run = std::pin::pin!(Stage::run(&inner, &ctx, Arc::new(1)));
    let Poll::Ready(Err(exit)) =
        run.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    else {
        panic!("a detached context has no engine")
    };
    assert_eq!(exit.error_code(), Some(code::INTERNAL));
}

#[test]
fn ports_and_builders_print_what_they_are() {
    let mut p = Pipeline::builder("p");
    let input: Port<u32> = p.input();
    let a = p.stage("a", stage_fn(next)).inputs(input);
    assert_eq!(format!("{input:?} {a:?}"), "Port<u32>(input) Port<u32>(stage 0)");
    assert_eq!(format!("{:?}", a.optional()), "Port<u32>(stage 0).optional()");
    assert_eq!(format!("{:?}", input.or(a)), "OrPort<u32>([input, stage 0])");
    assert_eq!(format!("{:?}", a.erase()), "stage 0");
    assert_eq!(format!("{:?}", p.stage("b", stage_fn(named))), "StageBuilder { name: \"b\", .. }");
}

#[test]
fn pipelines_are_shared_between_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Pipeline<std::cell::Cell<u8>, std::cell::Cell<u8>>>();
    shared::<Port<std::cell::Cell<u8>>>();
    shared::<crate::BuildError>();
}
