//! What a registry builds, and what it says of what it cannot.

use serde_json::json;
use stageflow_core::{
    StageKind,
    code::{
        self, DUPLICATE, INVALID_CONFIG, INVALID_NAME, INVALID_SPEC, MISSING_DEP, TYPE_MISMATCH, UNKNOWN_KIND,
    },
};

use super::{build, places, problems, registry, spec_of, tree};
use crate::{
    Pipeline,
    spec::{PipelineSpec, RegisteredKind, Registry, SpecError},
    tests::any,
};

#[test]
fn a_pipeline_from_data_is_one_like_any_other() {
    let stages = json!({
        "a": { "use": "scale", "with": { "factor": 2 }, "inputs": "input", "kind": "enrich" },
        "b": { "use": "scale", "with": { "factor": 2, "offset": 1 }, "inputs": "input", "after": "a" },
        "c": { "use": "pair", "inputs": ["a", "b"], "when": { "of": "a", "is": "even" } },
    });
    assert_eq!(
        tree(&stages),
        "p: u32 → u32 (3 stages)\n\
         ├─ a  enrich     ← input\n\
         ├─ b  work       ← input, after a\n\
         ╰─ c  transform  ← a, b, when a  → output\n"
    );
}

#[test]
fn all_problems_are_reported_at_once_each_at_its_place() {
    let text = r#"{
        "stageflow": 1,
        "name": " ",
        "policies": { "max_in_flight": 0, "deadlin": "1s" },
        "stages": {
            "a/b": { "use": "scal", "with": { "factor": 2 }, "inputs": "input" },
            "b~c": { "use": "scale", "with": { "faktor": 2 }, "inputs": "a/b" },
            "input": { "use": "zero" },
            "d": { "use": "scale", "with": { "factor": 0 }, "inputs": "b~c", "policies": { "timeout": "0s" } },
            "e": { "use": "one", "inputs": "b~d" }
        },
        "output": "f"
    }"#;
    let error = registry().build::<u32, u32>(&PipelineSpec::from_json(text).unwrap()).unwrap_err();
    let mut found = places(&error);
    found.sort();
    let mut expected = [
        (INVALID_NAME, "/name"),
        (code::INVALID_POLICY, "/policies/max_in_flight"),
        (UNKNOWN_KIND, "/policies/deadlin"),
        (UNKNOWN_KIND, "/stages/a~1b/use"),
        (INVALID_CONFIG, "/stages/b~0c/with/faktor"),
        (INVALID_NAME, "/stages/input"),
        (INVALID_CONFIG, "/stages/d/with/factor"),
        (code::INVALID_POLICY, "/stages/d"),
        (MISSING_DEP, "/stages/e/inputs"),
        (MISSING_DEP, "/output"),
    ]
    .map(|(code, place)| (code, place.to_owned()));
    expected.sort();
    assert_eq!(found, expected, "{error}");
    let hint = |place: &str| {
        let problem = error.problems().iter().find(|problem| problem.pointer() == Some(place)).unwrap();
        problem.hint().to_owned()
    };
    assert_eq!(hint("/stages/a~1b/use"), "did you mean `scale`?");
    assert_eq!(hint("/stages/b~0c/with/faktor"), "did you mean `factor`?");
    assert_eq!(hint("/stages/d/with/factor"), "use 1 or more");
    assert_eq!(hint("/stages/e/inputs"), "did you mean `b~c`?");
    assert_eq!(hint("/policies/deadlin"), "did you mean `deadline`?");
}

#[test]
fn the_text_of_an_error_shows_the_place_in_the_data() {
    let error =
        build(&json!({ "a": { "use": "scale", "with": { "factor": 0 }, "inputs": "input" } })).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot build pipeline `p`: 1 problem\n  INVALID_CONFIG at /stages/a/with/factor\n    \
         stage `a`: nothing is left\n    help: use 1 or more"
    );
    let json = serde_json::to_value(&error).unwrap();
    assert_eq!(json["problems"][0]["pointer"], "/stages/a/with/factor");
}

#[test]
fn a_constructor_that_panics_is_reported_and_loses_nothing() {
    let mut registry = registry();
    registry.stage("bad", |(): ()| -> Result<super::Scale, SpecError> { panic!("oh\nno") });
    let stages = json!({
        "a": { "use": "bad", "inputs": "input" },
        "b": { "use": "bad", "inputs": "input" },
        "c": { "use": "text", "inputs": "a" },
        "d": { "use": "one", "inputs": "c" },
    });
    let error = registry.build::<u32, u32>(&spec_of(&stages)).unwrap_err();
    let place = |code, place: &str| (code, place.to_owned());
    // What it gives is known by its kind, so that what reads it is checked.
    assert_eq!(
        places(&error),
        [
            place(INVALID_CONFIG, "/stages/a"),
            place(INVALID_CONFIG, "/stages/b"),
            place(TYPE_MISMATCH, "/stages/d/inputs")
        ]
    );
    assert_eq!(error.problems()[0].message(), "stage `a`: its constructor panicked: oh\\nno");
    assert!(!error.to_string().contains("oh\nno"), "{error}");
}

#[test]
fn a_configuration_is_checked_with_its_place_and_without_its_values() {
    let with = |config| json!({ "a": { "use": "scale", "inputs": "input", "with": config } });
    let at = |config| problems(&with(config)).into_iter().next().unwrap();
    let place = |place: &str| (INVALID_CONFIG, format!("/stages/a/with{place}"));
    assert_eq!(at(json!({ "factor": "s3cret" })), place("/factor"));
    assert_eq!(at(json!({ "factor": -1 })), place("/factor"));
    assert_eq!(at(json!({ "factor": 4_294_967_296_u64 })), place("/factor"));
    assert_eq!(at(json!({ "factor": 1, "more": 1 })), place("/more"));
    assert_eq!(at(json!({})), place(""));
    assert_eq!(at(json!(null)), place(""));
    let error = build(&with(json!({ "factor": "s3\", expected cret" }))).unwrap_err();
    assert_eq!(error.problems()[0].message(), "stage `a`: invalid type: a text, expected u32");
    let error = build(&json!({ "a": { "use": "scale", "inputs": "input" } })).unwrap_err();
    assert_eq!(
        error.problems()[0].message(),
        "stage `a`: there is no configuration, and it is needed: missing field `factor`"
    );
    // What takes no configuration may say so.
    for with in [json!({}), json!(null)] {
        build(&json!({ "a": { "use": "one", "inputs": "input", "with": with } })).unwrap();
    }
    let unwanted = problems(&json!({ "a": { "use": "one", "inputs": "input", "with": { "factor": 1 } } }));
    assert_eq!(unwanted, [place("")]);
}

#[test]
fn conditions_are_checked_like_stages() {
    let when = |when| json!({ "a": { "use": "one", "inputs": "input", "when": when } });
    let cases = [
        (json!({ "of": "input", "is": "evn" }), UNKNOWN_KIND, "/is"),
        (json!({ "of": "input", "not": "evn" }), UNKNOWN_KIND, "/not"),
        (json!({ "of": "input" }), INVALID_SPEC, ""),
        (json!({ "of": "input", "is": "even", "not": "even" }), INVALID_SPEC, ""),
        (json!({ "of": "input", "is": "above" }), INVALID_CONFIG, ""),
        (json!({ "of": "input", "is": "above", "with": { "limit": "x" } }), INVALID_CONFIG, "/with/limit"),
    ];
    for (condition, code, place) in cases {
        assert_eq!(
            problems(&when(condition.clone())),
            [(code, format!("/stages/a/when{place}"))],
            "{condition}"
        );
        let many = problems(&when(json!([condition])));
        assert_eq!(many, [(code, format!("/stages/a/when/0{place}"))], "{condition}");
    }
    let stages = json!({
        "t": { "use": "text", "inputs": "input" },
        "u": { "use": "one", "inputs": "input", "when": { "of": "t", "is": "even" } },
    });
    assert_eq!(problems(&stages), [(TYPE_MISMATCH, "/stages/u/when/of".to_owned())]);
}

#[test]
fn not_is_the_opposite_of_is() {
    let stages = json!({ "a": { "use": "one", "inputs": "input", "when": [
        { "of": "input", "is": "above", "with": { "limit": 3 } },
        { "of": "input", "not": "above", "with": { "limit": 5 } },
    ] } });
    let pipeline = build(&stages).unwrap();
    let holds = |n: u32| {
        let value = stageflow_core::Value::new(n);
        pipeline.plan().conditions().iter().map(|condition| condition.holds(&value)).collect::<Vec<_>>()
    };
    assert_eq!([holds(3), holds(4), holds(6)], [[false, true], [true, true], [true, false]]);
}

#[test]
fn the_types_of_input_and_output_are_those_that_were_asked_for() {
    let stages = json!({ "a": { "use": "one", "inputs": "input" } });
    let error = registry().build::<u32, String>(&spec_of(&stages)).unwrap_err();
    assert_eq!(places(&error), [(TYPE_MISMATCH, "/output".to_owned())]);
    assert_eq!(error.problems()[0].message(), "the pipeline is to give a `String`, and `a` gives a `u32`");
    let error = registry().build::<String, u32>(&spec_of(&stages)).unwrap_err();
    assert_eq!(
        error.problems()[0].message(),
        "stage `a` takes a `u32` there, and the pipeline's input is a `String`"
    );
}

mod other {
    #[derive(Clone)]
    pub(super) struct Scale;
}

#[test]
fn types_of_one_name_are_told_apart() {
    let mut registry = Registry::new();
    registry.stage("ours", |(): ()| Ok::<_, SpecError>(any::<std::sync::Arc<super::Scale>>()));
    let stages = json!({ "a": { "use": "ours", "inputs": "input" } });
    let error = registry.build::<other::Scale, u32>(&spec_of(&stages)).unwrap_err();
    let message = error.problems()[0].message();
    assert!(message.contains("::tests::Scale`") && message.contains("::other::Scale`"), "{message}");
}

#[test]
fn a_name_that_is_registered_twice_is_a_problem_of_every_build() {
    let mut registry = registry();
    registry
        .stage("one", |(): ()| Ok::<_, SpecError>(any::<()>()))
        .policy("called", |(): ()| Ok::<_, SpecError>(super::Named(String::new())))
        .policy("timeout", |(): ()| Ok::<_, SpecError>(super::Named(String::new())))
        .predicate("even", |(): &(), _: &String| true);
    let error = registry
        .build::<u32, u32>(&spec_of(&json!({ "a": { "use": "one", "inputs": "input" } })))
        .unwrap_err();
    assert_eq!(error.problems().len(), 4, "{error}");
    assert!(error.problems().iter().all(|problem| problem.code() == DUPLICATE), "{error}");
    assert!(error.problems()[0].location().file().ends_with("build.rs"), "{error}");
}

#[test]
fn what_is_registered_is_listed() {
    let registry = registry();
    let kinds: Vec<_> = registry.kinds().collect();
    let deep = RegisteredKind::Stage {
        name: "deep",
        input: "((`u32`, a list of `u32`), `u32` or nothing)".to_owned(),
        output: "u32".to_owned(),
        kind: StageKind::Transform,
    };
    assert_eq!(kinds[0], deep);
    assert!(kinds.contains(&RegisteredKind::Policy { name: "called" }));
    assert!(kinds.contains(&RegisteredKind::Predicate { name: "above", of: "u32".to_owned() }));
    assert_eq!(kinds.len(), 14);
}

#[test]
fn a_pipeline_can_be_a_kind_of_stage() {
    let inner: Pipeline<u32, u32> = build(&json!({ "a": { "use": "one", "inputs": "input" } })).unwrap();
    let mut registry = registry();
    registry.stage("inner", move |(): ()| Ok::<_, SpecError>(inner.clone()));
    let spec = spec_of(&json!({ "x": { "use": "inner", "inputs": "input" } }));
    let outer: Pipeline<u32, u32> = registry.build(&spec).unwrap();
    assert!(outer.to_tree().contains("x"), "{}", outer.to_tree());
}
