//! The schema accepts what is built, and refuses what the format cannot mean.

use serde_json::{Value, json};

use super::{Limit, registry, validate::fits};
use crate::{
    Pipeline,
    spec::{PipelineSpec, Registry},
};

fn accepts(schema: &Value, data: &Value) -> bool {
    fits(schema, schema, data)
}

/// One stage with these fields.
#[expect(clippy::needless_pass_by_value, reason = "it moves into the data")]
fn stage(fields: Value) -> Value {
    json!({ "stageflow": 1, "name": "p", "stages": { "a": fields }, "output": "a" })
}

fn pipeline(policies: &Value) -> Value {
    let stages = json!({ "a": { "use": "one", "inputs": "input" } });
    json!({ "stageflow": 1, "name": "p", "policies": policies, "stages": stages, "output": "a" })
}

fn of_stage(policies: &Value) -> Value {
    stage(json!({ "use": "one", "inputs": "input", "policies": policies }))
}

#[test]
fn what_is_built_fits_the_schema() {
    let schema = registry().schema();
    let some = |inputs: Value, kind: &str| stage(json!({ "use": kind, "inputs": inputs }));
    let with_condition = |when: Value| stage(json!({ "use": "one", "inputs": "input", "when": when }));
    let data = [
        stage(json!({ "use": "zero" })),
        some(json!([]), "zero"),
        some(json!("input"), "one"),
        some(json!(["input"]), "one"),
        some(json!({ "or": ["input", "input"] }), "one"),
        some(json!("input"), "own"),
        some(json!({ "optional": "input" }), "maybe"),
        some(json!({ "optional": { "or": ["input"] } }), "maybe"),
        some(json!([]), "list"),
        some(json!(["input", "input"]), "list"),
        some(json!([{ "optional": "input" }]), "maybes"),
        some(json!([]), "named"),
        some(json!(["input", "input"]), "pair"),
        some(json!([["input", ["input"]], { "optional": "input" }]), "deep"),
        stage(json!({ "use": "scale", "inputs": "input", "with": { "factor": 1 }, "kind": "agent" })),
        stage(json!({ "use": "one", "inputs": "input", "with": {}, "after": "input", "description": "d" })),
        stage(json!({ "use": "one", "inputs": "input", "with": null, "after": ["input"] })),
        with_condition(json!({ "of": "input", "is": "even" })),
        with_condition(
            json!([{ "of": "input", "not": "above", "with": { "limit": 1 } }, { "of": "input", "is": "even" }]),
        ),
        with_condition(json!([])),
        of_stage(
            &json!({ "timeout": "none", "attempt_timeout": "1.5s", "min_time": "1s", "cost": 5, "called": "x" }),
        ),
        of_stage(
            &json!({ "grace": "1h30m", "idle_timeout": "5ms", "allow_lint": { "nested-retries": "x" } }),
        ),
        pipeline(
            &json!({ "deadline": "2s", "limit_kind": { "enrich": 2 }, "keep": "output", "called": "x" }),
        ),
        pipeline(&json!({ "on_failure": "continue", "budget": { "cost": 3 }, "max_in_flight": 1 })),
        pipeline(
            &json!({ "on_failure": { "tolerate_count": 2 }, "budget": { "retries": { "ratio": 0.5, "floor": 1 } } }),
        ),
        pipeline(&json!({ "on_failure": { "policy": { "tolerate_percent": 2.5 }, "max_failures": 3 } })),
    ];
    for data in data {
        let spec: PipelineSpec = serde_json::from_value(data.clone()).unwrap();
        let built: Result<Pipeline<u32, u32>, _> = registry().build(&spec);
        assert!(built.is_ok(), "{data}: {}", built.unwrap_err());
        assert!(accepts(&schema, &data), "{data}");
    }
}

#[test]
fn what_cannot_be_meant_does_not_fit_the_schema() {
    let schema = registry().schema();
    let good = stage(json!({ "use": "one", "inputs": "input" }));
    assert!(accepts(&schema, &good));
    let set = |place: &str, value: Value| {
        let mut bad = good.clone();
        let (parent, field) = place.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[field] = value;
        bad
    };
    let data = [
        set("/stageflow", json!(2)),
        set("/title", json!("p")),
        set("/name", json!("")),
        set("/stages", json!({})),
        set("/stages/input", json!({ "use": "one", "inputs": "input" })),
        set("/stages/a/use", json!("onne")),
        set("/stages/a/retry", json!({})),
        set("/stages/a/with", json!({ "factor": 1 })),
        set("/stages/a/inputs", json!(null)),
        set("/stages/a/inputs", json!({ "optional": "input" })),
        set("/stages/a/kind", json!("thing")),
        set("/stages/a/when", json!({ "of": "input", "is": "evn" })),
        set("/stages/a/when", json!({ "of": "input", "is": "above" })),
        set("/stages/a/policies", json!({ "timeout": "soon" })),
        set("/stages/a/policies", json!({ "deadline": "1s" })),
        set("/stages/a/policies", json!({ "cost": -1 })),
        set("/policies", json!({ "timeout": "1s" })),
        set("/policies", json!({ "limit_kind": { "thing": 1 } })),
        set("/policies", json!({ "on_failure": "sometimes" })),
        stage(json!({ "use": "one" })),
        stage(json!({ "use": "scale", "inputs": "input" })),
        stage(json!({ "use": "scale", "inputs": "input", "with": { "faktor": 1 } })),
        stage(json!({ "use": "pair", "inputs": ["input"] })),
        stage(json!({ "inputs": "input" })),
    ];
    for data in data {
        assert!(!accepts(&schema, &data), "{data}");
        let spec = serde_json::from_value::<PipelineSpec>(data.clone());
        let built = spec.map(|spec| registry().build::<u32, u32>(&spec).is_ok());
        assert!(!matches!(built, Ok(true)), "{data} is built");
    }
}

#[test]
fn a_registry_of_nothing_accepts_nothing() {
    let schema = Registry::new().schema();
    assert!(!accepts(&schema, &stage(json!({ "use": "one", "inputs": "input" }))));
}

#[test]
fn configurations_are_described_with_their_words() {
    let schema = registry().schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema.pointer("/$defs/Scale/description"), Some(&json!("Multiplies.")));
    assert_eq!(schema.pointer("/$defs/Scale/additionalProperties"), Some(&json!(false)));
}

#[test]
fn two_types_of_one_name_keep_their_schemas_apart() {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[schemars(rename = "Limit")]
    struct Other {
        #[expect(dead_code, reason = "only its schema is looked at")]
        most: String,
    }
    let mut registry = registry();
    registry.predicate("ours", |_: &Limit, _: &u32| true).predicate("theirs", |_: &Other, _: &u32| true);
    let schema = registry.schema();
    let when = |name, with| {
        stage(json!({ "use": "one", "inputs": "input", "when": { "of": "input", "is": name, "with": with } }))
    };
    assert!(accepts(&schema, &when("ours", json!({ "limit": 1 }))));
    assert!(accepts(&schema, &when("theirs", json!({ "most": "x" }))));
    assert!(!accepts(&schema, &when("theirs", json!({ "limit": 1 }))));
}
