//! Interceptors by default give way to others in the same place.

use stageflow::{
    Layer, Placement, code,
    interceptors::{Authenticate, Fallback, Retry, TenantGuard},
    prelude::*,
};

use super::{
    super::{
        interceptors::note,
        kit::{Log, gives, pipeline, solo},
    },
    Keys, nested,
};

fn names(engine: &Engine, pipeline: &Pipeline<(), u32>, stage: &str) -> Vec<String> {
    engine.order(pipeline).of(stage).expect("the stage is there").to_vec()
}

/// The nearest counts: the stage, its pipeline, the engine, a later default, an earlier one.
#[test]
fn s_21_a_default_stands_where_nothing_else_does() {
    let log = Log::default();
    let at = |name| note(name, &log).at(Placement::At(Layer::Retry));
    let engine = Engine::builder()
        .by_default(StageKind::ALL, at("first"))
        .by_default([StageKind::Agent], at("second"))
        .interceptor(note("elsewhere", &log).at(Placement::Inside(Layer::Retry)))
        .build()
        .expect("the engine is right");
    let whole = pipeline(|p| {
        p.stage("plain", gives(1_u32)).inputs(());
        p.stage("own", gives(1_u32)).intercept(at("of stage")).inputs(());
        p.stage("beside", gives(1_u32)).intercept(Fallback::value(1_u32)).inputs(());
        p.stage("agent", gives(1_u32)).kind(StageKind::Agent).inputs(())
    });
    assert_eq!(names(&engine, &whole, "plain"), ["first", "elsewhere"]);
    assert_eq!(names(&engine, &whole, "own"), ["of stage", "elsewhere"]);
    assert_eq!(names(&engine, &whole, "beside").len(), 3, "a fallback stands outside of the retries");
    assert_eq!(names(&engine, &whole, "agent"), ["second", "elsewhere"]);

    let of_pipeline = pipeline(|p| {
        p.intercept(at("of pipeline"));
        p.stage("plain", gives(1_u32)).inputs(())
    });
    assert_eq!(names(&engine, &of_pipeline, "plain"), ["of pipeline", "elsewhere"]);
    let both = Engine::builder().interceptor(at("always")).by_default(StageKind::ALL, at("default")).build();
    assert_eq!(names(&both.expect("the engine is right"), &solo(gives(1_u32)), "only"), ["always"]);
}

/// What the order prints is what is called, in child runs too, and not around the child run as a whole.
#[tokio::test(start_paused = true)]
async fn s_21_defaults_stand_around_the_stages_of_child_runs_alone() {
    let log = Log::default();
    let engine = Engine::builder().by_default(StageKind::ALL, note("default", &log)).build();
    let engine = engine.expect("the engine is right");
    let whole = nested(solo(gives(1_u32)));
    assert_eq!(names(&engine, &whole, "child"), [""; 0]);
    engine.run(&whole, ()).await.expect("it completes");
    let entered = log.lines().iter().filter(|line| line.contains("default") && line.contains("only")).count();
    assert!(entered > 0 && !log.lines().iter().any(|line| line.contains("child")), "{:?}", log.lines());
}

/// Fail closed: who may run what is never a default that a stage could replace.
#[test]
fn security_is_no_default() {
    let auth = Authenticate::new(Keys);
    let tenants = TenantGuard::new(&auth);
    let error = Engine::builder()
        .by_default(StageKind::ALL, auth)
        .by_default(StageKind::ALL, tenants)
        .by_default([], Retry::default())
        .build()
        .expect_err("it lets nobody be replaced");
    assert_eq!(error.codes().collect::<Vec<_>>(), [code::INVALID_POLICY; 3]);
    assert!(error.to_string().contains("`Authenticate(Keys)` is no default"), "{error}");
}

#[test]
fn a_layer_is_taken_out_without_what_was_put_there_on_purpose() {
    let log = Log::default();
    let at = |name, layer| note(name, &log).at(Placement::At(layer));
    let engine = Engine::builder()
        .by_default(StageKind::ALL, at("retry", Layer::Retry))
        .by_default(StageKind::ALL, at("breaker", Layer::Breaker))
        .interceptor(at("on purpose", Layer::Limit))
        .without_default(Layer::Retry)
        .without_default(Layer::Limit)
        .build()
        .expect("the engine is right");
    assert_eq!(names(&engine, &solo(gives(1_u32)), "only"), ["breaker", "on purpose"]);
}

/// What the lint finds is told once for each pipeline, and a panic there lets no run begin.
#[tokio::test(start_paused = true)]
async fn findings_are_told_when_a_pipeline_is_first_run() {
    let log = Log::default();
    let told = log.clone();
    let retry = || Retry::default();
    let tell = move |report: &stageflow::LintReport| told.add(report.findings()[0].lint().to_string());
    let engine = Engine::builder().retry(retry()).on_lint(tell).build().expect("the engine is right");
    let clean = pipeline(|p| p.stage("call", gives(1_u32)).attempt_timeout(1.secs()).inputs(()));
    let nested =
        pipeline(|p| p.stage("call", gives(1_u32)).attempt_timeout(1.secs()).retry(retry()).inputs(()));
    for pipeline in [&clean, &nested, &nested, &nested.clone()] {
        engine.run(pipeline, ()).await.expect("it completes");
    }
    assert_eq!(log.lines(), ["nested-retries"]);

    let panics = |_: &stageflow::LintReport| panic!("no such pipelines here");
    let engine = Engine::builder().retry(retry()).on_lint(panics).build().expect("the engine is right");
    let error = super::super::kit::error_of(engine.run(&nested, ())).await;
    assert_eq!((error.code(), error.outcome()), (code::PANIC, None));
    assert!(error.to_string().contains("`on_lint` panicked in no such pipelines here"), "{error}");
    let silent = Engine::builder().retry(retry()).on_lint(panics).without_lint().build();
    assert!(silent.expect("the engine is right").run(&nested, ()).await.is_ok());
}
