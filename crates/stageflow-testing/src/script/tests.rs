//! Scripts as stages: alone, in pipelines, at the same time, dropped.

use std::{error::Error, sync::Arc, task::Poll, time::Duration};

use stageflow_core::{
    Code, DurationExt, ErrorClass, Owned, Stage, StageContext, StageExit, StageInput, code,
};
use stageflow_dag::Pipeline;
use stageflow_exec::PipelineExt;
use tokio::time::Instant;

use super::*;

async fn play<O: Clone + Any + Send + Sync>(stage: &Script<(), O>) -> StageResult<O> {
    stage.run(&StageContext::for_test(), ()).await
}

async fn outputs(stage: &Script<(), u32>, count: usize) -> Vec<Option<u32>> {
    let mut out = Vec::new();
    for _ in 0..count {
        out.push(play(stage).await.ok());
    }
    out
}

#[tokio::test]
async fn each_call_is_a_step_and_the_last_one_repeats() {
    let stage = fails(2).then_ok(5).then_fails(1).then_ok(6);
    assert_eq!(outputs(&stage, 6).await, [None, None, Some(5), None, Some(6), Some(6)]);
    assert_eq!(outputs(&ok(1).then_fails(2), 5).await, [Some(1), None, None, None, None]);
    assert_eq!(outputs(&fails(0).then_ok(3), 2).await, [Some(3), Some(3)]);
    assert_eq!(outputs(&ok(3).then_fails(0), 2).await, [Some(3), Some(3)]);
}

#[tokio::test]
async fn failures_are_transient_unless_it_says_otherwise() {
    const BUSY: Code = Code::new("BUSY");
    let stage =
        script::<(), ()>().then_fails(1).then_fails(1).permanent().then_fails(1).transient().code(BUSY);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let exit = play(&stage).await.unwrap_err();
        seen.push((exit.error_class().unwrap(), exit.error_code().unwrap()));
    }
    let expected = [
        (ErrorClass::Transient, code::STAGE_FAILED),
        (ErrorClass::Permanent, code::STAGE_FAILED),
        (ErrorClass::Transient, BUSY),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn modifiers_change_failing_steps_only() {
    let stage = fails(1).then_ok(5).permanent().code(code::DENIED);
    let exit = play(&stage).await.unwrap_err();
    assert_eq!(
        (exit.error_class(), exit.error_code()),
        (Some(ErrorClass::Transient), Some(code::STAGE_FAILED))
    );
    assert_eq!(play(&stage).await.ok(), Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_wait_delays_its_step_and_is_none_itself() {
    let stage =
        waits(5.millis()).then_waits(1.millis()).then_fails(2).then_waits(10.millis()).then_ok(7).then_ok(8);
    let mut took = Vec::new();
    for _ in 0..4 {
        let began = Instant::now();
        let _ = play(&stage).await;
        took.push(began.elapsed());
    }
    assert_eq!(took, [6.millis(), 6.millis(), 10.millis(), Duration::ZERO]);
}

#[tokio::test]
async fn it_leaves_in_every_way() {
    let stage =
        skips::<(), u32>("not today").then_skips("nor now").then_exits(|| StageExit::cancel("enough"));
    let mut said = Vec::new();
    for _ in 0..3 {
        said.push(play(&stage).await.unwrap_err().to_string());
    }
    assert_eq!(said, ["skipped: not today", "skipped: nor now", "cancelled: enough"]);
    assert!(play(&exits::<(), u32>(|| StageExit::retry("later"))).await.unwrap_err().is_retry());
    let empty = play(&script::<(), u32>()).await.unwrap_err();
    assert_eq!(
        (empty.error_class(), empty.to_string().as_str()),
        (Some(ErrorClass::Permanent), "failed: the script has no step")
    );
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_as_begun_ended_and_dropped() {
    let stage = hangs::<(), u32>().then_hangs().then_ok(1).then_panics();
    let calls = stage.calls();
    let (ctx, clone) = (StageContext::for_test(), stage.clone());
    {
        let (mut one, mut two) = (Box::pin(stage.run(&ctx, ())), Box::pin(clone.run(&ctx, ())));
        assert_eq!(calls.began(), 0);
        let polled = std::future::poll_fn(|cx| {
            let pending = one.as_mut().poll(cx).is_pending() && two.as_mut().poll(cx).is_pending();
            Poll::Ready(pending)
        });
        assert!(polled.await);
        assert_eq!((calls.began(), calls.in_flight(), calls.most_in_flight()), (2, 2, 2));
    }
    assert_eq!((calls.ended(), calls.dropped(), calls.in_flight()), (0, 2, 0));
    assert_eq!(play(&stage).await.ok(), Some(1));
    assert_eq!((calls.ended(), calls.dropped(), calls.most_in_flight()), (1, 2, 2));
    let panic = tokio::spawn(async move { play(&stage).await }).await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), "a scripted panic in call 4");
    assert_eq!((calls.began(), calls.ended(), calls.dropped()), (4, 2, 2));
}

#[tokio::test]
async fn in_a_pipeline_a_panic_is_a_failure_and_the_cause_says_which_call() {
    let mut p = Pipeline::builder("script");
    let n: stageflow_dag::Port<u32> = p.input();
    let out = p.stage("s", panics().then_fails(1).then_ok(5).takes::<Arc<u32>>()).inputs(n);
    let pipeline = p.build(out).unwrap();
    assert_eq!(pipeline.run(0).await.unwrap_err().code(), code::PANIC);
    let error = pipeline.run(0).await.unwrap_err();
    let failure = error.failure().unwrap();
    assert_eq!(failure.cause().downcast_ref(), Some(&ScriptedFailure { call: 2 }));
    assert_eq!(error.source().unwrap().source().unwrap().to_string(), "scripted failure of call 2");
    assert_eq!(*pipeline.run(0).await.unwrap().output(), 5);
}

/// The input's type follows from what feeds the stage, except for a plain port.
#[tokio::test]
async fn the_input_is_inferred_where_it_can_be() {
    fn takes<I: StageInput>(_: &impl Stage<Input = I>) -> &'static str {
        std::any::type_name::<I>()
    }
    let mut p = Pipeline::builder("inferred");
    let n: stageflow_dag::Port<u32> = p.input();
    let none = p.stage("none", ok(1_u32)).inputs(());
    let shared = p.stage("shared", ok(2_u32).takes::<Arc<u32>>()).inputs(n);
    let owned = p.stage("owned", script::<Owned<u32>, u32>().then_ok(3)).inputs(n);
    let either = p.stage("either", ok(4_u32)).inputs(shared.or(owned));
    let optional = p.stage("optional", ok(5_u32)).inputs(either.optional());
    let named = p.stage("named", ok(6_u32)).inputs(["optional"]);
    let many = p.stage("many", fails(0).then_ok(7_u32)).inputs(vec![none, optional, named]);
    assert_eq!(*p.build(many).unwrap().run(0).await.unwrap().output(), 7);
    assert_eq!(takes(&ok(1).takes::<()>()), "()");
}

#[test]
fn it_prints_its_steps_and_no_payload() {
    let text = format!("{:?}", fails::<(), _>(2).then_ok("secret").then_hangs());
    assert_eq!(text, r#"Script("fails(2), ok, hangs")"#);
}
