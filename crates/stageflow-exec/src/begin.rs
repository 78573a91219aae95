//! Whether a run or an attempt may begin: there is time enough for it, and there are permits (S-15, S-11).

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use stageflow_core::{NotBegun, StageContext, StageExit, StageResult, code, time::Human};
use stageflow_dag::plan::Plan;

use crate::{
    attempt, ending::EndCause, engine::EngineShared, error::RunError, limits::Permits, node::Timer,
    run::RunCore,
};

const NANOSECOND: Duration = Duration::from_nanos(1);

/// Whether an attempt that began now could end in time: it has what it takes at least, and never nothing (S-15).
pub(crate) fn in_time(run: &RunCore, ctx: &StageContext) -> StageResult<()> {
    let stage = ctx.index();
    let now = run.now();
    if now >= run.deadline {
        run.end(EndCause::Deadline);
        return Err(StageExit::cancel("the deadline of the run has passed"));
    }
    let left = Duration::from_nanos(ctx.until_nanos().saturating_sub(now));
    if left.is_zero() {
        return Err(attempt::timed_out(run, stage, code::STAGE_TIMEOUT));
    }
    let needed = run.min_time(stage);
    if left < needed { Err(NotBegun::new(needed, left).into_exit()) } else { Ok(()) }
}

/// Refuses a run that could not give its output before its deadline.
pub(crate) fn run_in_time(
    plan: &Plan,
    shared: &EngineShared,
    deadline: Option<Duration>,
) -> Result<(), RunError> {
    let least = if shared.may_answer { Duration::ZERO } else { plan.min_time() };
    match deadline {
        Some(deadline) if deadline < least => Err(RunError::refused(
            code::DEADLINE_EXCEEDED,
            format!(
                "`{}` takes {} at least, and has {}: no stage was started",
                plan.name(),
                Human(least),
                Human(deadline)
            ),
        )),
        _ => Ok(()),
    }
}

/// Waits for the permits of an attempt, as long as it could still end in time.
pub(crate) async fn permits(run: &RunCore, ctx: &StageContext) -> StageResult<Permits> {
    let role = run.plan.stage(ctx.index()).role();
    let mut acquiring = pin!(run.limits.acquire(ctx, role));
    let needed = run.min_time(ctx.index());
    let mut timer = None;
    let permits = poll_fn(|cx| {
        if let Poll::Ready(permits) = acquiring.as_mut().poll(cx) {
            return Poll::Ready(Ok(permits));
        }
        // The ends of stage and run have their own timers.
        let Some(slack) = ctx.slack().filter(|_| !needed.is_zero()) else { return Poll::Pending };
        let timer = match &mut timer {
            Some(timer) => timer,
            // Just enough is enough.
            None => timer.insert(Timer::new(slack.saturating_add(NANOSECOND), code::DEADLINE_EXCEEDED)?),
        };
        if timer.is_up(cx) {
            let left = ctx.remaining().unwrap_or_default();
            return Poll::Ready(Err(NotBegun::new(needed, left).into_exit()));
        }
        Poll::Pending
    })
    .await?;
    if ctx.until_nanos() != u64::MAX {
        in_time(run, ctx)?;
    }
    Ok(permits)
}
