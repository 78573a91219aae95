//! Sources that contradict each other, in a run.

use std::sync::Arc;

use stageflow::{
    code,
    plus::enrich::{ConflictDetector, ContextExt as _, FieldConflicts, Merged, Resolve, Sourced},
    prelude::*,
};

use super::told;
use crate::behaviour::kit::{error_of, gives, recorded, solo};

fn say(source: &str, plan: &str, city: &str) -> Sourced<String> {
    Sourced::new(source, [("plan", plan.to_owned()), ("city", city.to_owned())])
}

fn merging(detector: ConflictDetector<String>) -> Pipeline<(), Merged<String>> {
    let mut p = Pipeline::builder("profile");
    let crm = p.stage("crm", gives(say("crm", "canary-gold", "Graz"))).inputs(());
    let billing = p.stage("billing", gives(say("billing", "canary-basic", "Graz"))).inputs(());
    let web = p.stage("web", gives(say("web", "canary-gold", "Linz"))).inputs(());
    let merged = p.stage("merge", detector).inputs([crm, billing, web]);
    p.build(merged).expect("it is right")
}

#[tokio::test(start_paused = true)]
async fn seed3_10_each_rule_in_a_run_and_each_conflict_is_told() {
    for (rule, plan, word) in [
        (Resolve::KeepOld, "canary-gold", "keep_old"),
        (Resolve::KeepNew, "canary-gold", "keep_new"),
        (
            Resolve::merge(|old: &String, new| format!("{old}+{new}")),
            "canary-gold+canary-basic+canary-gold",
            "merge",
        ),
    ] {
        let (engine, recorder) = recorded();
        let detector = ConflictDetector::new(Resolve::KeepNew).key("plan", rule);
        let run = engine.run(&merging(detector), ()).await.expect("each has a rule");
        assert_eq!(run.output().values["plan"], plan);
        assert_eq!(run.output().values["city"], "Linz");
        let events = told(&recorder, "context.conflict");
        assert_eq!(events[0], r#"merge key="city" old_source="crm" new_source="web" resolution="keep_new""#);
        assert!(events[1].ends_with(&format!("new_source=\"billing\" resolution=\"{word}\"")), "{events:?}");
        assert_eq!(run.report().snapshot().conflicts().len(), events.len());
        assert_eq!(run.report().snapshot().conflicts(), run.output().conflicts);
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_whose_rule_is_an_error_fails_with_a_code_and_without_values() {
    let (engine, recorder) = recorded();
    let strict = ConflictDetector::new(Resolve::Error);
    let error = error_of(engine.run(&merging(strict.clone()), ())).await;
    assert_eq!((error.code(), error.recoverable()), (code::MERGE_CONFLICT, false));
    let report = error.report().expect("it ran");
    let message = report.failures()[0].message().clone();
    assert_eq!(message, "`crm` and `web` disagree about `city`, and 1 more");
    let all = format!(
        "{error} {report} {message} {:?} {:?}",
        told(&recorder, "context.conflict"),
        report.snapshot().conflicts()
    );
    assert!(all.contains("crm") && !all.contains("canary"), "{all}");

    // Where it is allowed they are in the events, and still in no error.
    recorder.clear();
    let error = error_of(engine.run(&merging(strict.show_values(String::clone)), ())).await;
    assert!(told(&recorder, "context.conflict")[1].ends_with(r#"old="canary-gold" new="canary-basic""#));
    assert!(!error.report().expect("it ran").to_string().contains("canary"));
}

#[tokio::test(start_paused = true)]
async fn fields_of_a_struct_are_settled_and_told() {
    #[derive(Clone, Debug, PartialEq)]
    struct Profile {
        city: String,
        age: Option<u8>,
    }
    let (engine, recorder) = recorded();
    let fields = |age| {
        FieldConflicts::new()
            .field("city", |p: &Profile| Some(&p.city), |p, city| p.city = city, Resolve::KeepOld)
            .field("age", |p| p.age.as_ref(), |p, new| p.age = Some(new), age)
    };
    let stage = |fields: FieldConflicts<Profile>| {
        stage_fn(move |ctx: StageContext, (): ()| {
            let fields = fields.clone();
            async move {
                let crm = Profile { city: "Graz".to_owned(), age: None };
                let web = Profile { city: "Linz".to_owned(), age: Some(40) };
                let old = Profile { age: Some(39), ..crm.clone() };
                fields.merge_in(&ctx, &crm, [("crm", &crm), ("web", &web), ("old", &old)])
            }
        })
    };
    let run = engine
        .run(&solo(stage(fields(Resolve::merge(|a: &u8, b| *a.max(b))))), ())
        .await
        .expect("it has rules");
    assert_eq!(run.output(), &Profile { city: "Graz".to_owned(), age: Some(40) });
    assert_eq!(
        told(&recorder, "context.conflict"),
        [
            r#"only key="city" old_source="crm" new_source="web" resolution="keep_old""#,
            r#"only key="age" old_source="web" new_source="old" resolution="merge""#
        ]
    );
    let error = error_of(engine.run(&solo(stage(fields(Resolve::Error))), ())).await;
    assert_eq!(error.code(), code::MERGE_CONFLICT);
}

/// The order of the sources decides, and not the order in which they came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_result_is_the_same_each_time() {
    let detector = ConflictDetector::new(Resolve::merge(|old: &String, new| format!("{old},{new}")));
    let pipeline = Arc::new(merging(detector));
    let first = pipeline.run(()).await.expect("it has a rule");
    for _ in 0..50 {
        assert_eq!(pipeline.run(()).await.expect("it has a rule").output(), first.output());
    }
}
