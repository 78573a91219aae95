//! What a run and its child runs may use together: retries, cost and time (rules S-19, S-24, S-31).

use std::sync::Arc;

use stageflow::{
    Budget, Engine, EventKind, FailurePolicy, Recorder, WaitReason, code,
    interceptors::{Fallback, Retry},
    prelude::*,
};

use super::{
    child::parent_of,
    kit::{error_of, exits, gives, pipeline, recorded, report_of, solo},
};

fn busy() -> StageExit {
    StageExit::fail("busy").class(stageflow::ErrorClass::Transient)
}

fn asks() -> StageExit {
    StageExit::retry("busy")
}

fn tried(attempts: u32) -> Pipeline<(), u32> {
    let retry = Retry::constant(1.millis()).max_attempts(attempts);
    pipeline(|p| p.stage("only", exits(busy)).retry(retry).inputs(()))
}

/// The fields of the events of a name, `key=value` and in order.
fn told(recorder: &Recorder, name: &str, keys: &[&str]) -> Vec<String> {
    let events = recorder.events();
    let own = events.iter().filter(|event| event.name() == name);
    let line = |event: &stageflow::Event| match event.kind() {
        EventKind::Custom(event) => {
            let field = |key: &&str| event.field(key).map(|value| format!("{key}={value}"));
            keys.iter().filter_map(field).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    };
    own.map(line).collect()
}

async fn attempts(run: stageflow::RunBuilder<u32>) -> u32 {
    report_of(run).await.stage("only").expect("the stage").attempts
}

#[tokio::test(start_paused = true)]
async fn s_24_a_lone_stage_has_ten_retries_by_default() {
    assert_eq!(attempts(tried(5).run(())).await, 5, "what a policy usually asks for");
    assert_eq!(attempts(tried(50).run(())).await, 11);
    assert_eq!(attempts(tried(50).run(()).budget(Budget::new().retries(3.0, 4))).await, 8);
    assert_eq!(attempts(tried(50).run(()).budget(Budget::new().unlimited_retries())).await, 50);
}

#[tokio::test(start_paused = true)]
async fn s_24_the_nearest_budget_counts_for_each_kind_alone() {
    let engine = Engine::builder().budget(Budget::new().retries(0.0, 2).cost(7)).build().expect("an engine");
    assert_eq!(attempts(engine.run(&tried(50), ())).await, 3);
    let own = pipeline(|p| {
        p.budget(Budget::new().retries(0.0, 4));
        p.stage("only", exits(busy)).retry(Retry::constant(1.millis()).max_attempts(50)).inputs(())
    });
    let report = report_of(engine.run(&own, ())).await;
    let budget = report.budget().expect("it was used");
    assert_eq!((budget.retries, budget.retry_limit, budget.cost_limit), (4, Some(4), Some(7)));
    assert_eq!(
        attempts(engine.run(&own, ()).budget(Budget::new().retries(0.0, 6).unlimited_cost())).await,
        7
    );
}

/// What the engine grants without a policy is paid for like everything else.
#[tokio::test(start_paused = true)]
async fn s_24_requests_that_the_engine_grants_draw_on_the_budget() {
    for (floor, attempts) in [(0, 1), (1, 2), (2, 3), (9, 3)] {
        let (engine, recorder) = recorded();
        let run = engine.run(&solo(exits(asks)), ()).budget(Budget::new().retries(0.0, floor));
        let error = error_of(run).await;
        assert_eq!(
            (error.code(), error.failure().expect("of it").attempts()),
            (code::RETRY_EXHAUSTED, attempts)
        );
        let because = if floor < 2 { "budget" } else { "max_attempts" };
        let lines = told(&recorder, "stage.retry_exhausted", &["attempts", "because"]);
        assert_eq!(lines, [format!("attempts=\"{attempts}\" because=\"{because}\"")]);
        assert_eq!(told(&recorder, "budget.exhausted", &["kind"]).len(), usize::from(floor < 2));
    }
}

#[tokio::test(start_paused = true)]
async fn s_24_an_empty_budget_is_told_once_and_blocks_nothing() {
    let (engine, recorder) = recorded();
    let many = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let retry = Retry::constant(1.millis()).max_attempts(9);
        p.parallel("part", 0..8, |_| exits(busy)).retry(retry).inputs(())[0]
    });
    let run = engine.run(&many, ()).budget(Budget::new().retries(0.5, 1));
    let report = report_of(run).await;
    let budget = report.budget().expect("it was used");
    assert_eq!((budget.retries, budget.retry_limit, budget.retries_refused), (5, Some(5), 8));
    assert_eq!(report.stages().map(|stage| stage.attempts).sum::<u32>(), 8 + 5);
    assert_eq!(
        told(&recorder, "budget.exhausted", &["kind", "used", "limit"]),
        ["kind=\"retries\" used=\"5\" limit=\"5\""]
    );
    assert_eq!(told(&recorder, "stage.retry_exhausted", &["because"]), vec!["because=\"budget\""; 8]);
    let printed = report.to_string();
    assert!(printed.contains("\n  budget: retries 5 of 5 (8 refused)\n"), "{printed}");
    let written = serde_json::to_value(&report).expect("it can be written");
    assert_eq!(written["budget"]["retries_refused"], 8);
}

/// A run that asks for nothing has no account, and its report does not speak of one.
#[tokio::test(start_paused = true)]
async fn s_30_a_budget_that_nobody_asks_for_is_not_there() {
    let report =
        solo(gives(1_u32)).run(()).budget(Budget::new().cost(5)).await.expect("it completes").report();
    assert_eq!(report.budget(), None);
    assert!(!report.to_string().contains("budget"));
}

/// A stage that says what it has cost, if anything.
fn costs(actual: Option<u64>) -> impl Stage<Input = (), Output = u32> {
    stage_fn(move |ctx: StageContext, (): ()| async move {
        if let Some(actual) = actual {
            assert!(ctx.budget().settle(actual) && !ctx.budget().settle(actual), "once");
        }
        Ok(1)
    })
}

/// Two stages, one after the other, with an estimate of 60 each.
fn two(first: Option<u64>) -> Pipeline<(), u32> {
    pipeline(|p| {
        let first = p.stage("first", costs(first)).cost(60).inputs(());
        p.stage("only", costs(None)).after(first).cost(60).inputs(())
    })
}

#[tokio::test(start_paused = true)]
async fn s_24_a_stage_that_cannot_be_afforded_is_not_started() {
    for settled in [None, Some(41), Some(80)] {
        let (engine, recorder) = recorded();
        let error = error_of(engine.run(&two(settled), ()).budget(Budget::new().cost(100))).await;
        assert_eq!((error.code(), error.recoverable()), (code::BUDGET_EXHAUSTED, false));
        let report = error.report().expect("it ran");
        assert_eq!(report.stage("only").expect("the stage").attempts, 0);
        assert!(!recorder.lines().contains(&"stage.started only".to_owned()));
        let budget = report.budget().expect("it was used");
        assert_eq!((budget.cost_spent, budget.cost_reserved), (settled.unwrap_or(60), 0), "what it has cost");
        let spent = settled.unwrap_or(60);
        assert_eq!(
            told(&recorder, "budget.exhausted", &["kind", "used", "limit"]),
            [format!("kind=\"cost\" used=\"{spent}\" limit=\"100\"")]
        );
    }
    let done = two(Some(40)).run(()).budget(Budget::new().cost(100)).await.expect("there is just enough");
    assert_eq!(done.report().budget().and_then(|budget| budget.cost_left()), Some(0));
    let done = two(Some(40)).run(()).await.expect("there is no limit");
    assert_eq!(done.report().budget().map(|budget| budget.cost_spent), Some(100), "but it is counted");
}

/// Each attempt costs; and one that cannot be afforded is not tried again, but may be answered.
#[tokio::test(start_paused = true)]
async fn s_24_each_attempt_reserves_its_cost() {
    let tried = |p: &mut stageflow::Builder<()>| {
        let retry = Retry::constant(1.millis()).max_attempts(9);
        p.stage("only", exits(busy)).retry(retry).cost(30).inputs(())
    };
    let error = error_of(pipeline(tried).run(()).budget(Budget::new().cost(100))).await;
    let failure = error.failure().expect("of the stage");
    assert_eq!((failure.code(), failure.attempts()), (code::BUDGET_EXHAUSTED, 3));
    // What the engine grants costs as much.
    let granted = pipeline(|p| p.stage("only", exits(asks)).cost(30).inputs(()));
    for (limit, attempts, code) in [(70, 2, code::BUDGET_EXHAUSTED), (90, 3, code::RETRY_EXHAUSTED)] {
        let error = error_of(granted.run(()).budget(Budget::new().cost(limit))).await;
        assert_eq!((error.code(), error.failure().expect("of it").attempts()), (code, attempts));
    }
    let answered = pipeline(|p| {
        p.intercept(Fallback::value(7_u32));
        tried(p)
    });
    assert_eq!(*answered.run(()).budget(Budget::new().cost(100)).await.expect("it is answered").output(), 7);
}

/// Limits, timeouts and costs go together.
#[tokio::test(start_paused = true)]
async fn s_24_a_cost_is_reserved_when_the_permit_is_there_and_kept_if_the_attempt_is_cut_off() {
    let slow = || stage_fn(|_: StageContext, (): ()| std::future::pending::<StageResult<u32>>());
    let p = pipeline(|p| {
        p.max_in_flight(1).on_failure(FailurePolicy::Continue);
        p.parallel("part", 0..3, |_| slow()).cost(10).attempt_timeout(1.secs()).inputs(())[0]
    });
    let run = p.start(());
    // sleeps: on paused time
    tokio::time::sleep(1_500.millis()).await;
    let explained = run.explain().expect("it was let in");
    let budget = *explained.budget().expect("it is used");
    assert_eq!((budget.cost_spent, budget.cost_reserved), (10, 10), "one was cut off, one runs, one waits");
    assert!(
        explained.to_string().ends_with("\n  budget: retries 0 of 10, cost 10, 10 reserved"),
        "{explained}"
    );
    assert!(matches!(explained.reason("part-002"), Some(WaitReason::Permit { .. })));
    run.cancel("enough");
    let error = run.await.map(drop).expect_err("it is cancelled");
    let budget = error.report().and_then(|report| report.budget()).expect("it was used");
    assert_eq!(
        (budget.cost_spent, budget.cost_reserved),
        (20, 0),
        "what was begun counts, what was not does not"
    );
}

/// The costs of child runs add up in the account of the run.
#[tokio::test(start_paused = true)]
async fn s_19_a_child_run_draws_on_the_budget_of_its_parent() {
    let nested = parent_of(parent_of(two(Some(30))));
    let done = nested.run(()).budget(Budget::new().cost(90)).await.expect("30 and 60 are 90");
    assert_eq!(done.report().budget().map(|budget| budget.cost_spent), Some(90));
    let error = error_of(nested.run(()).budget(Budget::new().cost(89))).await;
    assert_eq!(error.code(), code::BUDGET_EXHAUSTED);
}

/// A budget of the child's own pipeline lies within that of its parent: both pay, or neither does.
#[tokio::test(start_paused = true)]
async fn s_19_a_budget_of_a_childs_own_lies_within_that_of_its_parent() {
    let child = || {
        pipeline(|p| {
            p.budget(Budget::new().cost(100).retries(0.0, 2));
            p.stage("only", exits(busy))
                .retry(Retry::constant(1.millis()).max_attempts(50))
                .cost(25)
                .inputs(())
        })
    };
    let p = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let input = p.input();
        p.stage("a", child()).inputs(input);
        p.stage("b", child()).inputs(input)
    });
    // Two retries in each child run, and the cost of three attempts.
    let used =
        |report: stageflow::RunReport| report.budget().map(|budget| (budget.retries, budget.cost_spent));
    assert_eq!(used(report_of(p.run(())).await), Some((4, 150)));
    let run = p.run(()).budget(Budget::new().retries(0.0, 3).unlimited_cost());
    assert_eq!(used(report_of(run).await), Some((3, 125)), "the parent has three");
    let run = p.run(()).budget(Budget::new().cost(110));
    assert_eq!(used(report_of(run).await), Some((4, 100)), "or 110");
}

/// What is made again brings nothing, and its stages are paid for one by one.
#[tokio::test(start_paused = true)]
async fn s_24_a_child_run_that_is_made_again_earns_nothing() {
    let chain = pipeline(|p| {
        let mut last = p.stage("link-0", gives(0_u32)).inputs(());
        for link in 1..9 {
            last = p.stage(format!("link-{link}"), gives(link)).after(last).inputs(());
        }
        p.stage("end", exits(busy)).after(last).inputs(())
    });
    let nested = pipeline(|p| {
        let input = p.input();
        p.stage("only", chain).retry(Retry::constant(1.millis()).max_attempts(50)).inputs(input)
    });
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).build().expect("an engine");
    let error = error_of(engine.run(&nested, ()).budget(Budget::new().retries(1.0, 5))).await;
    let started = recorder.lines().iter().filter(|line| line.starts_with("stage.started")).count();
    // Eleven stages once; eleven attempts that they bring, and five beside.
    assert_eq!((started, error.code()), (11 + 11 + 5, code::BUDGET_EXHAUSTED));
    assert_eq!(error.report().and_then(|report| report.budget()).map(|budget| budget.retries), Some(16));
}

/// S-31: the budget is a field of the snapshot, and what is left of it is in one place with the time.
#[tokio::test(start_paused = true)]
async fn s_31_attempts_cost_and_time_are_read_in_one_place() {
    let seen = stage_fn(|ctx: StageContext, (): ()| async move {
        let budget = ctx.budget();
        Ok((*ctx.snapshot().budget(), budget.retries_left(), budget.cost_left(), budget.time_left()))
    });
    let own = Budget::new().cost(20);
    let child = pipeline(|p| {
        p.budget(own);
        p.stage("only", seen).timeout(3.secs()).inputs(())
    });
    let given = Budget::new().retries(1.0, 1).cost(50);
    let run = parent_of(child).run(()).budget(given).deadline(5.secs()).await.expect("it completes");
    assert_eq!(*run.output(), (own.or(given), Some(3), Some(20), Some(3.secs())));
}

/// An interceptor of one's own asks before it makes another attempt.
#[tokio::test(start_paused = true)]
async fn s_24_whoever_makes_another_attempt_asks_first() {
    struct Twice;

    impl stageflow::Interceptor for Twice {
        async fn around(
            &self,
            call: &stageflow::Call,
            next: stageflow::Next<'_>,
        ) -> StageResult<stageflow::Value> {
            match next.clone().run().await {
                Err(_) if call.context().budget().take_retry() => next.run().await,
                done => done,
            }
        }
    }

    let p = pipeline(|p| p.stage("only", exits(busy)).intercept(Twice).inputs(()));
    assert_eq!(attempts(p.run(())).await, 2);
    assert_eq!(attempts(p.run(()).budget(Budget::new().retries(0.0, 0))).await, 1);
}

/// A reservation of the stage's own is given back, settled, or spent.
#[tokio::test(start_paused = true)]
async fn s_24_a_stage_reserves_for_itself() {
    let calls = stage_fn(|ctx: StageContext, n: Arc<u64>| async move {
        let call = ctx.budget().reserve(*n)?;
        ctx.budget().charge(1)?;
        call.settle(*n / 2);
        Ok(ctx.budget().cost_left())
    });
    let mut p = Pipeline::builder("calls");
    let input = p.input();
    let only = p.stage("only", calls).inputs(input);
    let p = p.build(only).expect("a pipeline");
    let run = |n| p.run(n).budget(Budget::new().cost(100));
    assert_eq!(*run(80).await.expect("there is enough").output(), Some(59));
    for too_much in [100, 101] {
        let error = error_of(run(too_much)).await;
        assert_eq!((error.code(), error.recoverable()), (code::BUDGET_EXHAUSTED, false));
    }
}
