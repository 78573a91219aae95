//! One guard: whatever it does, what is not allowed is blocked.

use std::sync::Arc;

use stageflow_core::{ClassifyExt, DurationExt, ErrorClass, StageContext, StageExit, StageResult, code};

use stageflow_dag::Pipeline;
use stageflow_exec::PipelineExt as _;

use super::{
    super::{
        GuardExt as _, GuardStage, Guarded, HowFailed, Judgement, OnBlock, OnError, Remark, Verdict,
        async_guard, guard_fn,
    },
    abstains, allows, blocks, goes_on, hangs, judged, run, turns,
};

type Says = StageResult<Verdict<String>>;

fn exits(exit: fn() -> StageExit) -> impl super::Guard<String> {
    async_guard("exits", move |_, _: Arc<String>| async move { Says::Err(exit()) })
}

fn how(guard: impl super::Guard<String>) -> (HowFailed, ErrorClass) {
    let judgement = judged(guard, "text");
    let blocked = judgement.blocked().expect("it blocks");
    let failure = blocked.failure().expect("the guard has failed");
    assert_eq!(blocked.reason(), failure.how().as_str());
    (failure.how(), failure.class())
}

#[test]
fn the_four_verdicts() {
    assert_eq!(goes_on(allows(), "text"), Ok("text".to_owned()));
    assert_eq!(goes_on(turns("turns", "text", "other"), "text"), Ok("other".to_owned()));
    assert_eq!(goes_on(blocks("blocks"), "text"), Err("guard `blocks`: no".to_owned()));
    assert_eq!(goes_on(abstains(), "text"), Err("guard `abstains`: undecided".to_owned()));
}

#[test]
fn what_is_allowed_is_not_copied() {
    let ctx = StageContext::for_test();
    let text = Arc::new("text".to_owned());
    let judged = run(GuardStage::new(allows()).judge(&ctx, Some(Arc::clone(&text))));
    let guarded = judged.ok().and_then(Judgement::passed).expect("it passes");
    assert!(Arc::ptr_eq(guarded.content(), &text));
    assert!(!guarded.is_transformed() && !guarded.is_opened() && !guarded.is_fallback());
}

#[test]
fn missing_and_empty_content_is_blocked_and_what_became_empty_too() {
    let ctx = StageContext::for_test();
    let missing = run(GuardStage::new(allows()).judge(&ctx, None));
    assert_eq!(missing.expect("a judgement").blocked().expect("it blocks").reason(), "missing");
    for empty in ["", " \n\t", "\0\u{7}", "\u{200b}\u{feff}\u{ad}", "\u{3164}"] {
        assert_eq!(goes_on(allows(), empty), Err("guard `allows`: empty".to_owned()), "{empty:?}");
    }
    assert_eq!(goes_on(turns("turns", "text", " "), "text"), Err("guard `turns`: empty".to_owned()));
    let checked = GuardStage::new(allows()).check_empty();
    assert!(run(checked.judge(&ctx, Some(Arc::default()))).is_ok_and(|judged| judged.blocked().is_none()));
    assert!(run(checked.judge(&ctx, None)).is_ok_and(|judged| judged.blocked().is_some()));
}

#[test]
fn errors_panics_and_timeouts_block() {
    assert_eq!(
        how(exits(|| StageExit::fail("503").class(ErrorClass::Transient))),
        (HowFailed::Error, ErrorClass::Transient)
    );
    assert_eq!(how(exits(|| StageExit::skip("nothing to check"))).0, HowFailed::Error);
    assert_eq!(how(exits(|| StageExit::retry("busy"))), (HowFailed::Error, ErrorClass::Transient));
    assert_eq!(
        how(guard_fn("panics", |_: &String| -> Verdict<String> { panic!("boom") })).0,
        HowFailed::Panic
    );
    let late = async_guard("late", |_, _: Arc<String>| async {
        tokio::task::yield_now().await;
        if true {
            panic!("boom");
        }
        Says::Ok(Verdict::allow())
    });
    assert_eq!(how(late), (HowFailed::Panic, ErrorClass::Panic));
    assert_eq!(how(hangs("hangs").timeout(2.secs())), (HowFailed::Timeout, ErrorClass::Timeout));
}

#[test]
fn a_panic_before_there_is_a_future_blocks() {
    let early = async_guard("early", |_, text: Arc<String>| {
        assert!(text.is_empty(), "boom");
        std::future::ready(Says::Ok(Verdict::allow()))
    });
    assert_eq!(how(early).0, HowFailed::Panic);
}

#[test]
fn a_destructor_that_panics_blocks() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "boom");
        }
    }
    impl Future for Bomb {
        type Output = Says;
        fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Says> {
            std::task::Poll::Ready(Ok(Verdict::allow()))
        }
    }
    assert_eq!(how(async_guard("bomb", |_, _: Arc<String>| Bomb)).0, HowFailed::Panic);
}

#[test]
fn a_score_that_is_none_blocks() {
    for score in [f64::NAN, f64::INFINITY, -0.1, 1.1] {
        assert_eq!(how(guard_fn("odd", move |_: &String| Verdict::allow().score(score))).0, HowFailed::Error);
    }
}

#[test]
fn an_open_guard_lets_pass_and_says_so() {
    for guard in [
        Box::new(|| judged(hangs("late").timeout(1.secs()).on_error(OnError::Open), "text"))
            as Box<dyn Fn() -> _>,
        Box::new(|| {
            let fails = |_, _: Arc<String>| async { Says::Err(StageExit::fail("503")) };
            judged(async_guard("late", fails).on_error(OnError::Open), "text")
        }),
    ] {
        let guarded = guard().passed().expect("it passes");
        assert!(guarded.is_opened() && !guarded.is_transformed());
        assert_eq!(guarded.remarks().iter().map(Remark::guard).collect::<Vec<_>>(), ["late"]);
    }
    let open = guard_fn("open", |_: &String| Verdict::block("no")).on_error(OnError::Open);
    assert!(judged(open, "text").blocked().is_some(), "a block is no error");
    let ctx = StageContext::for_test();
    let open = GuardStage::new(guard_fn("open", |_: &String| Verdict::allow()).on_error(OnError::Open));
    assert!(run(open.judge(&ctx, None)).is_ok_and(|judged| judged.blocked().is_some()), "nothing to check");
}

#[test]
fn a_denial_and_a_cancellation_are_no_errors_to_be_passed_over() {
    for (exit, is_denial) in
        [(StageExit::deny("never") as StageExit, true), (StageExit::cancel("enough"), false)]
    {
        let exit = std::sync::Mutex::new(Some(exit));
        let leaves = async_guard("leaves", move |_, _: Arc<String>| {
            let exit = exit.lock().expect("unharmed").take().expect("asked once");
            std::future::ready(Says::Err(exit))
        });
        let stage = GuardStage::new(leaves.on_error(OnError::Open));
        let left = run(stage.judge(&StageContext::for_test(), Some(Arc::new("text".to_owned()))));
        let exit = left.expect_err("it leaves");
        assert_eq!(exit.error_class() == Some(ErrorClass::Denied), is_denial);
        assert_eq!(exit.is_cancel(), !is_denial);
    }
}

#[test]
fn the_error_of_a_guard_says_whether_to_ask_again_may_help() {
    let fails = async_guard("moderation", |_, _: Arc<String>| async {
        Says::Err(Err::<(), _>("503 from the service").transient().expect_err("it fails").after(7.secs()))
    });
    let stage = GuardStage::new(fails);
    let input = Some(Arc::new("text".to_owned()));
    let exit = run(stackless(&stage, input)).expect_err("it is blocked");
    assert_eq!(exit.error_code(), Some(code::GUARD_FAILED));
    assert_eq!(exit.error_class(), Some(ErrorClass::Transient));
    assert_eq!(exit.retry_after(), Some(7.secs()));
}

async fn stackless(stage: &GuardStage<String>, input: Option<Arc<String>>) -> StageResult<Guarded<String>> {
    stageflow_core::Stage::run(stage, &StageContext::for_test(), input).await
}

#[tokio::test]
async fn a_denial_does_not_send_to_the_credentials() {
    let mut p = Pipeline::builder("ask");
    let text = p.input();
    let safe = p.guard("guard", blocks("blocks")).on_block(OnBlock::Deny).over(text);
    let ask: Pipeline<String, Guarded<String>> = p.build(safe).expect("it is right");
    let error = ask.run("text".to_owned()).await.expect_err("it is blocked");
    let failure = error.failure().expect("the guard");
    assert_eq!((failure.code(), failure.hint()), (code::DENIED, Some("read which guard objects and why")));
}
