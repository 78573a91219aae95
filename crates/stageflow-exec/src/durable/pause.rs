//! Waiting for the answer of a pause.

use std::{
    future::{Future as _, poll_fn},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use stageflow_core::{
    ErrorClass, StageContext, StageExit, StageResult, WaitReason, code,
    durable::{JournalError, PauseRecord, PauseState},
    scope::{Answering, no_journal},
    time::Human,
};

use crate::{run::RunCore, timer};

/// Opens a pause, or finds it, and waits for its answer.
pub(crate) fn answer(
    run: &Arc<RunCore>,
    ctx: &StageContext,
    token: String,
    expires_in: Option<Duration>,
) -> Answering {
    let (run, ctx) = (Arc::clone(run), ctx.clone());
    Box::pin(async move {
        let Some(log) = run.log.as_ref().filter(|log| log.whole.lost().is_none()) else {
            return Err(no_journal());
        };
        let Some((key, lease)) = log.whole.of_run() else { return Err(no_journal()) };
        let journal = log.whole.journal();
        let answered = &log.whole.rules.answered;
        let opened = run.shared.clock.wall();
        let record = PauseRecord {
            stage: log.path(&run, ctx.index()).to_string(),
            token: token.clone(),
            opened,
            expires: expires_in.and_then(|time| opened.checked_add(time)),
        };
        let _waiting = ctx.waiting(WaitReason::Answer { token: token.clone() });
        // Before the look, so that an answer between the look and the wait is not missed.
        let mut told = Box::pin(answered.notified());
        let mut state = match journal.pause(key, *lease, &record).await {
            Ok(state) => state,
            Err(error) => {
                log.whole.lose(&run, Some(ctx.index()), error).map_err(JournalError::into_exit)?;
                return Err(no_journal());
            }
        };
        // A run that goes on may find it answered.
        if let PauseState::Open { .. } = state {
            ctx.emit("pause.opened", [("token", token.clone())]);
        }
        loop {
            let expires = match state {
                PauseState::Answered(answer) => {
                    ctx.emit("pause.answered", [("token", token.clone())]);
                    still_ours(&run, &ctx).await?;
                    return Ok(answer);
                }
                PauseState::Open { expires } => expires,
                _ => return Err(expired(&token, expires_in)),
            };
            let left = expires.map(|end| end.duration_since(run.shared.clock.wall()).unwrap_or_default());
            let nap =
                journal.poll_interval().min(left.unwrap_or(Duration::MAX)).max(Duration::from_millis(1));
            let Some(mut sleep) = timer::sleep(nap) else {
                let error = "a pause needs a runtime with a timer".into();
                return Err(StageExit::failure(code::NO_RUNTIME, ErrorClass::Invalid, error));
            };
            poll_fn(|cx| match told.as_mut().poll(cx) {
                Poll::Pending => sleep.as_mut().poll(cx),
                ready @ Poll::Ready(()) => ready,
            })
            .await;
            told = Box::pin(answered.notified());
            state = match journal.pause_state(key, &token).await {
                Ok(known) => known.unwrap_or(PauseState::Expired),
                // Whoever waits for days waits for a server that is away for a while.
                Err(error) if error.kind().class() == ErrorClass::Transient => {
                    PauseState::Open { expires: None }
                }
                Err(error) => return Err(error.into_exit()),
            };
        }
    })
}

/// Whether nobody has taken the run over while it waited: of all processes that see the answer, one goes on.
async fn still_ours(run: &RunCore, ctx: &StageContext) -> StageResult<()> {
    let Some(log) = &run.log else { return Ok(()) };
    let Some(written) = log.whole.send(run, None) else { return Ok(()) };
    match written.await {
        Ok(()) => Ok(()),
        Err(error) => log.whole.lose(run, Some(ctx.index()), error).map_err(JournalError::into_exit),
    }
}

fn expired(token: &str, time: Option<Duration>) -> StageExit {
    let time = time.map_or_else(String::new, |time| format!(" in {}", Human(time)));
    let error = format!("nobody answered the pause `{token}`{time}");
    // A pause that has ended stays so: another attempt would find it again.
    StageExit::failure(code::PAUSE_EXPIRED, ErrorClass::Permanent, error.into())
}
