//! Around the call of a durable stage: nobody reads its output before it is in the journal.

use std::{
    future::{Future as _, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use stageflow_core::{
    ErrorClass, StageExit, StageResult, Value, WaitReason, code, durable::JournalError,
    scope::StageScope as _, slot::FutureSlot,
};

use super::log::Waiting;
use crate::{run::RunCore, scope::WorkerScope};

/// Whether what a stage gives is written before anybody reads it.
#[inline]
pub(crate) fn is_committed(run: &RunCore, stage: u32) -> bool {
    run.log.is_some() && run.plan.is_durable(stage)
}

/// Makes the call, and writes what it gives.
pub(crate) async fn committed(
    scope: Arc<WorkerScope>,
    stage: u32,
    mut call: FutureSlot,
) -> StageResult<Value> {
    let done = poll_fn(|cx| call.poll(cx)).await;
    call.keep();
    let value = done?;
    let run: &Arc<RunCore> = &scope.run;
    let Some(log) = &run.log else { return Ok(value) };
    // Of another type it is refused where the stage ends.
    if !run.plan.stage(stage).gives(&value) {
        return Ok(value);
    }
    let Some(codec) = scope.codec(stage) else { return Ok(value) };
    let output = codec
        .encode(&value)
        .map_err(|error| StageExit::failure(code::NOT_STORABLE, ErrorClass::Permanent, error.into()))?;
    let Some(ack) = log.commit(run, stage, output) else { return Ok(value) };
    match written(&scope, stage, ack).await {
        Ok(()) => Ok(value),
        Err(error) => {
            log.whole.lose(run, Some(stage), error).map_err(JournalError::into_exit)?;
            Ok(value)
        }
    }
}

/// Waits for the journal, and says so while it has to.
async fn written(scope: &WorkerScope, stage: u32, mut ack: Waiting) -> Result<(), JournalError> {
    let at_once = poll_fn(|cx| Poll::Ready(Pin::new(&mut ack).poll(cx))).await;
    if let Poll::Ready(written) = at_once {
        return written;
    }
    scope.set_wait(stage, Some(WaitReason::Journal));
    let _told = Told { scope, stage };
    ack.await
}

/// The wait is over, also where it was given up.
struct Told<'a> {
    scope: &'a WorkerScope,
    stage: u32,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.scope.set_wait(self.stage, None);
    }
}
