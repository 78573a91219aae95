//! A stage that brings its retry policy along is the stage with the policy on the builder.

use std::sync::{Arc, Mutex};

use stageflow::{
    Backoff, Budget, Builder, ErrorClass, IntoConfiguredStage, Jitter, Keep, Lint, LintReport, Recorder,
    Stage, code, configured,
    interceptors::{CircuitBreaker, Retry, RetryBudget},
    plus::retry_stage::RetryStage,
    prelude::*,
    testing::{Fault, Faults, Sim, Trace, fails, ok},
};

use crate::behaviour::kit::{error_of, pipeline, recorded, same, solo, sum};

type Numbers = Pipeline<u32, u32>;

/// `flaky`, between two stages that do nothing.
fn flaky<S>(stage: S) -> Numbers
where
    S: IntoConfiguredStage<Stage: Stage<Input = Arc<u32>, Output = u32>>,
{
    let mut p = Pipeline::builder("flaky");
    let input = p.input();
    let before = p.stage("before", same()).inputs(input);
    let port = p.stage("flaky", stage).timeout(40.secs()).inputs(before);
    let port = p.stage("after", same()).inputs(port);
    p.build(port).expect("it is right")
}

/// The same, with the policy said by the builder.
fn by_builder(policy: Retry) -> Numbers {
    flaky(configured(same()).retry(policy))
}

/// What a run tells for each of some seeds, with the report that a person reads, and how often the fault has struck.
fn told(pipeline: &Numbers, fault: fn() -> Fault) -> Vec<(Trace, String, u64)> {
    let all: Arc<Mutex<Vec<_>>> = Arc::default();
    Sim::seeds(0..12).run(|sim| {
        let (pipeline, all) = (pipeline.clone(), Arc::clone(&all));
        async move {
            sim.faults(fault().named("fault"));
            let report = match sim.run(&pipeline, 7).await {
                Ok(done) => done.report().to_string(),
                Err(error) => format!("{error}\n{}", error.report().expect("it was let in")),
            };
            all.lock().expect("nobody panics").push((sim.trace(), report, sim.fired("fault")));
        }
    });
    let all = all.lock().expect("nobody panics");
    all.clone()
}

/// How many events of this name there were.
fn count(recorder: &Recorder, name: &str) -> usize {
    recorder.events().iter().filter(|event| event.name() == name).count()
}

/// The four back-offs of the seeds, the other strategies, and the limits.
fn policies() -> Vec<Retry> {
    let jitters =
        [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::Proportional(0.1)];
    let base =
        || [Retry::exponential(200.millis()), Retry::linear(300.millis()), Retry::constant(100.millis())];
    let mut policies: Vec<_> =
        jitters.into_iter().flat_map(|jitter| base().map(|policy| policy.jitter(jitter))).collect();
    policies.push(Retry::default());
    policies.push(Retry::with(Backoff::exponential(2.secs()).factor(3.0).cap(5.secs())).max_attempts(9));
    policies.push(Retry::exponential(5.secs()).no_jitter().max_attempts(9).max_elapsed(12.secs()));
    policies.push(Retry::constant(1.secs()).on([ErrorClass::Timeout]));
    policies.push(Retry::constant(1.secs()).max_attempts(4).budget(&RetryBudget::new(0.1, 2)));
    policies
}

#[test]
fn attempts_delays_events_and_reports_are_those_of_the_policy_on_the_builder() {
    let faults: [fn() -> Fault; 4] = [
        || Faults::at("flaky").rate(0.6).transient(),
        || Faults::at("flaky").rate(0.5).permanent(),
        || Faults::at("flaky").rate(0.9).transient(),
        || Faults::at("flaky").rate(0.5).panic(),
    ];
    let (mut struck, mut waited, mut exhausted) = (0, 0, 0);
    for fault in faults {
        for (wrapped, said) in policies().into_iter().zip(policies()) {
            let wrapped = told(&flaky(RetryStage::new(same(), wrapped)), fault);
            let said = told(&by_builder(said), fault);
            for (wrapped, said) in wrapped.iter().zip(&said) {
                assert_eq!(wrapped.0.first_difference(&said.0), None);
                assert_eq!(wrapped, said);
                let count = |name: &str| said.0.lines().iter().filter(|line| line.contains(name)).count();
                struck += said.2;
                waited += count("stage.retry_scheduled");
                exhausted += count("stage.retry_exhausted");
            }
        }
    }
    // Otherwise nothing was compared.
    assert!(struck > 1_000 && waited > 500 && exhausted > 100, "{struck} {waited} {exhausted}");
}

/// Settings of the policy count: another one tells another story.
#[test]
fn another_policy_tells_another_story() {
    let fault = || Faults::at("flaky").rate(0.9).transient();
    let wrapped = told(&flaky(RetryStage::with_defaults(same())), fault);
    assert_eq!(wrapped, told(&by_builder(Retry::default()), fault));
    assert_ne!(wrapped, told(&by_builder(Retry::default().max_attempts(4)), fault));
    assert_ne!(wrapped, told(&by_builder(Retry::default().no_jitter()), fault));
    assert_ne!(wrapped, told(&flaky(same()), fault));
}

/// While it waits, it says so like the policy on the builder, and a cancellation ends the wait.
#[tokio::test(start_paused = true)]
async fn while_it_waits_it_says_so_and_can_be_cancelled() {
    let policy = || Retry::constant(10.secs()).no_jitter();
    let down = || fails::<(), u32>(9);
    let wrapped = solo(RetryStage::new(down(), policy()));
    let said = pipeline(|p| p.stage("only", down()).retry(policy()).inputs(()));
    let mut explained = Vec::new();
    for pipeline in [wrapped, said] {
        let (engine, recorder) = recorded();
        let run = engine.start(&pipeline, ());
        // sleeps: on paused time
        tokio::time::sleep(3.secs()).await;
        let explanation = run.explain().expect("it was let in").to_string();
        assert!(explanation.contains("backs off for 7.0s before attempt 2"), "{explanation}");
        explained.push(explanation.lines().skip(1).map(str::to_owned).collect::<Vec<_>>());
        run.cancel("enough");
        error_of(run).await;
        assert_eq!(count(&recorder, "stage.retry_scheduled"), 1);
    }
    assert_eq!(explained[0], explained[1]);
}

/// The lint sees the policy of the stage as one of the stage.
#[test]
fn every_lint_that_sees_the_policy_of_the_builder_sees_this_one() {
    let found = |report: &LintReport| -> Vec<String> {
        let one = |one: &stageflow::Finding| {
            format!("{} {} {:?} {:?} {:?}", one.lint(), one.message(), one.stages(), one.calls(), one.time())
        };
        report.findings().iter().map(one).collect()
    };
    let policies = [
        || Retry::constant(1.secs()).max_attempts(3),
        || Retry::constant(100.millis()).no_jitter().max_attempts(11),
        || Retry::exponential(9.secs()).max_attempts(9).max_elapsed(5.secs()),
    ];
    let mut lints = Vec::new();
    for policy in policies {
        for outer in [1, 4] {
            let of = |write: &dyn Fn(&mut Builder<()>) -> Port<u32>| {
                let built = pipeline(|p| {
                    p.retry(Retry::constant(1.secs()).max_attempts(outer));
                    write(p)
                });
                let report = built.lint();
                lints.extend(report.findings().iter().map(stageflow::Finding::lint));
                found(&report)
            };
            let mut of = of;
            let wrapped = of(&|p| {
                let stage = RetryStage::new(ok::<(), u32>(1), policy());
                p.stage("only", stage)
                    .kind(StageKind::Work)
                    .attempt_timeout(2.secs())
                    .timeout(9.secs())
                    .inputs(())
            });
            let said = of(&|p| {
                let stage = p.stage("only", ok::<(), u32>(1)).kind(StageKind::Work).attempt_timeout(2.secs());
                stage.timeout(9.secs()).retry(policy()).inputs(())
            });
            assert_eq!(wrapped, said);
            assert!(!said.is_empty());
        }
    }
    for lint in [Lint::NestedRetries, Lint::RetryOfWork, Lint::ManyAttempts] {
        assert!(lints.contains(&lint), "{lint} has seen nothing: {lints:?}");
    }
}

/// Retries around retries multiply: the lint says by how much, and the run does it.
#[tokio::test(start_paused = true)]
async fn retry_stages_in_each_other_multiply_and_the_lint_knows() {
    let each = |attempts| Retry::constant(1.secs()).no_jitter().max_attempts(attempts);
    let down = fails::<(), u32>(1_000);
    let calls = down.calls();
    let nested = pipeline(|p| {
        p.budget(Budget::new().unlimited_retries());
        p.retry(each(2));
        p.stage("only", RetryStage::new(RetryStage::new(down, each(5)), each(3))).inputs(())
    });
    let report = nested.lint();
    let finding = report.finding(Lint::NestedRetries).expect("three retries multiply");
    assert_eq!(finding.message(), "3 retries multiply: 2 (pipeline) × 3 (stage) × 5 (stage) = 30 attempts");
    error_of(nested.run(())).await;
    assert_eq!((calls.began(), finding.calls()), (30, Some(30)));
    assert!(solo(RetryStage::new(ok::<(), u32>(1), each(3))).lint().finding(Lint::NestedRetries).is_none());
}

/// Around a pipeline, each attempt is a child run.
#[tokio::test(start_paused = true)]
async fn around_a_pipeline_each_attempt_is_a_child_run() {
    let inner = pipeline(|p| p.stage("flaky", fails::<(), u32>(2).then_ok(5)).inputs(()));
    let outer = pipeline(|p| {
        let input = p.input();
        p.stage("only", RetryStage::new(inner, Retry::constant(1.secs()).no_jitter())).inputs(input)
    });
    let (engine, recorder) = recorded();
    let run = engine.run(&outer, ()).await.expect("the third attempt works");
    assert_eq!((*run.output(), run.report().stage("only").expect("the stage").attempts), (5, 3));
    assert_eq!(count(&recorder, "pipeline.started"), 4);
}

/// What an attempt owns is kept for the next one, as by a policy on the builder.
#[tokio::test(start_paused = true)]
async fn what_an_attempt_owns_is_there_for_the_next() {
    let owns = stage_fn(|ctx: StageContext, n: Owned<u32>| async move {
        if ctx.attempt() < 3 { Err("down").transient() } else { Ok(n.0 + 1) }
    });
    let owned = pipeline(|p| {
        let input = p.stage("source", ok::<(), u32>(4)).inputs(());
        p.stage("owns", RetryStage::new(owns, Retry::constant(1.secs()))).inputs(input)
    });
    assert_eq!(*owned.run(()).keep(Keep::Output).await.expect("the third attempt works").output(), 5);
}

/// Settings, conditions and interceptors of the builder go with it, and stand around it.
#[tokio::test(start_paused = true)]
async fn what_the_builder_says_stands_around_it() {
    let breaker = CircuitBreaker::builder("model").consecutive(100).build().expect("it is right");
    let down = fails::<Arc<u32>, u32>(1_000);
    let calls = down.calls();
    let mut p = Pipeline::builder("around");
    let input = p.input();
    let retry = |attempts| Retry::constant(1.secs()).no_jitter().max_attempts(attempts);
    let port = p
        .stage("only", RetryStage::new(down, retry(100)))
        .when(input, |n| *n > 0)
        .timeout(3500.millis())
        .intercept(breaker.clone())
        .inputs(input);
    let around: Numbers = p.build(port).expect("it is right");
    let error = error_of(around.run(1)).await;
    assert_eq!((error.code(), calls.began()), (code::STAGE_FAILED, 4), "{error}");
    assert_eq!(breaker.snapshot().first().map(|known| known.totals.failed), Some(4), "it stands inside");
    assert!(around.run(0).await.is_err(), "the condition does not hold: there is no output");
    assert_eq!(calls.began(), 4);
}

/// A factory of retry stages shares one policy: the lint sees a herd, as with the policy on the builder.
#[tokio::test(start_paused = true)]
async fn each_gives_stages_with_one_policy() {
    let policy = || Retry::constant(1.secs()).no_jitter().max_attempts(3);
    let flaky = |_| fails::<(), u32>(1).then_ok(1);
    let wrapped = pipeline(|p| {
        p.budget(Budget::new().unlimited_retries());
        let all = p.parallel("s", 0..20, RetryStage::each(policy(), flaky)).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    let said = pipeline(|p| {
        p.budget(Budget::new().unlimited_retries());
        let all = p.parallel("s", 0..20, flaky).retry(policy()).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    let findings = |pipeline: &Pipeline<(), u32>| -> Vec<_> {
        let report = pipeline.lint();
        report
            .findings()
            .iter()
            .map(|one| (one.message().to_owned(), one.count(), one.stages().to_vec()))
            .collect()
    };
    assert_eq!(findings(&wrapped), findings(&said));
    assert!(findings(&said).iter().any(|(_, count, _)| *count == 20), "{:?}", findings(&said));
    assert_eq!(wrapped.to_tree(), said.to_tree());
    let run = wrapped.run(()).await.expect("each works at the second attempt");
    assert_eq!(*run.output(), 20);
    assert!(run.report().stages().take(20).all(|stage| stage.attempts == 2));
}

/// Composition takes the policy along.
#[tokio::test(start_paused = true)]
async fn in_a_composed_pipeline_the_policy_is_still_there() {
    let first = flaky(RetryStage::new(fails::<Arc<u32>, u32>(2).then_ok(8), Retry::constant(1.secs())));
    let mut p = Pipeline::builder("next");
    let input = p.input();
    let port = p.stage("last", same()).inputs(input);
    let next: Numbers = p.build(port).expect("it is right");
    let run = first.then(&next).expect("the names differ").run(1).await.expect("the third attempt works");
    assert_eq!((*run.output(), run.report().stage("flaky").expect("the stage").attempts), (8, 3));
}

#[test]
fn cancelled_at_every_poll_nothing_is_left() {
    let stage = stage_fn(|ctx: StageContext, n: Arc<u32>| async move {
        // sleeps: on paused time
        tokio::time::sleep(1.secs()).await;
        if ctx.attempt() < 3 { Err("down").transient() } else { Ok(*n) }
    });
    let pipeline = flaky(RetryStage::new(stage, Retry::constant(1.secs())));
    assert!(Sim::cancel_at_every_poll(&pipeline, 1).seeds(0..3).assert_clean().runs() > 3);
}
