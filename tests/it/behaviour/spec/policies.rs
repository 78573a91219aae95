//! Policies from data at work, and the times, limits and rules that data sets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stageflow::{
    ErrorClass, Lint, code,
    prelude::*,
    spec::{PipelineSpec, Registry, SpecError, StandardPolicies},
};

use super::read;
use crate::behaviour::kit::{Gauge, naps, never, statuses};

/// Stages of which some fail, and the calls of those that do.
fn registry() -> (Registry, Arc<AtomicU32>, Gauge) {
    let (calls, gauge) = (Arc::new(AtomicU32::new(0)), Gauge::default());
    let mut registry = Registry::new();
    let (counted, measured) = (Arc::clone(&calls), gauge.clone());
    registry
        .standard_policies()
        .fallback_value::<u32>("answer")
        .stage("fails", move |times: u32| {
            let calls = Arc::clone(&counted);
            Ok::<_, SpecError>(stage_fn(move |_, (): ()| {
                let call = calls.fetch_add(1, Ordering::Relaxed);
                async move {
                    if call < times {
                        Err(StageExit::fail("not yet").class(ErrorClass::Transient))
                    } else {
                        Ok(call)
                    }
                }
            }))
        })
        .stage("never", |(): ()| Ok::<_, SpecError>(never()))
        .stage("naps", |millis: u64| Ok::<_, SpecError>(naps(Duration::from_millis(millis), 1)))
        .stage("measured", move |(): ()| Ok::<_, SpecError>(measured.stage(Duration::from_millis(10))))
        .stage("sum", |(): ()| {
            Ok::<_, SpecError>(stage_fn(|_, all: Vec<Arc<u32>>| async move {
                Ok(all.iter().map(|n| **n).sum::<u32>())
            }))
        });
    (registry, calls, gauge)
}

fn stage(policies: &str, fields: &str) -> PipelineSpec {
    read(&format!(
        r#"{{"stageflow":1,"name":"p","stages":{{"a":{{{fields},"policies":{policies}}}}},"output":"a"}}"#
    ))
}

/// Twenty stages that are in flight as many at a time as they may, under these policies.
fn crowd(policies: &str) -> PipelineSpec {
    let stages: Vec<_> =
        (0..20).map(|stage| format!(r#""s{stage}":{{"use":"measured","kind":"enrich"}}"#)).collect();
    let names: Vec<_> = (0..20).map(|stage| format!(r#""s{stage}""#)).collect();
    read(&format!(
        r#"{{"stageflow":1,"name":"p","policies":{policies},"stages":{{{},"sum":{{"use":"sum","inputs":[{}]}}}},"output":"sum"}}"#,
        stages.join(","),
        names.join(",")
    ))
}

#[tokio::test(start_paused = true)]
async fn a_retry_makes_as_many_attempts_as_the_data_says() {
    let (registry, calls, _) = registry();
    let spec = stage(
        r#"{"retry":{"max_attempts":4,"base":"1s","growth":"constant","jitter":"none"}}"#,
        r#""use":"fails","with":3"#,
    );
    let pipeline: Pipeline<(), u32> = registry.build(&spec).unwrap();
    let began = tokio::time::Instant::now();
    let run = pipeline.run(()).await.unwrap();
    assert_eq!((*run.output(), began.elapsed()), (3, Duration::from_secs(3)));
    assert_eq!(run.report().stages().next().unwrap().attempts, 4);
    calls.store(0, Ordering::Relaxed);
    let spec = stage(r#"{"retry":{"max_attempts":3}}"#, r#""use":"fails","with":3"#);
    let pipeline: Pipeline<(), u32> = registry.build(&spec).unwrap();
    pipeline.run(()).await.unwrap_err();
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn times_of_the_data_end_what_takes_longer() {
    let cases = [
        (r#"{"timeout":"2s"}"#, code::STAGE_TIMEOUT),
        (r#"{"attempt_timeout":"2s"}"#, code::ATTEMPT_TIMEOUT),
        (r#"{"idle_timeout":"2s"}"#, code::IDLE_TIMEOUT),
    ];
    for (policies, expected) in cases {
        let pipeline: Pipeline<(), u32> = registry().0.build(&stage(policies, r#""use":"never""#)).unwrap();
        let began = tokio::time::Instant::now();
        let error = pipeline.run(()).await.unwrap_err();
        assert_eq!((error.code(), began.elapsed()), (expected, Duration::from_secs(2)), "{policies}");
    }
    let spec = read(
        r#"{"stageflow":1,"name":"p","policies":{"deadline":"2s"},"stages":{"a":{"use":"never"}},"output":"a"}"#,
    );
    let pipeline: Pipeline<(), u32> = registry().0.build(&spec).unwrap();
    assert_eq!(pipeline.run(()).await.unwrap_err().code(), code::DEADLINE_EXCEEDED);
    // `none` takes a stage out of what the pipeline says.
    let spec = read(
        r#"{
        "stageflow": 1, "name": "p", "policies": { "stage_timeout": "1s" },
        "stages": { "a": { "use": "naps", "with": 5000, "policies": { "timeout": "none" } } }, "output": "a"
    }"#,
    );
    let pipeline: Pipeline<(), u32> = registry().0.build(&spec).unwrap();
    assert_eq!(*pipeline.run(()).await.unwrap().output(), 1);
}

#[tokio::test(start_paused = true)]
async fn limits_of_the_data_hold() {
    let cases = [
        (r#"{}"#, 20),
        (r#"{"max_in_flight":3}"#, 3),
        (r#"{"limit_kind":{"enrich":4,"work":1}}"#, 4),
        (r#"{"bulkhead":{"name":"b","max_concurrent":5}}"#, 5),
    ];
    for (policies, most) in cases {
        let (registry, _, gauge) = registry();
        let pipeline: Pipeline<(), u32> = registry.build(&crowd(policies)).unwrap();
        pipeline.run(()).await.unwrap();
        assert_eq!(gauge.most(), most, "{policies}");
    }
    let (registry, _, _) = registry();
    let spec = crowd(r#"{"rate_limit":{"name":"r","limits":{"calls":{"limit":2,"per":"1s","burst":1}}}}"#);
    let pipeline: Pipeline<(), u32> = registry.build(&spec).unwrap();
    let began = tokio::time::Instant::now();
    pipeline.run(()).await.unwrap();
    // The first at once, and twenty more, of which the sum is one, every half of a second.
    assert_eq!(began.elapsed().as_millis() / 100, 100, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_breaker_of_the_data_opens() {
    let (registry, calls, _) = registry();
    let spec = stage(
        r#"{"breaker":{"dependency":"model","consecutive":3,"open_for":"1m"}}"#,
        r#""use":"fails","with":100"#,
    );
    let pipeline: Pipeline<(), u32> = registry.build(&spec).unwrap();
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(pipeline.run(()).await.unwrap_err().code());
    }
    let failed = code::STAGE_FAILED;
    assert_eq!(codes, [failed, failed, failed, code::BREAKER_OPEN, code::BREAKER_OPEN]);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_fallback_of_the_data_answers() {
    let (registry, _, _) = registry();
    let spec = stage(r#"{"answer":42}"#, r#""use":"fails","with":100"#);
    let pipeline: Pipeline<(), u32> = registry.build(&spec).unwrap();
    assert_eq!(*pipeline.run(()).await.unwrap().output(), 42);
    let error =
        registry.build::<(), u32>(&stage(r#"{"answer":"x"}"#, r#""use":"fails","with":1"#)).unwrap_err();
    assert_eq!(error.problems()[0].pointer(), Some("/stages/a/policies/answer"));
}

#[tokio::test]
async fn rules_for_failures_of_the_data_are_followed() {
    let text = |rule: &str| {
        format!(
            r#"{{
            "stageflow": 1, "name": "p", "policies": {{ "on_failure": {rule} }},
            "stages": {{
                "a": {{ "use": "fails", "with": 100 }},
                "b": {{ "use": "naps", "with": 0, "after": "c" }},
                "c": {{ "use": "naps", "with": 0 }}
            }},
            "output": "b"
        }}"#
        )
    };
    let build = |rule| -> Pipeline<(), u32> { registry().0.build(&read(&text(rule))).unwrap() };
    let goes_on = build(r#""continue""#).run(()).await.unwrap();
    assert_eq!(statuses(&goes_on.report()), ["a: failed: not yet", "c: completed", "b: completed"]);
    build(r#"{"tolerate_count":1}"#).run(()).await.unwrap();
    build(r#""fail_fast""#).run(()).await.unwrap_err();
    build(r#"{"policy":"continue","max_failures":0}"#).run(()).await.unwrap_err();
}

#[test]
fn policies_of_the_data_are_linted_like_those_in_code() {
    let text = r#"{
        "stageflow": 1, "name": "p",
        "policies": { "retry": { "max_attempts": 3 } },
        "stages": { "a": { "use": "fails", "with": 1, "policies": { "retry": { "max_attempts": 4 } } } },
        "output": "a"
    }"#;
    let pipeline: Pipeline<(), u32> = registry().0.build(&read(text)).unwrap();
    let report = pipeline.lint();
    let finding = report.finding(Lint::NestedRetries).expect("retries are nested");
    // Twelve, but for the budget of a run of one stage: ten retries.
    assert_eq!(finding.calls(), Some(11));
    assert!(finding.location().file().ends_with("spec/policies.rs"), "{}", finding.location());
}
