//! Around an attempt of a run that is written down, where interceptors may make something else of what it came to.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use stageflow_core::{
    ErrorClass, StageExit, StageResult, Value, code,
    durable::AttemptEnd,
    exit::{Exit, FailSpec},
    slot::FutureSlot,
};

use crate::{run::RunCore, worker::panic_message};

/// Makes the call, and writes what it came to.
pub(crate) async fn noted(
    run: Arc<RunCore>,
    stage: u32,
    attempt: u32,
    mut call: FutureSlot,
) -> StageResult<Value> {
    let done = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| call.poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await;
    let note = |end| {
        if let Some(log) = &run.log {
            log.attempt_ended(&run, stage, attempt, end);
        }
    };
    match done {
        Ok(Ok(value)) => {
            call.keep();
            note(AttemptEnd::Gave);
            Ok(value)
        }
        Ok(Err(exit)) => {
            let (exit, end) = end_of(&run, stage, attempt, exit);
            note(end);
            Err(exit)
        }
        Err(panic) => {
            let panic = panic_message(panic);
            let spec = FailSpec::new(code::PANIC, ErrorClass::Panic, format!("panicked: {panic}").into());
            let (_, end) = end_of(&run, stage, attempt, spec.into_exit());
            note(end);
            resume_unwind(Box::new(panic))
        }
    }
}

/// What is written of an exit, and the exit.
fn end_of(run: &RunCore, stage: u32, attempt: u32, exit: StageExit) -> (StageExit, AttemptEnd) {
    let (after, code, class) = (exit.retry_after(), exit.error_code(), exit.error_class());
    match exit.into_exit() {
        Exit::Skip(reason) => {
            let end = AttemptEnd::Skipped { reason: reason.clone().into_owned() };
            (StageExit::skip(reason), end)
        }
        Exit::Cancel(reason) => {
            let end = AttemptEnd::Cancelled { reason: reason.clone().into_owned() };
            (StageExit::cancel(reason), end)
        }
        Exit::Retry { reason, .. } => {
            let end = AttemptEnd::Retry { reason: reason.clone().into_owned(), after };
            (asks_again(reason, after), end)
        }
        Exit::Fail(spec) => {
            let failure = stageflow_core::durable::JournaledFailure {
                stage: run.plan.stage_name(stage).to_owned(),
                code: code.unwrap_or(spec.code).as_str().to_owned(),
                class: class.unwrap_or(spec.class),
                message: spec.error.to_string(),
                attempts: attempt,
            };
            (spec.into_exit(), AttemptEnd::Failed { failure, after })
        }
    }
}

fn asks_again(reason: std::borrow::Cow<'static, str>, after: Option<Duration>) -> StageExit {
    let exit = StageExit::retry(reason);
    match after {
        Some(after) => exit.after(after),
        None => exit,
    }
}
