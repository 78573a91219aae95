//! One wide event for each stage and each run, whatever their end (rule S-27; KEEP 18.12-260 … 264, W27).

use stageflow::{
    Budget, FailurePolicy, RunReport, StageOutcome,
    events::{WideEvents, WideRecord},
    interceptors::{CircuitBreaker, Fallback, Retry},
    prelude::*,
};

use super::{
    super::{
        child::parent_of,
        kit::{exits, exits_after, gives, naps, never, pipeline, report_of, solo, sum},
    },
    Records,
};

/// The records of one run say what its report says, once for each stage and once for the run, at the end.
pub(crate) fn agrees(records: &[WideRecord], report: &RunReport) {
    let id = report.run_id().to_string();
    let own: Vec<_> = records.iter().filter(|record| record.run().run_id == id).collect();
    let (mut stages, mut runs) = (Vec::new(), Vec::new());
    for record in &own {
        match record {
            WideRecord::Stage(stage) => stages.push(stage),
            WideRecord::Run(run) => runs.push(run),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((stages.len(), runs.len()), (report.stages().count(), 1), "{report}");
    assert_eq!(own.last().map(|record| record.name()), Some("pipeline.wide"));
    assert_eq!(runs[0].outcome, report.outcome().as_str());
    assert_eq!((runs[0].stages.total(), runs[0].incomplete), (stages.len() as u64, false));
    assert_eq!(runs[0].code, report.cause().map(|failure| failure.code()));
    for stage in report.stages() {
        let told: Vec<_> = stages.iter().filter(|told| told.stage == stage.name).collect();
        let [told] = told[..] else { panic!("`{}` has {} records", stage.name, told.len()) };
        assert_eq!(told.outcome, stage.outcome.status(), "{}", stage.name);
        assert_eq!((told.attempts, told.kind), (stage.attempts, stage.kind), "{}", stage.name);
        if let StageOutcome::Failed(failure) = &stage.outcome {
            assert_eq!((told.code, told.class), (Some(failure.code()), Some(failure.class())));
        }
        let waits: Vec<_> = told.waits.iter().map(|wait| (wait.reason, wait.count, wait.total_ns)).collect();
        let known: Vec<_> =
            stage.waits.iter().map(|wait| (wait.kind, wait.count, wait.total.as_nanos() as u64)).collect();
        assert_eq!(waits, known, "{}", stage.name);
        assert!(!told.incomplete);
    }
}

/// KEEP 18.12-260, 261, 262: completed, skipped, failed, blocked, cancelled, denied, timed out, panicked.
#[tokio::test(start_paused = true)]
async fn s_27_each_stage_and_each_run_has_one_wide_event_for_every_outcome() {
    let with = |exit: fn() -> StageExit| {
        pipeline(|p| {
            p.on_failure(FailurePolicy::Continue);
            let bad = p.stage("bad", exits_after(2.millis(), exit)).inputs(());
            let good = p.stage("good", naps(5.millis(), 1)).inputs(());
            let slow = p.stage("slow", naps(7.millis(), 1)).inputs(());
            let after = p.stage("after", super::super::kit::same()).inputs(bad);
            p.stage("sum", sum()).inputs([good, slow, after])
        })
    };
    type Exits = fn() -> StageExit;
    let cases: [(&str, Exits, &str); 5] = [
        ("skipped", || StageExit::skip("no audio"), "completed"),
        ("failed", || StageExit::fail("boom"), "failed"),
        ("cancelled", || StageExit::cancel("hung up"), "cancelled"),
        ("failed", || StageExit::deny("no"), "denied"),
        ("failed", || panic!("at the disco"), "failed"),
    ];
    for (stage, exit, run) in cases {
        let records = Records::default();
        let engine = records.of(Engine::builder());
        let report = report_of(engine.run(&with(exit), ()).tenant("acme").correlation("c-1")).await;
        engine.flush().await;
        agrees(&records.all(), &report);
        assert_eq!((records.stage("bad").outcome, records.runs()[0].outcome), (stage, run));
        assert!(records.all().iter().all(|it| it.run().tenant.as_deref() == Some("acme")));
        assert!(records.all().iter().all(|it| it.run().correlation_id.as_deref() == Some("c-1")));
    }
    let records = Records::default();
    let engine = records.of(Engine::builder());
    let late = report_of(engine.run(&solo(never()), ()).deadline(1.secs())).await;
    let done = report_of(engine.run(&solo(naps(3.millis(), 1)), ())).await;
    let run = engine.start(&solo(never()), ());
    run.cancel("enough");
    let cancelled = run.await.expect_err("it was cancelled").report().expect("it was let in");
    engine.flush().await;
    [late, done, cancelled].iter().for_each(|report| agrees(&records.all(), report));
    assert_eq!(
        records.runs().iter().map(|run| run.outcome).collect::<Vec<_>>(),
        ["timed_out", "completed", "cancelled"]
    );
    let ran: Vec<_> = records.stages().iter().map(|stage| (stage.queued_ns, stage.ran_ns)).collect();
    assert_eq!(ran[..2], [(Some(0), Some(1_000_000_000)), (Some(0), Some(3_000_000))]);
}

/// Attempts, retries and how they ended, of policies and of the engine itself.
#[tokio::test(start_paused = true)]
async fn a_wide_event_tells_of_retries_and_how_they_ended() {
    let flaky = |good_at: u32| {
        stage_fn(move |ctx: StageContext, (): ()| async move {
            if ctx.attempt() < good_at { Err("reset").transient() } else { Ok(ctx.attempt()) }
        })
    };
    let retry = || Retry::constant(10.millis()).no_jitter().max_attempts(3);
    let asks = stage_fn(|ctx: StageContext, (): ()| async move {
        if ctx.attempt() < 2 { Err(StageExit::retry("429").after(20.millis())) } else { Ok(1_u32) }
    });
    let retried = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let recovers = p.stage("recovers", flaky(3)).retry(retry()).inputs(());
        let exhausts = p.stage("exhausts", flaky(9)).retry(retry()).inputs(());
        let asks = p.stage("asks", asks).inputs(());
        p.stage("sum", sum()).inputs([recovers, exhausts, asks])
    });
    let records = Records::default();
    let engine = records.of(Engine::builder());
    let report = report_of(engine.run(&retried, ())).await;
    engine.flush().await;
    agrees(&records.all(), &report);
    let of = |name| {
        let stage = records.stage(name);
        (stage.attempts, stage.retries, stage.retry_outcome, stage.retry_because, stage.ran_ns)
    };
    assert_eq!(of("recovers"), (3, 2, Some("recovered"), None, Some(20_000_000)));
    assert_eq!(of("exhausts"), (3, 2, Some("exhausted"), Some("max_attempts".to_owned()), Some(20_000_000)));
    assert_eq!(of("asks"), (2, 1, Some("recovered"), None, Some(20_000_000)));
    let run = &records.runs()[0];
    assert_eq!((run.attempts, run.retries, run.failed_stage.as_deref()), (8, 5, Some("exhausts")));
}

/// Breakers, fallbacks and budgets.
#[tokio::test(start_paused = true)]
async fn a_wide_event_tells_what_policies_did() {
    let breaker =
        CircuitBreaker::builder("api").consecutive(1).open_for(1.mins()).build().expect("a breaker");
    let down = || exits(|| StageExit::fail("down").class(stageflow::ErrorClass::Transient));
    let guarded = pipeline(|p| {
        p.budget(Budget::new().cost(100));
        let paid = stage_fn(|ctx: StageContext, (): ()| async move {
            assert!(ctx.budget().settle(7));
            Ok(1_u32)
        });
        let paid = p.stage("paid", paid).cost(20).inputs(());
        let backed = p.stage("backed", down()).intercept(breaker).fallback(gives(1_u32)).inputs(());
        p.stage("sum", sum()).inputs([paid, backed])
    });
    let records = Records::default();
    let engine = records.of(Engine::builder());
    report_of(engine.run(&guarded, ())).await;
    report_of(engine.run(&guarded, ())).await;
    engine.flush().await;
    let backed: Vec<_> = records.stages().into_iter().filter(|stage| stage.stage == "backed").collect();
    let of = |at: usize| {
        (backed[at].attempts, backed[at].decisions.breaker_rejected, backed[at].decisions.fallback_used)
    };
    assert_eq!((of(0), of(1)), ((1, 0, 1), (0, 1, 1)));
    assert_eq!((backed[1].outcome, backed[1].ran_ns), ("completed", None), "it never ran, and was answered");
    assert_eq!(records.runs().iter().map(|run| run.cost).collect::<Vec<_>>(), [Some(7), Some(7)]);
    assert_eq!(records.runs()[1].decisions.breaker_rejected, 1);
}

/// A child run has records of its own, and says whose child it is.
#[tokio::test(start_paused = true)]
async fn a_child_run_has_wide_events_of_its_own() {
    let records = Records::default();
    let engine = records.of(Engine::builder());
    let run = engine.run(&parent_of(solo(gives(1_u32))), ()).tenant("acme").await.expect("it completes");
    engine.flush().await;
    let (runs, parent) = (records.runs(), run.run_id().to_string());
    assert_eq!(runs.iter().map(|run| run.run.pipeline.as_str()).collect::<Vec<_>>(), ["solo", "parent"]);
    let child = &runs[0].run;
    assert_eq!(
        (child.parent_run_id.as_deref(), child.parent_stage.as_deref()),
        (Some(&*parent), Some("kid"))
    );
    assert_eq!((child.tenant.as_deref(), runs[1].child_runs), (Some("acme"), 1));
    assert_eq!(records.stage("kid").child_run_id.as_deref(), Some(&*child.run_id));
}

/// KEEP 18.12-263, W27: whoever takes records may panic or call back; no run feels it, and the others get theirs.
#[tokio::test(start_paused = true)]
async fn s_29_who_takes_wide_events_may_panic() {
    let wide = WideEvents::new(|record| assert!(record.name() != "stage.wide", "at the disco"));
    let records = Records::default();
    let engine = records.of(Engine::builder().sink(wide.clone()));
    let run = engine.run(&solo(gives(1_u32)), ()).await.expect("it completes");
    engine.flush().await;
    agrees(&records.all(), &run.report());
    let account = wide.account();
    assert_eq!((account.stages, account.runs, account.failed, account.open), (0, 1, 1, 0));
}

/// As lines of JSON: one record is one line, with everything in it.
#[tokio::test(start_paused = true)]
async fn wide_events_are_lines_of_json() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let engine = Engine::builder().sink(WideEvents::json_lines(writer)).build().expect("an engine");
    engine.run(&solo(gives(1_u32)), ()).tenant("a\n\"b\"").await.expect("it completes");
    engine.flush().await;
    drop(engine);
    let text = tokio::task::spawn_blocking(|| std::io::read_to_string(reader))
        .await
        .expect("no panic")
        .expect("text");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names: Vec<_> = lines.iter().map(|line| line["event"].as_str().expect("a name")).collect();
    assert_eq!(names, ["stage.wide", "pipeline.wide"]);
    assert!(lines.iter().all(|line| line["tenant"] == "a\n\"b\"" && line["incomplete"] == false));
    assert_eq!((&lines[0]["attempts"], &lines[1]["stages"]["completed"]), (&1.into(), &1.into()));
}

/// A fallback as an interceptor of its own kind is counted where it stands.
#[tokio::test(start_paused = true)]
async fn a_failing_fallback_is_counted() {
    let failing = pipeline(|p| {
        let down = exits(|| StageExit::fail("down"));
        let also = exits(|| StageExit::fail("also down"));
        p.stage("only", down).intercept(Fallback::stage(also)).inputs(())
    });
    let records = Records::default();
    let engine = records.of(Engine::builder());
    let report = report_of(engine.run(&failing, ())).await;
    engine.flush().await;
    agrees(&records.all(), &report);
    assert_eq!(records.stage("only").decisions.fallback_failed, 1);
}
