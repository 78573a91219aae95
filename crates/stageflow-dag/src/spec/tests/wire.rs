//! Which wires feed which stages, and what is said of those that do not.

use serde_json::{Value, json};
use stageflow_core::code::{CYCLE, MISSING_DEP, SELF_DEP, TYPE_MISMATCH};

use super::{build, problems, tree};

/// Three stages that others are fed by, and one that is fed.
fn fed(kind: &str, inputs: Value) -> Value {
    let mut stages = json!({
        "a": { "use": "one", "inputs": "input" },
        "b": { "use": "one", "inputs": "input" },
        "t": { "use": "text", "inputs": "input" },
        "x": { "use": kind },
    });
    if !inputs.is_null() {
        stages["x"]["inputs"] = inputs;
    }
    stages
}

/// How the tree writes the inputs of the stage.
fn inputs(kind: &str, inputs: Value) -> String {
    let tree = tree(&fed(kind, inputs));
    let line = tree.lines().find(|line| line.contains(" x ")).unwrap().to_owned();
    let inputs = line.split_once('←').map_or("", |(_, inputs)| inputs);
    inputs.split('→').next().unwrap_or_default().trim().to_owned()
}

#[test]
fn each_form_feeds_the_stages_that_take_it() {
    assert_eq!(inputs("zero", json!(null)), "");
    assert_eq!(inputs("zero", json!([])), "");
    assert_eq!(inputs("one", json!("a")), "a");
    assert_eq!(inputs("one", json!(["a"])), "a");
    assert_eq!(inputs("one", json!("input")), "input");
    assert_eq!(inputs("one", json!({ "or": ["a", "b", "input"] })), "a | b | input");
    assert_eq!(inputs("own", json!("a")), "own a");
    assert_eq!(inputs("maybe", json!({ "optional": "a" })), "a?");
    assert_eq!(inputs("maybe", json!({ "optional": { "or": ["a", "b"] } })), "(a | b)?");
    assert_eq!(inputs("list", json!(["a", "b"])), "[a, b]");
    assert_eq!(inputs("list", json!([])), "[]");
    assert_eq!(inputs("maybes", json!([{ "optional": "a" }, { "optional": "b" }])), "[a?, b?]");
    assert_eq!(inputs("named", json!("a")), "{a}");
    assert_eq!(inputs("named", json!(["a", { "optional": "b" }])), "{a, b?}");
    assert_eq!(inputs("pair", json!(["a", "input"])), "a, input");
    assert_eq!(inputs("deep", json!([["a", ["a", "b"]], { "optional": "b" }])), "a, [a, b], b?");
}

#[test]
fn a_form_that_does_not_fit_is_said_at_its_place() {
    let cases = [
        ("zero", json!("a"), "/inputs"),
        ("one", json!(null), ""),
        ("one", json!({ "optional": "a" }), "/inputs"),
        ("one", json!(["a", "b"]), "/inputs"),
        ("one", json!({ "or": [] }), "/inputs"),
        ("own", json!({ "or": ["a", "b"] }), "/inputs"),
        ("maybe", json!("a"), "/inputs"),
        ("list", json!("a"), "/inputs"),
        ("list", json!([{ "optional": "a" }]), "/inputs/0"),
        ("list", json!(["a", ["b"]]), "/inputs/1"),
        ("maybes", json!(["a"]), "/inputs/0"),
        ("named", json!([["a"]]), "/inputs/0"),
        ("named", json!({ "optional": "a" }), "/inputs"),
        ("pair", json!("a"), "/inputs"),
        ("pair", json!(["a"]), "/inputs"),
        ("pair", json!(["a", { "optional": "b" }]), "/inputs/1"),
        ("deep", json!([["a", "b"], { "optional": "b" }]), "/inputs/0/1"),
    ];
    for (kind, inputs, place) in cases {
        let expected = [(TYPE_MISMATCH, format!("/stages/x{place}"))];
        assert_eq!(problems(&fed(kind, inputs.clone())), expected, "{kind} {inputs}");
    }
}

#[test]
fn a_type_that_does_not_fit_is_said_with_both_names_and_who_would() {
    let cases = [
        ("one", json!("t"), "/inputs"),
        ("own", json!("t"), "/inputs"),
        ("one", json!({ "or": ["a", "t"] }), "/inputs/or/1"),
        ("maybe", json!({ "optional": "t" }), "/inputs/optional"),
        ("maybe", json!({ "optional": { "or": ["t", "a"] } }), "/inputs/optional/or/0"),
        ("list", json!(["a", "t"]), "/inputs/1"),
        ("maybes", json!([{ "optional": "t" }]), "/inputs/0/optional"),
        ("pair", json!(["t", "a"]), "/inputs/0"),
        ("deep", json!([["a", ["b", "t"]], { "optional": "a" }]), "/inputs/0/1/1"),
    ];
    for (kind, inputs, place) in cases {
        let expected = [(TYPE_MISMATCH, format!("/stages/x{place}"))];
        assert_eq!(problems(&fed(kind, inputs.clone())), expected, "{kind} {inputs}");
    }
    let error = build(&fed("one", json!("t"))).unwrap_err();
    let problem = &error.problems()[0];
    assert_eq!(problem.message(), "stage `x` takes a `u32` there, and `t` gives a `String`");
    assert_eq!(problem.hint(), "`input` and `a` and `b` give a `u32`");
    // By name, types are checked when the stage asks.
    assert_eq!(inputs("named", json!("t")), "{t}");
}

#[test]
fn unknown_names_are_said_wherever_they_stand() {
    let cases = [
        ("one", json!("bb"), "/inputs"),
        ("one", json!({ "or": ["a", "bb"] }), "/inputs/or/1"),
        ("maybe", json!({ "optional": "bb" }), "/inputs/optional"),
        ("named", json!(["a", { "optional": "bb" }]), "/inputs/1/optional"),
        ("list", json!(["a", "bb"]), "/inputs/1"),
    ];
    for (kind, inputs, place) in cases {
        let expected = [(MISSING_DEP, format!("/stages/x{place}"))];
        assert_eq!(problems(&fed(kind, inputs.clone())), expected, "{kind} {inputs}");
    }
    assert_eq!(problems(&fed("named", json!(["input"]))), [(MISSING_DEP, "/stages/x/inputs/0".to_owned())]);
    let mut stages = fed("one", json!("a"));
    stages["x"]["after"] = json!(["a", "bb"]);
    stages["x"]["when"] = json!({ "of": "bb", "is": "even" });
    let error = build(&stages).unwrap_err();
    let expected =
        [(MISSING_DEP, "/stages/x/after/1".to_owned()), (MISSING_DEP, "/stages/x/when/of".to_owned())];
    assert_eq!(super::places(&error), expected);
    assert_eq!(error.problems()[0].hint(), "did you mean `b`?");
}

#[test]
fn a_stage_that_waits_for_itself_is_said_at_each_edge() {
    let stages = json!({ "a": {
        "use": "pair",
        "inputs": ["a", "input"],
        "after": "a",
        "when": [{ "of": "input", "is": "even" }, { "of": "a", "is": "even" }],
    } });
    let place = |at: &str| (SELF_DEP, format!("/stages/a{at}"));
    assert_eq!(problems(&stages), [place("/inputs/0"), place("/after"), place("/when/1/of")]);
}

#[test]
fn circles_are_said_with_their_path_whatever_makes_them() {
    let stages = json!({
        "a": { "use": "one", "inputs": "c" },
        "b": { "use": "zero", "after": "a" },
        "c": { "use": "zero", "when": { "of": "b", "is": "even" } },
        "d": { "use": "nothing", "inputs": ["e"] },
        "e": { "use": "one", "inputs": { "or": ["input", "d"] } },
        "z": { "use": "list", "inputs": ["a", "e"] },
    });
    let error = build(&stages).unwrap_err();
    let circles: Vec<_> = error.problems().iter().filter(|problem| problem.code() == CYCLE).collect();
    let messages: Vec<_> = circles.iter().map(|problem| problem.message()).collect();
    assert_eq!(
        messages,
        ["stages wait for each other: `a` → `b` → `c` → `a`", "stages wait for each other: `d` → `e` → `d`"]
    );
    assert_eq!(circles[0].pointer(), Some("/stages/a"));
    assert_eq!(circles[0].stages(), ["a", "b", "c"]);
}

#[test]
fn stages_may_stand_in_any_order() {
    let forward = json!({
        "1": { "use": "one", "inputs": "input" },
        "2": { "use": "one", "inputs": "1", "when": { "of": "1", "is": "even" } },
        "3": { "use": "pair", "inputs": ["1", "2"], "after": "2" },
    });
    // The same chain, whose names sort the other way round.
    let backward = json!({
        "1": { "use": "pair", "inputs": ["3", "2"], "after": "2" },
        "2": { "use": "one", "inputs": "3", "when": { "of": "3", "is": "even" } },
        "3": { "use": "one", "inputs": "input" },
    });
    let swap = |tree: String| tree.replace('1', "#").replace('3', "1").replace('#', "3");
    let mut spec = super::spec_of(&backward);
    spec.output = "1".to_owned();
    let backward: crate::Pipeline<u32, u32> = super::registry().build(&spec).unwrap();
    let (forward, backward) = (tree(&forward), swap(backward.to_tree()));
    // The count of stages is a three as well.
    assert_eq!(forward.split_once('\n').unwrap().1, backward.split_once('\n').unwrap().1);
}
