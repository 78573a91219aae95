//! "Why is it waiting?": each reason there is, and how it reads; what a shutdown had to leave behind (rules S-16, S-18).

use std::sync::Arc;

use stageflow::{FailurePolicy, RunOutcome, WaitReason, code, prelude::*};

use super::{
    child::parent_of,
    kit::{Switch, error_of, gives, idle, naps, never, pipeline, same, solo, sum, within},
};

/// The explanation without the id of the run.
fn text<O>(run: &stageflow::RunHandle<O>) -> String {
    let explained = run.explain().expect("the run was let in").to_string();
    let id = run.run_id().expect("the run was let in");
    explained.replace(&id.to_string(), "ID")
}

/// `Dependencies` and `Itself`, and how long it has been running.
#[tokio::test(start_paused = true)]
async fn a_stage_waits_for_itself_and_the_others_for_it() {
    let chain = pipeline(|p| {
        let a = p.stage("a", naps(1.secs(), 1)).inputs(());
        let b = p.stage("b", naps(1.secs(), 1)).inputs(());
        let done = p.stage("done", gives(1_u32)).inputs(());
        p.stage("join", sum()).inputs([b, done, a, b])
    });
    let run = chain.start(());
    tokio::time::sleep(250.millis()).await;
    let explained = run.explain().unwrap();
    let stages = vec!["b".to_owned(), "a".to_owned()];
    assert_eq!(explained.reason("join"), Some(&WaitReason::Dependencies { stages }));
    assert_eq!((explained.reason("a"), explained.reason("done")), (Some(&WaitReason::Itself), None));
    assert_eq!(explained.waits().len(), 3);
    let expected = "run ID of `test` after 250ms\n  a     is running and pending, for 250ms\n  \
                    b     is running and pending, for 250ms\n  join  waits for `b`, `a`";
    assert_eq!(text(&run), expected);
    run.await.unwrap();
}

/// `Turn`: before anybody works on the run.
#[tokio::test(start_paused = true)]
async fn a_stage_that_is_ready_waits_for_its_turn() {
    let run = solo(gives(1_u32)).start(());
    assert_eq!(run.explain().unwrap().reason("only"), Some(&WaitReason::Turn));
    assert!(text(&run).ends_with("only  is ready and waits for a worker"), "{}", text(&run));
    run.await.unwrap();
}

/// `Permit`, of each kind of limit.
#[tokio::test(start_paused = true)]
async fn a_stage_without_a_permit_says_which() {
    let two = |p: &mut stageflow::Builder<()>| {
        let a = p.stage("a", never()).kind(StageKind::Work).inputs(());
        let b = p.stage("b", never()).kind(StageKind::Work).inputs(());
        p.stage("sum", sum()).inputs([a, b])
    };
    let plain = pipeline(two);
    let of_run = pipeline(|p| {
        p.max_in_flight(1);
        two(p)
    });
    let of_kind = pipeline(|p| {
        p.limit_kind(StageKind::Work, 1);
        two(p)
    });
    let engine = |with: fn(stageflow::EngineBuilder) -> stageflow::EngineBuilder| {
        with(Engine::builder()).build().unwrap()
    };
    let cases = [
        ("run", None, engine(|it| it).start(&of_run, ())),
        ("kind", Some("work"), engine(|it| it).start(&of_kind, ())),
        ("kind", Some("work"), engine(|it| it.limit_kind(StageKind::Work, 1)).start(&plain, ())),
        ("tenant", None, engine(|it| it.tenant_max_in_flight(1)).start(&plain, ())),
        (
            "tenant",
            Some("acme"),
            engine(|it| it.tenant_max_in_flight(1)).run(&plain, ()).tenant("acme").start(),
        ),
        ("engine", None, engine(|it| it.max_in_flight(1)).start(&plain, ())),
    ];
    idle().await;
    for (limit, key, run) in cases {
        let explained = run.explain().unwrap();
        let of = key.map_or_else(String::new, |key| format!(" `{key}`"));
        assert_eq!(
            explained.reason("b"),
            Some(&WaitReason::Permit { limit, key: key.map(str::to_owned) }),
            "{explained}"
        );
        assert!(
            explained.to_string().contains(&format!("b    waits for a permit of the {limit} limit{of}")),
            "{explained}"
        );
        assert_eq!(explained.reason("a"), Some(&WaitReason::Itself));
    }
}

/// `ChildRun`.
#[tokio::test(start_paused = true)]
async fn a_stage_that_is_a_pipeline_waits_for_its_run() {
    let run = parent_of(solo(never())).start(());
    idle().await;
    assert_eq!(run.explain().unwrap().reason("kid"), Some(&WaitReason::ChildRun));
    assert!(text(&run).contains("kid  waits for its child run"), "{}", text(&run));
}

/// `Grace`, and the reason of the cancellation.
#[tokio::test(start_paused = true)]
async fn a_stage_in_its_grace_says_how_much_is_left() {
    let run = pipeline(|p| p.stage("polite", never()).grace(2.secs()).inputs(())).start(());
    idle().await;
    run.cancel("shutting down");
    tokio::time::sleep(500.millis()).await;
    let explained = run.explain().unwrap();
    assert_eq!(explained.reason("polite"), Some(&WaitReason::Grace { remaining: 1_500.millis() }));
    assert_eq!(explained.stopping(), Some("shutting down"));
    let expected = "run ID of `test` after 501ms, being cancelled: shutting down\n  polite  has 1.5s of grace left, for 501ms";
    assert_eq!(text(&run), expected);
    error_of(run).await;
}

/// `NotYielding`, also while the run is being cancelled; a shutdown names the stage, and the run ends when it yields.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_does_not_yield_is_named() {
    let switch = Switch::default();
    let spins = switch.clone();
    let engine = Engine::builder().build().unwrap();
    let busy = pipeline(|p| {
        let spinning = p
            .stage(
                "spinning",
                stage_fn(move |_, (): ()| {
                    spins.spin();
                    std::future::ready(Ok(1_u32))
                }),
            )
            .inputs(());
        p.stage("after", same()).inputs(spinning)
    });
    let run = engine.start(&busy, ());
    switch.reached().await;
    assert_eq!(run.explain().unwrap().reason("spinning"), Some(&WaitReason::NotYielding));
    let report = engine.shutdown(1.millis()).await;
    let [abandoned] = report.abandoned() else { panic!("{report}") };
    assert_eq!((report.ended(), Some(abandoned.run_id), &*abandoned.pipeline), (0, run.run_id(), "test"));
    assert!(abandoned.stages.contains(&"spinning".to_owned()), "{report}");
    let explained = run.explain().unwrap();
    assert_eq!((explained.reason("spinning"), explained.is_ended()), (Some(&WaitReason::NotYielding), false));
    assert!(explained.to_string().contains("is running and has not yielded"), "{explained}");
    let refused = error_of(engine.run(&busy, ())).await;
    assert_eq!((refused.code(), refused.outcome()), (code::SHUTTING_DOWN, None));
    assert!(refused.recoverable(), "another engine takes it");
    switch.open();
    let error = error_of(run).await;
    assert_eq!(error.outcome(), Some(RunOutcome::Cancelled));
}

/// `Blocking`: while it runs, and after its run was cancelled, until the thread is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_stage_is_named_until_its_thread_is_free() {
    let switch = Switch::default();
    let spins = switch.clone();
    let engine = Engine::builder().build().unwrap();
    let busy = solo(blocking(move |ctx: StageContext, (): ()| {
        spins.spin();
        ctx.checkpoint()?;
        Ok(1_u32)
    }));
    let run = engine.start(&busy, ());
    switch.reached().await;
    assert_eq!(run.explain().unwrap().reason("only"), Some(&WaitReason::Blocking));
    let report = engine.shutdown(1.millis()).await;
    let [abandoned] = report.abandoned() else { panic!("{report}") };
    assert_eq!(abandoned.stages, ["only"]);
    // The worker may be about to drop the stage's future, which says so for an instant.
    let explained = within(async {
        loop {
            let explained = run.explain().unwrap();
            if explained.reason("only") == Some(&WaitReason::Blocking) {
                return explained;
            }
            tokio::task::yield_now().await;
        }
    });
    let explained = explained.await;
    assert!(!explained.is_cleaning_up() && !explained.is_ended());
    switch.open();
    let error = error_of(run).await;
    assert_eq!(error.outcome(), Some(RunOutcome::Cancelled));
    assert_eq!(engine.drain(1.secs()).await, 0);
}

/// Clean-ups, and the end.
#[tokio::test(start_paused = true)]
async fn a_run_that_tidies_up_and_one_that_has_ended_say_so() {
    let tidies = stage_fn(|ctx: StageContext, (): ()| async move {
        ctx.on_cleanup(async { tokio::time::sleep(1.secs()).await });
        Ok(1_u32)
    });
    let engine = Engine::builder().build().unwrap();
    let run = engine.start(&solo(tidies), ());
    tokio::time::sleep(100.millis()).await;
    let explained = run.explain().unwrap();
    assert!(explained.is_cleaning_up() && !explained.is_ended() && explained.waits().is_empty());
    assert_eq!(text(&run), "run ID of `solo` after 100ms: waits for its clean-ups");
    let report = engine.shutdown(10.millis()).await;
    assert!(report.abandoned()[0].stages.is_empty());
    assert!(report.to_string().ends_with("its clean-ups have not ended"), "{report}");
    tokio::time::sleep(2.secs()).await;
    assert!(run.explain().unwrap().is_ended());
    assert_eq!(text(&run), "run ID of `solo` after 1.0s: ended");
    run.await.unwrap();
}

/// The explanation serialises: one flat object for each stage.
#[tokio::test(start_paused = true)]
async fn an_explanation_is_json() {
    let run = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let a = p.stage("a", never()).inputs(());
        p.stage("b", stage_fn(|_, n: Arc<u32>| async move { Ok(*n) })).inputs(a)
    });
    let run = run.start(());
    idle().await;
    let json = serde_json::to_value(run.explain().unwrap()).unwrap();
    assert_eq!(json["waits"][0]["waits_for"], "itself");
    assert_eq!(
        json["waits"][1],
        serde_json::json!({
            "stage": "b", "waits_for": "dependencies", "stages": ["a"], "running_for": null,
        })
    );
    run.cancel("x");
    error_of(run).await;
}
