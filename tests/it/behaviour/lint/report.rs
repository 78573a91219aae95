//! How findings are shown, allowed and kept apart.

use stageflow::{
    Lint, Severity, code,
    interceptors::{Fallback, Idempotency, InMemoryStore, Retry},
    prelude::*,
};

use super::{
    super::kit::{gives, pipeline, same},
    auth, breaker, bulkhead, each_second, lint, lint_in, quota,
};

/// Every policy in its place, and times that fit into each other.
#[test]
fn a_sensible_composition_is_clean() {
    let engine = Engine::builder().interceptor(auth()).max_in_flight(100);
    let report = lint_in(engine, |p| {
        p.deadline(60.secs());
        let once = Idempotency::new(InMemoryStore::new().lease(60.secs()));
        p.stage("only", gives(1))
            .kind(StageKind::Agent)
            .intercept(once)
            .intercept(Fallback::value(1_u32))
            .retry(Retry::exponential(200.millis()))
            .intercept(breaker().build().expect("a breaker"))
            .intercept(bulkhead(20).queue_timeout(5.secs()).build().expect("a bulkhead"))
            .intercept(quota(500, 50).build().expect("a quota"))
            .attempt_timeout(10.secs())
            .timeout(40.secs())
            .inputs(())
    });
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.to_string(), "pipeline `test`: nothing found");
}

#[test]
fn findings_print_like_those_of_a_compiler() {
    let place = std::panic::Location::caller().file();
    let report = lint_in(Engine::builder().retry(each_second(3)), |p| {
        p.stage("only", gives(1)).retry(each_second(4)).attempt_timeout(10.secs()).inputs(())
    });
    let finding = &report.findings()[0];
    let line = finding.location().line();
    assert!(finding.location().file() == place && line > 0);
    let column = finding.location().column();
    assert_eq!(
        report.to_string(),
        format!(
            "\
danger[nested-retries]: 2 retries multiply: 3 (engine) × 4 (stage) = 12 attempts
  --> `only` at {place}:{line}:{column}
  = at worst: amplification ×12, calls 12, time 2m11s
  = help: retry on one level, best the innermost; or give all of them one `RetryBudget`

pipeline `test`: 1 dangerous, 0 suspicious"
        )
    );
    let json = serde_json::to_value(&report).expect("it is plain data");
    let found = &json["findings"][0];
    assert_eq!((&found["lint"], &found["severity"]), (&"nested-retries".into(), &"danger".into()));
    assert_eq!((&found["calls"], &found["count"]), (&12.into(), &1.into()));
    assert_eq!(found["location"], format!("{place}:{line}:{column}"));
}

#[test]
fn the_dangerous_come_first() {
    let report = lint(|p| p.stage("only", gives(1)).kind(StageKind::Work).retry(each_second(11)).inputs(()));
    let severities: Vec<_> = report.findings().iter().map(stageflow::Finding::severity).collect();
    assert_eq!(severities, [Severity::Danger, Severity::Warning, Severity::Warning], "{report}");
}

/// By a stage for itself, by a pipeline for its stages, by a stage that is a pipeline for those in it.
#[test]
fn what_is_known_is_allowed_with_a_reason() {
    const WHY: &str = "the service takes the key";
    let stage = lint(|p| {
        let only = p.stage("only", gives(1)).kind(StageKind::Work).retry(each_second(3)).timeout(9.secs());
        only.allow_lint(Lint::RetryOfWork, WHY).inputs(())
    });
    let whole = lint(|p| {
        p.allow_lint(Lint::RetryOfWork, WHY);
        p.stage("only", gives(1)).kind(StageKind::Work).retry(each_second(3)).timeout(9.secs()).inputs(())
    });
    let child = || {
        pipeline(|p| {
            p.stage("only", gives(1)).kind(StageKind::Work).retry(each_second(3)).timeout(9.secs()).inputs(())
        })
    };
    let outer = lint(|p| {
        let input = p.input();
        p.stage("outer", child()).allow_lint(Lint::RetryOfWork, WHY).inputs(input)
    });
    let composed = lint(|p| {
        let input = p.input();
        let mut q = Pipeline::builder("other");
        q.allow_lint(Lint::RetryOfWork, WHY);
        let port = q.input();
        let same = q
            .stage("same", same())
            .kind(StageKind::Work)
            .retry(each_second(3))
            .timeout(9.secs())
            .inputs(port);
        let first = pipeline(|p| p.stage("first", gives(1)).inputs(()));
        let both = first.then(&q.build(same).expect("it is right")).expect("they fit");
        p.stage("both", both).inputs(input)
    });
    for report in [stage, whole, outer, composed] {
        assert!(report.is_clean(), "{report}");
        let allowed: Vec<_> = report.allowed().map(|(finding, why)| (finding.lint(), why)).collect();
        assert_eq!(allowed, [(Lint::RetryOfWork, WHY)]);
        assert!(report.to_string().ends_with("pipeline `test`: nothing found, 1 allowed"), "{report}");
    }
    let other = lint(|p| {
        p.allow_lint(Lint::ManyAttempts, WHY);
        p.stage("only", gives(1)).kind(StageKind::Work).retry(each_second(3)).timeout(9.secs()).inputs(())
    });
    assert!(other.finding(Lint::RetryOfWork).is_some());
}

/// What a stage allows is not allowed for the others.
#[test]
fn what_one_stage_allows_another_does_not() {
    let report = lint(|p| {
        let ports = ["one", "other"].map(|name| {
            let stage = p.stage(name, gives(1)).kind(StageKind::Work).retry(each_second(3)).timeout(9.secs());
            if name == "one" { stage.allow_lint(Lint::RetryOfWork, "known") } else { stage }.inputs(())
        });
        ports[0]
    });
    let finding = report.finding(Lint::RetryOfWork).expect("of the other");
    assert_eq!((finding.stages(), finding.count()), (&["other".to_owned()][..], 1));
}

/// What the pipeline alone shows is among its warnings.
#[test]
fn findings_are_warnings_of_the_pipeline() {
    let pipeline = pipeline(|p| {
        p.retry(each_second(3));
        p.stage("only", gives(1)).retry(each_second(3)).timeout(60.secs()).inputs(())
    });
    let [warning] = pipeline.warnings() else { panic!("{:?}", pipeline.warnings()) };
    assert_eq!((warning.code(), warning.stages()), (code::POLICY_LINT, &["only".to_owned()][..]));
    assert!(warning.message().starts_with("nested-retries: 2 retries multiply: 3 (pipeline) × 3 (stage)"));
}
