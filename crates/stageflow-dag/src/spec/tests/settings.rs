//! Settings and policies: that each sets what the method of its name sets.

use std::time::Duration;

use serde_json::{Value, json};
use stageflow_core::{
    Budget, FailurePolicy, FailureRules, Keep, StageKind,
    code::{INVALID_CONFIG, INVALID_POLICY, UNKNOWN_KIND},
    stage_fn,
};

use super::{places, registry};
use crate::{BuildError, Lint, Pipeline, plan::Plan, tests::next};

fn build(pipeline: &Value, stage: &Value) -> Result<Pipeline<u32, u32>, BuildError> {
    let spec = json!({
        "stageflow": 1,
        "name": "p",
        "policies": pipeline,
        "stages": { "a": { "use": "one", "inputs": "input", "policies": stage } },
        "output": "a",
    });
    registry().build(&serde_json::from_value(spec).unwrap())
}

fn plan(pipeline: &Value, stage: &Value) -> Pipeline<u32, u32> {
    build(pipeline, stage).unwrap()
}

fn said(plan: &Plan) -> String {
    format!("{:?} {:?}", plan.policies(), plan.settings(0))
}

#[test]
fn each_setting_of_a_stage_is_that_of_the_method() {
    let from_data = plan(
        &json!({}),
        &json!({
            "timeout": "2s",
            "attempt_timeout": "none",
            "idle_timeout": "300ms",
            "min_time": "10ms",
            "grace": "1s",
            "cost": 7,
            "allow_lint": { "nested-retries": "wanted" },
        }),
    );
    let mut p = Pipeline::builder("p");
    let input = p.input();
    let port = p
        .stage("a", stage_fn(next))
        .timeout(Duration::from_secs(2))
        .attempt_timeout(None)
        .idle_timeout(Duration::from_millis(300))
        .min_time(Duration::from_millis(10))
        .grace(Duration::from_secs(1))
        .cost(7)
        .allow_lint(Lint::NestedRetries, "wanted")
        .inputs(input);
    let in_code: Pipeline<u32, u32> = p.build(port).unwrap();
    assert_eq!(said(from_data.plan()), said(in_code.plan()));
}

#[test]
fn each_setting_of_a_pipeline_is_that_of_the_method() {
    let from_data = plan(
        &json!({
            "stage_timeout": "2s",
            "attempt_timeout": "1s",
            "idle_timeout": "none",
            "deadline": "1m",
            "cleanup_budget": "5s",
            "max_in_flight": 3,
            "limit_kind": { "enrich": 2 },
            "on_failure": {
                "policy": { "tolerate_count": 2 },
                "max_failures": 5,
                "tolerate_percent_of_ended": { "percent": 20, "min_samples": 50 },
            },
            "keep": "output",
            "budget": { "retries": { "ratio": 0.5, "floor": 3 }, "cost": 100 },
            "allow_lint": { "nested-retries": "wanted" },
        }),
        &json!({}),
    );
    let mut p = Pipeline::builder("p");
    p.stage_timeout(Duration::from_secs(2))
        .attempt_timeout(Duration::from_secs(1))
        .idle_timeout(None)
        .deadline(Duration::from_secs(60))
        .cleanup_budget(Duration::from_secs(5))
        .max_in_flight(3)
        .limit_kind(StageKind::Enrich, 2)
        .on_failure(
            FailureRules::new(FailurePolicy::TolerateCount(2))
                .max_failures(5)
                .tolerate_percent_of_ended(20.0, 50),
        )
        .keep(Keep::Output)
        .budget(Budget::new().retries(0.5, 3).cost(100))
        .allow_lint(Lint::NestedRetries, "wanted");
    let input = p.input();
    let port = p.stage("a", stage_fn(next)).inputs(input);
    let in_code: Pipeline<u32, u32> = p.build(port).unwrap();
    let policies = |pipeline: &Pipeline<u32, u32>| format!("{:?}", pipeline.plan().policies());
    assert_eq!(policies(&from_data), policies(&in_code));
}

#[test]
fn each_way_to_tolerate_failures_is_read() {
    let rules = |value: Value| {
        let pipeline = plan(&json!({ "on_failure": value }), &json!({}));
        pipeline.plan().policies().on_failure.as_ref().map(FailureRules::policy)
    };
    assert_eq!(rules(json!("fail_fast")), Some(FailurePolicy::FailFast));
    assert_eq!(rules(json!("continue")), Some(FailurePolicy::Continue));
    assert_eq!(rules(json!("best_effort")), Some(FailurePolicy::BestEffort));
    assert_eq!(rules(json!({ "tolerate_count": 3 })), Some(FailurePolicy::TolerateCount(3)));
    assert_eq!(rules(json!({ "tolerate_percent": 2.5 })), Some(FailurePolicy::ToleratePercent(2.5)));
    assert_eq!(rules(json!({ "policy": "continue" })), Some(FailurePolicy::Continue));
}

#[test]
fn policies_stand_in_the_order_of_the_data() {
    let text = r#"{
        "stageflow": 1, "name": "p",
        "policies": { "outer": "z", "called": "y" },
        "stages": { "a": { "use": "one", "inputs": "input", "policies": { "outer": "x", "timeout": "1s", "called": "w" } } },
        "output": "a"
    }"#;
    let mut registry = registry();
    registry.policy("outer", |name: String| Ok::<_, super::SpecError>(super::Named(name)));
    let spec = super::PipelineSpec::from_json(text).unwrap();
    let pipeline: Pipeline<u32, u32> = registry.build(&spec).unwrap();
    let names = |of: &[stageflow_core::intercept::AnyInterceptor]| -> Vec<String> {
        of.iter().map(|it| it.name().to_owned()).collect()
    };
    assert_eq!(names(&pipeline.plan().policies().interceptors), ["z", "y"]);
    assert_eq!(names(&pipeline.plan().settings(0).unwrap().interceptors), ["x", "w"]);
}

#[test]
fn what_a_setting_cannot_be_is_said_at_its_place() {
    let of_pipeline = [
        ("deadline", json!("0s"), INVALID_POLICY, ""),
        ("deadline", json!("99999999999d"), INVALID_CONFIG, ""),
        ("deadline", json!(5), INVALID_CONFIG, ""),
        ("max_in_flight", json!(0), INVALID_POLICY, ""),
        ("max_in_flight", json!(-1), INVALID_CONFIG, ""),
        ("max_in_flight", json!(4_294_967_296_u64), INVALID_CONFIG, ""),
        ("stage_timeout", json!("0ms"), INVALID_POLICY, ""),
        ("limit_kind", json!({ "enrich": 0 }), INVALID_POLICY, ""),
        ("limit_kind", json!({ "enrich": 1, "thing": 2 }), INVALID_CONFIG, ""),
        ("on_failure", json!({ "tolerate_percent": 200 }), INVALID_POLICY, ""),
        ("on_failure", json!("sometimes"), INVALID_CONFIG, ""),
        ("on_failure", json!({ "policy": "continue", "max_failure": 3 }), INVALID_CONFIG, ""),
        ("budget", json!({ "coast": 3 }), INVALID_CONFIG, "/coast"),
        ("keep", json!("some"), INVALID_CONFIG, ""),
        ("allow_lint", json!({ "nested-retry": "x" }), UNKNOWN_KIND, "/nested-retry"),
        ("timeout", json!("1s"), UNKNOWN_KIND, ""),
        ("cost", json!(1), UNKNOWN_KIND, ""),
        ("called", json!(5), INVALID_CONFIG, ""),
    ];
    for (name, value, code, place) in of_pipeline {
        let error = build(&json!({ name: value }), &json!({})).unwrap_err();
        assert_eq!(places(&error), [(code, format!("/policies/{name}{place}"))], "{name}: {value}");
    }
    let of_stage = [
        ("timeout", json!("soon"), INVALID_CONFIG),
        ("cost", json!(-1), INVALID_CONFIG),
        ("cost", json!(1.5), INVALID_CONFIG),
        ("grace", json!(null), INVALID_CONFIG),
        ("deadline", json!("1s"), UNKNOWN_KIND),
        ("caled", json!("x"), UNKNOWN_KIND),
    ];
    for (name, value, code) in of_stage {
        let error = build(&json!({}), &json!({ name: value })).unwrap_err();
        assert_eq!(places(&error), [(code, format!("/stages/a/policies/{name}"))], "{name}: {value}");
    }
    let hint =
        |pipeline: Value, stage: Value| build(&pipeline, &stage).unwrap_err().problems()[0].hint().to_owned();
    assert!(hint(json!({ "timeout": "1s" }), json!({})).contains("`stage_timeout`"));
    assert!(hint(json!({ "cost": 1 }), json!({})).contains("single stages"));
    assert!(hint(json!({}), json!({ "deadline": "1s" })).contains("at the top"));
    assert_eq!(hint(json!({}), json!({ "caled": "x" })), "did you mean `called`?");
    assert_eq!(
        hint(json!({ "allow_lint": { "nested-retry": "x" } }), json!({})),
        "did you mean `nested-retries`?"
    );
}
