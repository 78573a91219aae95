//! Pipelines in pipelines: what stands around the outer stands around the inner as well.

use stageflow::{
    Budget, Finding, Lint, LintReport,
    interceptors::{Retry, TenantGuard},
    prelude::*,
};

use super::{
    super::kit::{error_of, gives, pipeline, report_of, sum},
    Calls, auth, each_second, lint,
};

fn within(inner: Pipeline<(), u32>) -> Pipeline<(), u32> {
    pipeline(|p| {
        let input = p.input();
        p.stage("outer", inner).inputs(input)
    })
}

fn nested(report: &LintReport) -> &Finding {
    report.finding(Lint::NestedRetries).unwrap_or_else(|| panic!("nothing of the kind:\n{report}"))
}

/// A retry of an engine stands around stages that are pipelines, and around the stages in them.
#[tokio::test(start_paused = true)]
async fn a_retry_of_an_engine_is_nested_in_itself() {
    let calls = Calls::default();
    let innermost = pipeline(|p| p.stage("only", calls.failing()).inputs(()));
    let engine = Engine::builder().retry(each_second(3)).build().expect("the engine is right");
    assert!(engine.lint(&innermost).finding(Lint::NestedRetries).is_none());

    let three = within(within(innermost));
    let report = engine.lint(&three);
    assert_eq!(nested(&report).stages(), ["outer/outer/only"]);
    assert_eq!(
        nested(&report).message(),
        "3 retries multiply: 3 (engine, around `outer`) × 3 (engine, around `outer`) × 3 (engine) = 27 attempts"
    );
    error_of(engine.run(&three, ()).budget(Budget::new().unlimited_retries())).await;
    assert_eq!(Some(calls.count()), nested(&report).calls());
}

#[tokio::test(start_paused = true)]
async fn stages_that_are_alike_are_one_finding_with_all_their_calls() {
    let calls = Calls::default();
    let inner = pipeline(|p| {
        let all = p.parallel("s", 0..20, |_| calls.failing()).retry(each_second(3)).inputs(());
        p.on_failure(FailurePolicy::Continue);
        p.stage("sum", sum()).inputs(all)
    });
    let p = pipeline(|p| {
        let input = p.input();
        let all = p.parallel("inner", 0..2, |_| inner.clone()).retry(each_second(2)).inputs(input);
        p.on_failure(FailurePolicy::Continue);
        p.stage("sum", sum()).inputs(all)
    });
    let report = p.lint();
    let finding = nested(&report);
    let numbers = (finding.count(), finding.amplification(), finding.calls());
    assert_eq!(numbers, (40, Some(6), Some(240)), "{finding}");
    assert_eq!((finding.stages().len(), &*finding.stages()[0]), (8, "inner-000/s-000"));
    report_of(p.run(()).budget(Budget::new().unlimited_retries())).await;
    assert_eq!(Some(calls.count()), finding.calls());
}

/// Each pipeline holds the next twice, so that there are 2^16 innermost ones: they are alike, and looked at once for each level.
#[test]
fn what_is_shared_is_looked_at_once() {
    let mut p = pipeline(|p| p.stage("only", gives(1)).retry(each_second(2)).inputs(()));
    for _ in 0..16 {
        let inner = p;
        p = pipeline(|p| {
            let input = p.input();
            let both = p.parallel("inner", 0..2, |_| inner.clone()).retry(each_second(2)).inputs(input);
            p.stage("sum", sum()).inputs(both)
        });
    }
    let report = p.lint();
    assert!(report.is_complete());
    let innermost = report.findings().iter().rfind(|one| one.lint() == Lint::NestedRetries);
    assert_eq!(innermost.map(Finding::count), Some(1 << 16));
    assert_eq!(innermost.and_then(Finding::amplification), Some(1 << 17));
}

/// Where pipelines differ in each place the look is given up, and the report says so.
#[test]
fn what_is_too_much_is_not_looked_at_and_said() {
    let mut p = pipeline(|p| p.stage("only", gives(1)).inputs(()));
    for _ in 0..16 {
        let inner = p;
        p = pipeline(|p| {
            let input = p.input();
            let one = p.stage("one", inner.clone()).timeout(1.secs()).inputs(input);
            let other = p.stage("other", inner).timeout(2.secs()).inputs(input);
            p.stage("sum", sum()).inputs(vec![one, other])
        });
    }
    let report = p.lint();
    assert!(!report.is_complete());
    assert!(report.to_string().ends_with("; not all of it was looked at"), "{report}");
}

#[test]
fn a_hundred_thousand_stages_are_no_problem() {
    let report = lint(|p| {
        p.retry(each_second(3));
        let all = p.parallel("s", 0..100_000, |_| gives(1)).retry(Retry::default()).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    assert_eq!((nested(&report).count(), nested(&report).calls()), (100_000, Some(900_000)));
}

/// What is around a pipeline is around its stages: no authentication is asked for where one stands outside.
#[test]
fn a_guard_around_the_outer_pipeline_is_enough() {
    let engine = Engine::builder().interceptor(auth()).interceptor(TenantGuard::new(&auth()));
    let engine = engine.build().expect("the engine is right");
    let inner = pipeline(|p| p.stage("only", gives(1)).intercept(auth()).inputs(()));
    let report = engine.lint(&within(inner));
    assert!(report.is_clean(), "{report}");
}
