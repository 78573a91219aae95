//! What a context for tests says, and what it records.

use std::{sync::Arc, time::Duration};

use stageflow_core::{
    BoxError, CustomEvent, DurationExt, ErrorClass, FieldValue, Priority, RunId, Stage, StageContext,
    StageKind, WaitReason, stage_fn,
};
use stageflow_dag::{IntoStage, Pipeline};
use stageflow_exec::blocking;

use super::{TestContext, call};

#[test]
fn it_is_of_nobody_until_it_is_told_otherwise() {
    let ctx = TestContext::new().context();
    assert_eq!((ctx.stage_name(), ctx.stage_kind(), ctx.attempt()), ("test", StageKind::Transform, 1));
    assert!(ctx.identity().tenant_id().is_none() && ctx.remaining().is_none() && !ctx.is_cancelled());

    let run = RunId::new();
    let test = TestContext::new().stage("llm").kind(StageKind::Agent).attempt(3).tenant("acme").user("ada");
    let test = test.request("r").session("s").interaction("i").correlation("c").run(run).pipeline("p");
    let test = test.execution_mode("dry").priority(Priority::High).metadata("k", 1).extension(7_u8);
    let ctx = test.context();
    assert_eq!((ctx.stage_name(), ctx.stage_kind(), ctx.attempt()), ("llm", StageKind::Agent, 3));
    let id = ctx.identity();
    let ids = [
        id.tenant_id().map(ToString::to_string),
        id.user_id().map(ToString::to_string),
        id.request_id().map(ToString::to_string),
        id.session_id().map(ToString::to_string),
        id.interaction_id().map(ToString::to_string),
        id.correlation_id().map(ToString::to_string),
    ];
    assert_eq!(ids.map(Option::unwrap), ["acme", "ada", "r", "s", "i", "c"]);
    assert_eq!((id.run_id(), ctx.snapshot().pipeline()), (run, "p"));
    assert_eq!((ctx.snapshot().execution_mode(), ctx.snapshot().priority()), (Some("dry"), Priority::High));
    assert_eq!((ctx.extension::<u8>(), ctx.snapshot().metadata("k")), (Some(&7), Some(&1.into())));
}

#[test]
fn all_its_contexts_are_of_one_run() {
    let test = TestContext::new();
    assert_eq!(test.context().identity().run_id(), test.context().identity().run_id());
    test.context().emit("a", [("n", 1)]);
    let test = test.stage("second");
    test.context().record_stage_event("b", [("n", 2)]);
    assert_eq!(test.lines(), ["a test", "stage.b second"]);
    assert_eq!(test.events()[1].field("n"), Some(&FieldValue::Int(2)));
}

#[tokio::test(start_paused = true)]
async fn its_time_is_tokios() {
    let test = TestContext::new().deadline(10.secs()).attempt_timeout(4.secs());
    assert_eq!(test.context().remaining(), Some(4.secs()));
    tokio::time::advance(7.secs()).await;
    let ctx = test.context();
    assert_eq!((ctx.elapsed(), ctx.remaining()), (7.secs(), Some(3.secs())));
    assert_eq!(ctx.snapshot().deadline(), Some(10.secs()));
    tokio::time::advance(5.secs()).await;
    assert_eq!(ctx.remaining(), Some(Duration::ZERO));
    assert_eq!(ctx.checkpoint().unwrap_err().error_class(), Some(ErrorClass::Timeout));
}

#[tokio::test]
async fn its_signs_of_progress_are_counted() {
    let test = TestContext::new();
    test.context().progress();
    test.context().progress();
    assert_eq!((test.progress(), test.context().slack()), (2, None));
}

#[tokio::test]
async fn a_cancellation_keeps_its_first_reason() {
    let test = TestContext::new();
    let ctx = test.context();
    assert!(ctx.cancel_reason().is_none());
    let cancelled = ctx.cancelled();
    test.cancel("enough");
    test.cancel("too late");
    cancelled.await;
    assert_eq!(ctx.cancel_reason().as_deref(), Some("enough"));
    assert_eq!(ctx.checkpoint().unwrap_err().to_string(), "cancelled: enough");
}

#[tokio::test]
async fn clean_ups_run_once_in_reverse_order_and_tell_their_failures() {
    let test = TestContext::new();
    let ctx = test.context();
    for name in ["a", "b", "c"] {
        let inner = ctx.clone();
        ctx.on_cleanup(async move {
            inner.emit(name, [("n", 1)]);
            match name {
                "a" => Err(BoxError::from("a is stuck")),
                "b" => panic!("b"),
                _ => {
                    let last = inner.clone();
                    inner.on_cleanup(async move { last.emit("d", [("n", 1)]) });
                    Ok(())
                }
            }
        });
    }
    assert_eq!(test.clean_ups(), 3);
    assert_eq!(test.run_clean_ups().await, ["panicked", "a is stuck"]);
    assert_eq!(test.lines(), ["c test", "d test", "b test", "a test"]);
    assert_eq!((test.clean_ups(), test.run_clean_ups().await.len(), test.events().len()), (0, 0, 4));
}

#[test]
fn holds_and_reasons_to_wait_are_recorded() {
    let test = TestContext::new();
    let ctx = test.context();
    let holds = [ctx.hold(), ctx.hold()];
    assert_eq!(test.holds(), 2);
    drop(holds);
    assert_eq!((test.holds(), test.waiting()), (0, None));
    let waiting = ctx.waiting(WaitReason::Blocking);
    assert_eq!(test.waiting(), Some(WaitReason::Blocking));
    drop(waiting);
    drop(ctx.waiting(WaitReason::ChildRun));
    assert_eq!(test.waiting(), None);
    assert_eq!(test.wait_reasons(), [WaitReason::Blocking, WaitReason::ChildRun]);
}

#[test]
fn random_numbers_follow_the_seed() {
    let two = |test: TestContext| (test.context().random_u64(), test.context().random_u64());
    assert_eq!(two(TestContext::new()), two(TestContext::new()));
    assert_eq!(two(TestContext::new().seed(7)), two(TestContext::new().seed(7)));
    assert_ne!(two(TestContext::new()), two(TestContext::new().seed(7)));
}

#[tokio::test]
async fn a_call_gives_result_events_and_failures_of_clean_ups() {
    let stage = stage_fn(|ctx: StageContext, n: Arc<u32>| async move {
        let inner = ctx.clone();
        ctx.on_cleanup(async move {
            inner.emit("cleaned", [("n", 1)]);
            Err::<(), _>(BoxError::from("still there"))
        });
        ctx.emit("called", [("n", *n)]);
        if *n == 0 { Err("zero".into()) } else { Ok(*n) }
    });
    let called = call(&stage, Arc::new(3)).await;
    assert_eq!(called.result.ok(), Some(3));
    assert_eq!(called.events.iter().map(CustomEvent::name).collect::<Vec<_>>(), ["called", "cleaned"]);
    assert_eq!(called.clean_up_failures, ["still there"]);
    assert!(TestContext::new().call(&stage, Arc::new(0)).await.result.is_err());
}

#[tokio::test]
async fn a_call_waits_for_what_is_held() {
    let stage = stage_fn(|ctx: StageContext, (): ()| async move {
        let (hold, inner) = (ctx.hold(), ctx.clone());
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            inner.emit("released", [("n", 1)]);
            drop(hold);
        });
        let inner = ctx.clone();
        ctx.on_cleanup(async move { inner.emit("cleaned", [("n", 1)]) });
        Ok(())
    });
    let called = call(&stage, ()).await;
    assert_eq!(called.events.iter().map(CustomEvent::name).collect::<Vec<_>>(), ["released", "cleaned"]);
    let thread = blocking(|_ctx: StageContext, n: Arc<u32>| Ok(*n + 1));
    assert_eq!(call(&thread, Arc::new(1)).await.result.ok(), Some(2));
}

#[tokio::test]
async fn a_pipeline_in_the_place_of_a_stage_fails_with_a_hint() {
    let mut p = Pipeline::builder("inner");
    let n = p.input();
    let out = p.stage("s", stage_fn(|_ctx, n: Arc<u32>| async move { Ok(*n) })).inputs(n);
    let stage = p.build(out).unwrap().into_stage();
    let exit = stage.run(&TestContext::new().context(), Arc::new(1)).await.unwrap_err();
    assert_eq!(exit.to_string(), "failed: a test context has no engine and runs no pipelines");
}

/// S-24: the contexts of a test are of one run, and share its budget.
#[test]
fn s_24_contexts_share_the_budget() {
    let rt = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    rt.block_on(async {
        let test = TestContext::new().budget(stageflow_core::Budget::new().cost(10).retries(0.0, 1));
        test.context().budget().charge(4).expect("there is enough");
        assert!(test.context().budget().settle(2), "it is counted, whatever the estimate");
        assert_eq!(test.context().budget().cost_left(), Some(4));
        assert!(test.context().budget().take_retry() && !test.context().budget().take_retry());
        assert_eq!(
            test.events().last().map(|event| event.name().to_owned()),
            Some("budget.exhausted".to_owned())
        );
    });
}
