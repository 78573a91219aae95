//! Undoing: in reverse order of completion, one after the other, each until it succeeds once or is stuck.

use std::{
    future::{Future, poll_fn},
    panic::catch_unwind,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use stageflow_core::{
    ErrorClass, FieldValue, StageExit, StageResult, WaitReason, code, text::panic_message, time::Human,
};
use tokio::time::Sleep;

use super::{
    config::OnStuck,
    journal::{Journal, Scope, Undo, caught, words},
    report::StepState,
};

/// Lets actions that are on their way end, undoes what is to be undone, and ends the saga.
pub(super) async fn settle(journal: Arc<Journal>, scope: Scope, because: String, in_stage: bool) {
    let finish = journal.config.finish_within;
    if !finish.is_zero() {
        let mut timer = None;
        poll_fn(|cx| match journal.poll_actions(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => expired(&mut timer, finish, cx),
        })
        .await;
    }
    journal.interrupt();
    while let Some((step, name, undo)) = journal.last_done(scope) {
        let reason = || WaitReason::Undo { saga: (*journal.config.name).to_owned(), step: name.clone() };
        let _waiting = in_stage.then(|| journal.ctx.waiting(reason()));
        journal.change(step, |record| record.state = StepState::Undoing);
        let is_undone = undo_step(&journal, step, &name, &undo).await;
        if !is_undone && journal.config.on_stuck == OnStuck::Stop {
            break;
        }
    }
    let is_committed = scope == Scope::Abandoned;
    journal.end(is_committed, (!is_committed).then_some(because));
}

/// Lets what a stage has left on its way go on for a while, and then drops it: actions for good, and the call of an undo until the
/// clean-up makes it again.
pub(super) async fn finish(journal: &Journal) {
    let time = journal.config.finish_within;
    if !time.is_zero() {
        let mut timer = None;
        poll_fn(|cx| match (journal.poll_actions(cx), journal.poll_settling(cx)) {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(()),
            _ => expired(&mut timer, time, cx),
        })
        .await;
    }
    journal.interrupt();
    journal.pause(true);
    // Only to see that it is paused.
    poll_fn(|cx| {
        let _paused = journal.poll_settling(cx);
        Poll::Ready(())
    })
    .await;
}

/// Calls an undo until it succeeds, or is stuck; whether it has succeeded.
async fn undo_step(journal: &Journal, step: usize, name: &str, undo: &Undo) -> bool {
    let (config, ctx) = (&journal.config, &journal.ctx);
    let mut previous = config.backoff.base();
    let mut made = 0;
    loop {
        made += 1;
        journal.change(step, |record| record.attempts += 1);
        let Err(exit) = attempt(journal, undo).await else {
            journal.change(step, |record| (record.state, record.failure) = (StepState::Undone, None));
            let fields =
                [("saga", FieldValue::from(&*config.name)), ("step", name.into()), ("attempts", made.into())];
            ctx.emit("saga.undone", fields);
            return true;
        };
        let code = exit.error_code().unwrap_or(code::STAGE_FAILED);
        let may = exit.is_retry() || exit.error_class().is_some_and(ErrorClass::may_retry);
        journal.change(step, |record| record.failure = Some((code, words(&exit))));
        if !may || made >= config.attempts {
            journal.change(step, |record| record.state = StepState::Stuck);
            return false;
        }
        let hint = exit.retry_after().unwrap_or_default().min(stageflow_core::Backoff::HINT_MAX);
        previous = config.backoff.delay(made - 1, previous, ctx.random_u64()).max(hint);
        let fields = [
            ("saga", FieldValue::from(&*config.name)),
            ("step", name.into()),
            ("attempt", (made + 1).into()),
            ("delay_ms", u64::try_from(previous.as_millis()).unwrap_or(u64::MAX).into()),
            ("code", code.as_str().into()),
        ];
        ctx.emit("saga.undo_retried", fields);
        if let Some(delay) = sleep(previous) {
            delay.await;
        }
    }
}

/// One call. A skip says that there is nothing to undo.
async fn attempt(journal: &Journal, undo: &Undo) -> StageResult<()> {
    let (mut call, mut timer, time) = (None, None, journal.config.undo_timeout);
    let ended = poll_fn(|cx| {
        if journal.is_paused() {
            (call, timer) = (None, None);
            return Poll::Pending;
        }
        let call = call.get_or_insert_with(|| {
            let undo = Arc::clone(undo);
            // The call itself is the user's as well.
            Box::pin(caught(Box::pin(async move { undo().await })))
        });
        match call.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending => expired(&mut timer, time, cx).map(|()| None),
        }
    })
    .await;
    match ended {
        Some(Ok(Err(exit))) if exit.is_skip() => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(panic)) => {
            let error = format!("the undo panicked: {}", panic_message(panic));
            Err(StageExit::failure(code::PANIC, ErrorClass::Panic, error.into()))
        }
        None => {
            let error = format!("the undo took longer than {}", Human(time));
            Err(StageExit::failure(code::ATTEMPT_TIMEOUT, ErrorClass::Timeout, error.into()))
        }
    }
}

type Timer = Option<Pin<Box<Sleep>>>;

/// Whether so long has passed since the first call with this timer.
fn expired(timer: &mut Timer, time: Duration, cx: &mut std::task::Context<'_>) -> Poll<()> {
    if timer.is_none() {
        *timer = sleep(time);
    }
    match timer {
        Some(timer) => timer.as_mut().poll(cx),
        None => Poll::Pending,
    }
}

/// A timer, or `None` on a runtime that was built without `enable_time`: tokio panics there.
fn sleep(time: Duration) -> Timer {
    catch_unwind(|| Box::pin(tokio::time::sleep(time))).ok()
}
