//! Guards and loops against whoever writes them.

use std::sync::Arc;

use stageflow::{
    Budget, RunOutcome, code,
    plus::guard::{GuardExt as _, Guarded, Guards, Refine, Verdict, guard_fn},
    prelude::*,
};

use super::{
    super::{
        super::kit::{error_of, recorded, report_of},
        router::each,
    },
    Draft, Times, drafting, guarded, script, topic, wants,
};

/// A loop of attempts that never wait is cancelled all the same, on one thread, and lets others go on.
#[tokio::test(start_paused = true)]
async fn a_loop_that_never_waits_can_be_cancelled() {
    for in_a_pipeline in [false, true] {
        let written = Times::default();
        let drafting = if in_a_pipeline {
            drafting(
                Refine::new(script(&["v1"], &written), wants("v2", &Times::default())).attempts(u32::MAX),
            )
        } else {
            let calls = written.clone();
            let write = stage_fn(move |_, _: Arc<Draft>| {
                calls.up();
                async { Ok("v1".to_owned()) }
            });
            drafting(Refine::new(write, wants("v2", &Times::default())).attempts(u32::MAX))
        };
        let handle = drafting.run(topic()).start();
        while written.get() < 3 {
            tokio::task::yield_now().await;
        }
        handle.cancel("enough");
        assert_eq!(
            handle.await.expect_err("it is cancelled").report().map(|report| report.outcome()),
            Some(RunOutcome::Cancelled)
        );
    }
}

/// The deadline of the run ends a loop of attempts that never wait, too.
#[tokio::test]
async fn a_loop_that_never_waits_ends_with_the_run() {
    let write = stage_fn(|_, _: Arc<Draft>| async { Ok("v1".to_owned()) });
    let drafting = drafting(Refine::new(write, wants("v2", &Times::default())).attempts(u32::MAX));
    let report = report_of(drafting.run(topic()).deadline(30.millis())).await;
    assert!(matches!(report.outcome(), RunOutcome::TimedOut | RunOutcome::Failed), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_makes_nothing_of_an_output_has_rejected_it() {
    let written = Times::default();
    let erases = guard_fn("erases", |text: &String| -> Verdict<String, String> {
        if text == "v1" { Verdict::transform(String::new(), "erased") } else { Verdict::allow() }
    });
    let done = drafting(Refine::new(script(&["v1", "v2"], &written), erases)).run(topic()).await;
    assert_eq!(***done.expect("the second passes").output(), *"v2");
    let (engine, recorder) = recorded();
    let refine = Refine::new(script(&["", " "], &written), wants("", &Times::default())).attempts(2);
    let error = error_of(engine.run(&drafting(refine), topic())).await;
    assert_eq!(error.code(), code::REFINE_EXHAUSTED);
    assert!(each(&recorder, "guard.decided", "guard").is_empty(), "nobody was asked about nothing");
}

#[tokio::test(start_paused = true)]
async fn a_composition_of_nobody_lets_nothing_pass() {
    let calls = Times::default();
    for guards in [Guards::all(), Guards::any(), Guards::weighted(0.5), Guards::deny_overrides()] {
        let error = error_of(guarded(guards, &calls).run("text".to_owned())).await;
        assert_eq!(error.code(), code::GUARD_BLOCKED);
    }
    assert_eq!(calls.get(), 0);
    let refine = Refine::new(script(&["v1"], &calls), Guards::all());
    assert_eq!(error_of(drafting(refine).run(topic())).await.code(), code::REFINE_EXHAUSTED);
}

/// Names and reasons from a configuration forge no line.
#[tokio::test(start_paused = true)]
async fn names_and_reasons_stay_on_one_line() {
    let odd = guard_fn("odd\nname\u{1b}[31m", |_: &String| {
        Verdict::block(stageflow::plus::guard::Reason::of_rule("a\nb"))
    });
    let error = error_of(guarded(odd, &Times::default()).run("text".to_owned())).await;
    let said = error.report().expect("it ran").to_string();
    assert!(said.contains("odd\\nname") && said.contains("a\\nb") && !said.contains('\u{1b}'), "{said}");
}

/// Attempts are child runs, and pay out of the run's budget for what costs.
#[tokio::test(start_paused = true)]
async fn the_cost_of_attempts_is_that_of_the_run() {
    let mut one = Pipeline::builder("one draft");
    let attempt = one.input();
    let write = stage_fn(|_, attempt: Arc<Draft>| async move { Ok(format!("v{}", attempt.number())) });
    let text = one.stage("write", write).cost(40).inputs(attempt);
    let one = one.build(text).expect("it is right");
    let drafting = drafting(Refine::new(one, wants("v9", &Times::default())).attempts(9));
    let error = error_of(drafting.run(topic()).budget(Budget::new().cost(100))).await;
    assert_eq!(error.code(), code::BUDGET_EXHAUSTED);
}

/// T54: many at a time, and each has its own verdict.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_runs_at_a_time_have_their_own_verdicts() {
    let calls = Times::default();
    let mut p = Pipeline::builder("many");
    let text = p.input();
    let even =
        guard_fn(
            "even",
            |text: &String| {
                if text.len().is_multiple_of(2) { Verdict::allow() } else { Verdict::block("odd") }
            },
        );
    let safe = p
        .guard("guard", Guards::all().with(even).with(guard_fn("any", |_: &String| Verdict::allow())))
        .over(text);
    let answer = p.stage("model", super::model(&calls)).inputs(safe);
    let pipeline: Pipeline<String, String> = p.build(answer).expect("it is right");
    let runs: Vec<_> = (1..=200).map(|n| (n, pipeline.run("x".repeat(n)).start())).collect();
    for (n, run) in runs {
        assert_eq!(run.await.is_ok(), n % 2 == 0, "{n}");
    }
    assert_eq!(calls.get(), 100);
    let _typed: Option<Guarded<String>> = None;
}
