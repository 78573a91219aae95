//! What a budget leaves of the attempts that policies allow: the lint says what running pipelines do.

use stageflow::{
    Budget, Builder, Code, EngineBuilder, FailurePolicy, Finding, Lint, LintReport, Severity, code,
    interceptors::Retry, prelude::*,
};
use tokio::time::Instant;

use super::{
    super::kit::{error_of, gives, pipeline, report_of, sum},
    Calls, each_second, unlimited,
};

fn find(report: &LintReport, lint: Lint) -> Finding {
    report.finding(lint).unwrap_or_else(|| panic!("{lint}:\n{report}")).clone()
}

/// What an engine finds about a pipeline, and both of them.
fn found(
    engine: EngineBuilder,
    lint: Lint,
    build: impl FnOnce(&mut Builder<()>) -> Port<u32>,
) -> (Finding, Engine, Pipeline<(), u32>) {
    let engine = engine.build().expect("the engine is right");
    let pipeline = pipeline(build);
    (find(&engine.lint(&pipeline), lint), engine, pipeline)
}

fn within(inner: Pipeline<(), u32>) -> Pipeline<(), u32> {
    pipeline(|p| {
        let input = p.input();
        p.stage("outer", inner).inputs(input)
    })
}

/// 3 × 3 × 3 attempts of a run of three stages, which has ten retries.
#[tokio::test(start_paused = true)]
async fn s_24_nested_retries_make_the_calls_that_the_budget_leaves() {
    let calls = Calls::default();
    let three = within(within(pipeline(|p| p.stage("only", calls.failing()).inputs(()))));
    let engine = Engine::builder().retry(each_second(3)).build().expect("the engine is right");
    let finding = find(&engine.lint(&three), Lint::NestedRetries);
    assert_eq!(
        finding.message(),
        "3 retries multiply: 3 (engine, around `outer`) × 3 (engine, around `outer`) × 3 (engine) = 27 attempts; \
         the run's budget has 10 retries: at most 9 attempts in all"
    );
    error_of(engine.run(&three, ())).await;
    assert_eq!((finding.calls(), finding.amplification()), (Some(9), Some(9)));
    assert_eq!(calls.count(), 9);
}

/// Whatever the budget: the calls and the time are those of the run, of one stage and in up to three pipelines.
#[tokio::test(start_paused = true)]
async fn s_24_calls_and_times_are_those_of_the_run_under_each_budget() {
    for depth in 0..3 {
        for floor in 0..30 {
            let calls = Calls::default();
            let stage = |p: &mut Builder<()>| {
                p.stage("only", calls.hanging()).retry(each_second(2)).attempt_timeout(10.secs()).inputs(())
            };
            let p = (0..depth).fold(pipeline(stage), |p, _| within(p));
            let engine = Engine::builder().retry(each_second(3)).budget(Budget::new().retries(0.0, floor));
            let engine = engine.build().expect("the engine is right");
            let finding = find(&engine.lint(&p), Lint::NestedRetries);
            let began = Instant::now();
            error_of(engine.run(&p, ())).await;
            let what = format!("{depth} deep, {floor} retries: {finding}");
            assert_eq!(finding.calls(), Some(calls.count()), "{what}");
            assert_eq!(finding.time(), Some(began.elapsed()), "{what}");
        }
    }
}

/// Twenty stages in each of two child runs: all draw on the account of the run.
#[tokio::test(start_paused = true)]
async fn s_24_stages_that_are_alike_share_what_the_budget_leaves() {
    let calls = Calls::default();
    let inner = pipeline(|p| {
        let all = p.parallel("s", 0..20, |_| calls.failing()).retry(each_second(3)).inputs(());
        p.on_failure(FailurePolicy::Continue);
        p.stage("sum", sum()).inputs(all)
    });
    let (finding, engine, p) = found(Engine::builder(), Lint::NestedRetries, |p| {
        let input = p.input();
        let all = p.parallel("inner", 0..2, |_| inner.clone()).retry(each_second(2)).inputs(input);
        p.on_failure(FailurePolicy::Continue);
        p.stage("sum", sum()).inputs(all)
    });
    // 45 stages bring 9 retries beside the 10.
    assert!(
        finding.message().ends_with("the run's budget has 19 retries: at most 59 attempts in all"),
        "{finding}"
    );
    report_of(engine.run(&p, ())).await;
    assert_eq!((finding.calls(), calls.count()), (Some(59), 59));
}

/// The budget of a child's own pipeline is for each of its runs.
#[tokio::test(start_paused = true)]
async fn s_24_a_budget_within_counts_for_each_run() {
    let calls = Calls::default();
    let child = pipeline(|p| {
        p.budget(Budget::new().retries(0.0, 1));
        p.stage("only", calls.failing()).retry(each_second(3)).inputs(())
    });
    let (finding, engine, p) = found(unlimited(), Lint::NestedRetries, |p| {
        let input = p.input();
        p.stage("outer", child).retry(each_second(4)).inputs(input)
    });
    assert!(
        finding
            .message()
            .ends_with("; a budget within it has 1 retry for each run: at most 8 attempts in all"),
        "{finding}"
    );
    error_of(engine.run(&p, ())).await;
    assert_eq!((finding.calls(), calls.count()), (Some(8), 8));
}

/// Of two groups of stages that say the same the calls are those of both, and still no more than the account has.
#[tokio::test(start_paused = true)]
async fn s_24_groups_of_stages_share_what_the_budget_leaves() {
    let calls = Calls::default();
    let (finding, engine, p) = found(Engine::builder().retry(each_second(3)), Lint::NestedRetries, |p| {
        p.on_failure(FailurePolicy::Continue);
        let a = p.stage("a", calls.failing()).retry(each_second(3)).inputs(());
        let b = p.stage("b", calls.failing()).retry(each_second(3)).inputs(());
        p.stage("sum", sum()).inputs(vec![a, b])
    });
    report_of(engine.run(&p, ())).await;
    assert_eq!((finding.count(), finding.calls(), calls.count()), (2, Some(12), 12), "{finding}");
}

/// An avalanche is dangerous; a few calls too many are not.
#[test]
fn nested_retries_are_dangerous_where_the_budget_was_lifted() {
    let severity = |engine: EngineBuilder, budget: Option<Budget>| {
        let (finding, ..) = found(engine.retry(each_second(3)), Lint::NestedRetries, |p| {
            if let Some(budget) = budget {
                p.budget(budget);
            }
            p.stage("only", gives(1)).retry(each_second(3)).inputs(())
        });
        finding.severity()
    };
    let engine = Engine::builder;
    assert_eq!(severity(engine(), None), Severity::Warning);
    assert_eq!(severity(engine(), Some(Budget::new().cost(7))), Severity::Warning);
    assert_eq!(severity(engine().budget(Budget::new().retries(0.0, 10)), None), Severity::Warning);
    assert_eq!(severity(engine().budget(Budget::new().retries(0.0, 11)), None), Severity::Danger);
    assert_eq!(severity(unlimited(), None), Severity::Danger);
    assert_eq!(severity(engine(), Some(Budget::new().unlimited_retries())), Severity::Danger);
    assert_eq!(severity(unlimited(), Some(Budget::new().retries(0.0, 2))), Severity::Warning);
}

#[tokio::test(start_paused = true)]
async fn s_24_attempts_above_the_budget_are_not_made() {
    for (attempts, engine, most) in [
        (12, Engine::builder(), 11),
        (50, Engine::builder(), 11),
        (50, Engine::builder().budget(Budget::new().retries(3.0, 4)), 8),
        (3, Engine::builder().budget(Budget::new().retries(0.0, 0)), 1),
    ] {
        let calls = Calls::default();
        let (finding, engine, p) = found(engine, Lint::AttemptsAboveBudget, |p| {
            let only = p.stage("only", calls.hanging()).retry(each_second(attempts));
            only.attempt_timeout(10.secs()).inputs(())
        });
        let began = Instant::now();
        error_of(engine.run(&p, ())).await;
        assert_eq!((finding.calls(), calls.count()), (Some(most), most), "{finding}");
        assert_eq!(finding.time(), Some(began.elapsed()), "{finding}");
    }
}

/// What many stages ask for together: each of them alone would be paid for.
#[tokio::test(start_paused = true)]
async fn s_24_a_fan_of_many_attempts_makes_those_that_are_paid_for() {
    let calls = Calls::default();
    let (finding, engine, p) = found(Engine::builder(), Lint::ManyAttempts, |p| {
        p.on_failure(FailurePolicy::Continue);
        let retry = Retry::constant(1.secs()).max_attempts(20);
        let all = p.parallel("s", 0..99, |_| calls.failing()).retry(retry).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    report_of(engine.run(&p, ())).await;
    assert_eq!((finding.calls(), calls.count(), finding.amplification()), (Some(129), 129, Some(20)));
}

/// How a run fails, and how often its stages were called until then.
async fn fails(engine: &Engine, p: &Pipeline<(), u32>, calls: &Calls) -> (Code, u64) {
    let error = error_of(engine.run(p, ())).await;
    (error.code(), calls.count())
}

#[tokio::test(start_paused = true)]
async fn s_24_the_last_attempt_that_can_be_afforded_is_the_one_it_says() {
    for (cost, attempts, severity) in
        [(300, 3, Severity::Warning), (1_000, 1, Severity::Warning), (1_001, 0, Severity::Danger)]
    {
        let calls = Calls::default();
        let (finding, engine, p) = found(Engine::builder(), Lint::CostAboveBudget, |p| {
            p.budget(Budget::new().cost(1_000));
            p.stage("only", calls.failing()).cost(cost).retry(each_second(5)).inputs(())
        });
        assert_eq!((finding.calls(), finding.severity()), (Some(attempts), severity), "{finding}");
        assert_eq!(fails(&engine, &p, &calls).await, (code::BUDGET_EXHAUSTED, attempts), "{finding}");
    }
}

#[tokio::test(start_paused = true)]
async fn s_24_costs_are_those_of_all_stages_and_of_the_retries_that_are_paid_for() {
    let calls = Calls::default();
    let (finding, engine, p) = found(Engine::builder(), Lint::CostAboveBudget, |p| {
        p.on_failure(FailurePolicy::Continue).budget(Budget::new().cost(1_500));
        let all = p.parallel("s", 0..10, |_| calls.failing()).cost(100).retry(each_second(3)).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    // Eleven stages have twelve retries: twenty-two attempts at worst.
    assert_eq!(
        finding.message(),
        "all attempts may cost 2200, of it 1200 for retries, and the budget is 1500: \
         at worst attempt 15 of 22 is the last that can be paid for"
    );
    report_of(engine.run(&p, ())).await;
    assert_eq!((finding.calls(), calls.count()), (Some(15), 15));
}

/// The limit of a child's pipeline is for each of its runs.
#[tokio::test(start_paused = true)]
async fn s_24_a_cost_within_counts_for_each_run() {
    let calls = Calls::default();
    let child = pipeline(|p| {
        p.budget(Budget::new().cost(250));
        p.stage("only", calls.failing()).cost(100).retry(each_second(3)).inputs(())
    });
    let (finding, engine, p) = found(unlimited(), Lint::CostAboveBudget, |p| {
        let input = p.input();
        p.stage("outer", child).retry(each_second(2)).inputs(input)
    });
    assert_eq!((finding.calls(), finding.stages()), (Some(2), &["outer/only".to_owned()][..]), "{finding}");
    assert_eq!(fails(&engine, &p, &calls).await, (code::BUDGET_EXHAUSTED, 2));
}
