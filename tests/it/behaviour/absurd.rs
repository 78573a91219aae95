//! Limits and times that make no sense, and every mistake of a builder in one error (rules S-1, S-15).

use std::time::Duration;

use stageflow::{
    Builder, Call, Code, EngineBuilder, FailurePolicy, Interceptor, Layer, Next, Placement, RunOutcome,
    Value, code, prelude::*,
};

use super::kit::{
    error_of, gives, idle, naps, never, pipeline, report_of, same, solo, statuses, sum, within,
};

struct Outside;

impl Interceptor for Outside {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        next.run().await
    }

    fn placement(&self) -> Placement {
        Placement::Outside(Layer::Authenticate)
    }
}

fn codes(error: &BuildError) -> Vec<Code> {
    error.problems().iter().map(stageflow::Problem::code).collect()
}

/// S-1, W43: all mistakes in one error, each with its code and the line that made it.
#[test]
fn every_mistake_is_in_one_error() {
    let foreign = Pipeline::builder::<()>("other").stage("x", gives(1_u32)).inputs(());
    let mut p = Pipeline::builder::<()>("wrong");
    p.max_in_flight(0).limit_kind(StageKind::Work, 0).deadline(Duration::ZERO);
    p.on_failure(FailurePolicy::ToleratePercent(f64::NAN)).intercept(Outside);
    p.stage("twice", gives(1_u32)).inputs(());
    p.stage("twice", gives(1_u32)).inputs(());
    p.stage(" ", gives(1_u32)).inputs(());
    p.stage("misses", gives(1_u32)).after_name("nobody").inputs(());
    p.stage("self", gives(1_u32)).after_name("self").inputs(());
    p.stage("a", gives(1_u32)).after_name("b").inputs(());
    p.stage("b", gives(1_u32)).after_name("a").inputs(());
    p.stage("foreign", same()).inputs(foreign);
    let out = p.stage("out", gives(1_u32)).timeout(Duration::ZERO).attempt_timeout(Duration::ZERO).inputs(());
    let error = p.build(out).unwrap_err();
    let mut found = codes(&error);
    found.sort();
    found.dedup();
    let mut expected = [
        code::CYCLE,
        code::DUPLICATE,
        code::FOREIGN_NODE,
        code::INVALID_NAME,
        code::INVALID_POLICY,
        code::MISSING_DEP,
        code::OUTSIDE_AUTHENTICATION,
        code::SELF_DEP,
    ];
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(codes(&error).iter().filter(|code| **code == code::INVALID_POLICY).count(), 6);
    assert!(
        error
            .problems()
            .iter()
            .all(|it| it.location().file().ends_with("absurd.rs") && !it.hint().is_empty())
    );
}

/// S-1: a pipeline without stages, and an output of another builder.
#[test]
fn an_empty_pipeline_and_a_foreign_output_are_refused() {
    let empty = Pipeline::builder::<u32>("empty");
    let input = empty.input();
    assert_eq!(codes(&empty.build(input).unwrap_err()), [code::EMPTY]);
    let foreign = Pipeline::builder::<()>("other").stage("x", gives(1_u32)).inputs(());
    let mut p = Pipeline::builder::<()>("p");
    p.stage("a", gives(())).inputs(());
    assert_eq!(codes(&p.build(foreign).unwrap_err()), [code::FOREIGN_NODE]);
}

/// S-11: an engine refuses limits of zero, all in one error.
#[test]
fn an_engine_refuses_limits_of_zero() {
    let with: [fn(EngineBuilder) -> EngineBuilder; 4] = [
        |engine| engine.max_in_flight(0),
        |engine| engine.limit_kind(StageKind::Guard, 0),
        |engine| engine.tenant_max_in_flight(0),
        |engine| engine.max_in_flight(0).interceptor(Outside),
    ];
    for (index, with) in with.into_iter().enumerate() {
        let error = with(Engine::builder()).build().unwrap_err();
        let codes: Vec<_> = error.codes().collect();
        assert!(codes.contains(&code::INVALID_POLICY), "{error}");
        assert_eq!(codes.contains(&code::OUTSIDE_AUTHENTICATION), index == 3, "{error}");
        assert!(error.to_string().contains("help: "), "{error}");
    }
}

/// S-11: a limit of zero for one run is one; limits without end are none.
#[tokio::test(start_paused = true)]
async fn absurd_limits_of_a_run_still_run() {
    let wide = pipeline(|p| {
        p.limit_kind(StageKind::Transform, u32::MAX);
        let all = p.parallel("s", 0..10, |_| naps(10.millis(), 1)).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    let engine = Engine::builder().max_in_flight(u32::MAX).tenant_max_in_flight(u32::MAX);
    let engine = engine.limit_kind(StageKind::Transform, u32::MAX).max_depth(u32::MAX).build().unwrap();
    assert_eq!(engine.run(&wide, ()).max_in_flight(0).await.unwrap().report().duration(), 100.millis());
    assert_eq!(engine.run(&wide, ()).max_in_flight(u32::MAX).await.unwrap().report().duration(), 10.millis());
}

/// S-15: with nothing left, no stage starts.
#[tokio::test(start_paused = true)]
async fn a_deadline_of_zero_starts_nothing() {
    let error = error_of(solo(gives(1_u32)).run(()).deadline(Duration::ZERO)).await;
    assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::TimedOut), code::DEADLINE_EXCEEDED));
    let report = error.report().unwrap();
    assert_eq!(statuses(&report), ["only: cancelled: the deadline passed"]);
    assert_eq!((report.stage("only").unwrap().attempts, report.duration()), (0, Duration::ZERO));
    assert!(error.recoverable());
}

fn endless(p: &mut Builder<()>, stage: impl Stage<Input = (), Output = u32>) -> Port<u32> {
    p.deadline(Duration::MAX).cleanup_budget(Duration::MAX);
    p.stage("only", stage)
        .timeout(Duration::MAX)
        .attempt_timeout(Duration::MAX)
        .grace(Duration::MAX)
        .inputs(())
}

/// S-14: times without end are no times at all, and nothing overflows.
#[tokio::test(start_paused = true)]
async fn times_without_end_overflow_nothing() {
    let cleans = stage_fn(|ctx: StageContext, (): ()| async move {
        ctx.on_cleanup(async { tokio::time::sleep(1.secs()).await });
        tokio::time::sleep(1.secs()).await;
        Ok(ctx.remaining())
    });
    for deadline in [Duration::MAX, Duration::MAX - Duration::from_nanos(1), Duration::from_nanos(u64::MAX)] {
        let endless = pipeline(|p| {
            p.deadline(Duration::MAX).cleanup_budget(Duration::MAX);
            p.stage("only", stage_fn(|ctx: StageContext, (): ()| async move { Ok(ctx.remaining()) }))
                .timeout(deadline)
                .attempt_timeout(deadline)
                .inputs(())
        });
        assert_eq!(endless.run(()).deadline(deadline).await.unwrap().output(), &None);
    }
    assert_eq!(solo(cleans).run(()).await.unwrap().output(), &None);
    let child = super::child::parent_of(pipeline(|p| endless(p, naps(1.secs(), 1))));
    assert_eq!(*child.run(()).deadline(Duration::MAX).await.unwrap().output(), 1);
}

/// A grace without end is one that only the stage ends.
#[tokio::test(start_paused = true)]
async fn a_grace_without_end_is_ended_by_the_stage() {
    let polite = stage_fn(|ctx: StageContext, (): ()| async move {
        ctx.cancelled().await;
        tokio::time::sleep(1_000.secs()).await;
        Ok(1_u32)
    });
    let run = pipeline(|p| endless(p, polite)).start(());
    idle().await;
    run.cancel("x");
    assert!(run.explain().unwrap().to_string().contains("of grace left"));
    let report = error_of(run).await.report().unwrap();
    assert_eq!(
        (statuses(&report), report.outcome()),
        (vec!["only: completed".into()], RunOutcome::Cancelled)
    );
}

/// A budget of zero lets through what is done at once.
#[tokio::test(start_paused = true)]
async fn a_clean_up_budget_of_zero_allows_what_is_done_at_once() {
    let cleans = stage_fn(|ctx: StageContext, (): ()| async move {
        ctx.on_cleanup(std::future::pending::<()>());
        ctx.on_cleanup(async {});
        Ok(1_u32)
    });
    let hurried = pipeline(|p| {
        p.cleanup_budget(Duration::ZERO);
        p.stage("only", cleans).inputs(())
    });
    let report = within(report_of(hurried.run(()))).await;
    assert_eq!(
        report.clean_up_failures().iter().map(|it| it.code).collect::<Vec<_>>(),
        [code::CLEANUP_TIMEOUT]
    );
}

/// S-18: a shutdown without end waits for the runs, one of zero abandons them.
#[tokio::test(start_paused = true)]
async fn absurd_budgets_of_a_shutdown_work() {
    let lasting = |grace: Duration| pipeline(move |p| p.stage("only", never()).grace(grace).inputs(()));
    let engine = Engine::builder().build().unwrap();
    let run = engine.start(&lasting(5.secs()), ());
    idle().await;
    let report = engine.shutdown(Duration::MAX).await;
    assert_eq!((report.ended(), report.abandoned().len(), run.is_ended()), (1, 0, true));
    let engine = Engine::builder().build().unwrap();
    let run = engine.start(&lasting(5.secs()), ());
    idle().await;
    let report = engine.shutdown(Duration::ZERO).await;
    assert_eq!((report.ended(), &*report.abandoned()[0].stages), (0, &["only".to_owned()][..]));
    error_of(run).await;
}
