//! The context of a stage that is tested on its own.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    CancelCause, ContextSnapshot, ErrorClass, RunOutcome, SkipCause, Stage, StageContext, StageKind,
    StageOutcome, StageResult, code, stage_fn,
};

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn a_stage_can_be_called_on_its_own() {
    let stage = stage_fn(|ctx: StageContext, n: Arc<u32>| async move {
        ctx.checkpoint()?;
        ctx.emit("x", [("n", 1)]);
        ctx.on_cleanup(async {});
        Ok(*n + ctx.attempt())
    });
    assert_eq!(now(stage.run(&StageContext::for_test(), Arc::new(7))).ok(), Some(8));
}

#[test]
fn a_context_for_tests_is_of_nobody_and_not_cancelled() {
    let ctx = StageContext::for_test_with(ContextSnapshot::builder().tenant("acme").extension(7_u8));
    assert_eq!((ctx.stage_name(), ctx.stage_kind(), ctx.attempt()), ("test", StageKind::Transform, 1));
    assert_eq!((ctx.identity().tenant_id().unwrap().as_str(), ctx.extension::<u8>()), ("acme", Some(&7)));
    assert!(!ctx.is_cancelled() && ctx.cancel_reason().is_none() && ctx.remaining().is_none());
    assert_eq!(ctx.elapsed(), Duration::ZERO);
    drop(ctx.hold());
}

/// `checkpoint` tells a cancellation from a time that is used up.
#[test]
fn a_checkpoint_leaves_with_the_cause() {
    let ctx = StageContext::for_test();
    assert!(ctx.checkpoint().is_ok());
    let late: StageResult<()> = ctx.for_attempt(2, 0).checkpoint();
    let exit = late.unwrap_err();
    assert_eq!(
        (exit.error_code(), exit.error_class()),
        (Some(code::ATTEMPT_TIMEOUT), Some(ErrorClass::Timeout))
    );
    assert_eq!(ctx.for_attempt(2, 5).remaining(), Some(Duration::from_nanos(5)));
    assert_eq!(ctx.for_attempt(3, u64::MAX).attempt(), 3);
}

/// S-5, S-28: how outcomes read, and the spelling on the wire.
#[test]
fn outcomes_have_one_spelling() {
    let cancelled = StageOutcome::Cancelled(CancelCause::Requested { reason: "x".into() });
    let skipped = StageOutcome::Skipped(SkipCause::NotTaken { route: "r".into() });
    let blocked = StageOutcome::Blocked { by: "a".into() };
    let words = [&StageOutcome::Completed, &skipped, &cancelled, &blocked].map(StageOutcome::status);
    assert_eq!(words, ["completed", "skipped", "cancelled", "blocked"]);
    assert_eq!(skipped.to_string(), "skipped: branch not taken at `r`");
    assert_eq!(blocked.to_string(), "blocked by `a`");
    let json = serde_json::to_value(&cancelled).unwrap();
    assert_eq!(
        json,
        serde_json::json!({ "status": "cancelled", "cause": { "cause": "requested", "reason": "x" } })
    );
    for outcome in [
        RunOutcome::Completed,
        RunOutcome::CompletedWithFailures,
        RunOutcome::Failed,
        RunOutcome::Cancelled,
        RunOutcome::Denied,
        RunOutcome::TimedOut,
    ] {
        assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        assert_eq!(outcome.to_string(), outcome.as_str());
    }
}

/// Causes read as the end of "it was cancelled: …".
#[test]
fn causes_read_well() {
    let stage = || "s".to_owned();
    for (cause, text) in [
        (CancelCause::Requested { reason: "shutting down".into() }, "shutting down"),
        (CancelCause::Stage { stage: stage(), reason: "hung up".into() }, "`s` ended the run: hung up"),
        (CancelCause::Failure { stage: stage() }, "`s` failed"),
        (CancelCause::Denied { stage: stage() }, "`s` was denied"),
        (CancelCause::Deadline, "the deadline passed"),
        (CancelCause::Dropped, "the run was dropped"),
        (CancelCause::Parent { reason: "x".into() }, "the parent run was cancelled: x"),
        (CancelCause::Shutdown, "the engine was shut down"),
    ] {
        assert_eq!(cause.to_string(), text);
        let json = serde_json::to_string(&cause).unwrap();
        assert_eq!(serde_json::from_str::<CancelCause>(&json).unwrap(), cause);
    }
}
