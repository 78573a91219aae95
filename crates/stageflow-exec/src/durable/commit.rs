//! Around the call of a durable stage: nobody reads its output before it is in the journal.

use std::{future::poll_fn, sync::Arc};

use stageflow_core::{
    ErrorClass, StageExit, StageResult, Value, WaitReason, code, durable::JournalError,
    scope::StageScope as _, slot::FutureSlot,
};

use crate::{run::RunCore, scope::WorkerScope};

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
    scope.set_wait(stage, Some(WaitReason::Journal));
    let written = ack.await;
    scope.set_wait(stage, None);
    match written {
        Ok(()) => Ok(value),
        Err(error) => {
            log.whole.lose(run, Some(stage), error).map_err(JournalError::into_exit)?;
            Ok(value)
        }
    }
}
