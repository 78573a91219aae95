//! A pipeline as a stage: a child run, tied to its parent (S-19).

use std::{
    any::Any,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use stageflow_core::{
    CancelCause, ErrorClass, EventKind, RunInfo, RunOutcome, SnapshotBuilder, StageContext, StageExit,
    StageResult, Value, WaitReason, code,
    durable::{JournalError, JournalErrorKind},
    id::RunId,
    scope::Hold,
    snapshot::Parent,
    stage::{StageFuture, StageRole},
};
use stageflow_dag::plan::Plan;

use crate::{
    driver::Driver,
    durable::RunLog,
    ending::EndCause,
    meter,
    progress::Watched,
    run::{RunCore, Seed},
};

/// Runs `plan` as a child of `parent`, in the place of the stage that `ctx` belongs to.
pub(crate) fn run(
    parent: &Arc<RunCore>,
    ctx: &StageContext,
    plan: Arc<dyn Any + Send + Sync>,
    input: Value,
) -> StageFuture {
    let done = |exit| -> StageFuture { Box::pin(std::future::ready(Err(exit))) };
    let Ok(plan) = plan.downcast::<Plan>() else {
        return done(StageExit::internal("a child run needs a plan"));
    };
    let depth = parent.depth + 1;
    if depth > parent.shared.max_depth {
        let error = format!("pipelines are nested deeper than {}", parent.shared.max_depth);
        return done(StageExit::failure(code::MAX_DEPTH, ErrorClass::Permanent, error.into()));
    }
    let log = match log_of(parent, ctx, &plan) {
        Ok(log) => log,
        Err(error) => return done(error.into_exit()),
    };
    let started = parent.shared.clock.wall();
    let snapshot = Arc::new(snapshot(parent, ctx, &plan, depth, started));
    let (account, repeats) = meter::of_child(parent, ctx, &plan);
    let info = || RunInfo::new(Arc::clone(&snapshot), started, Arc::<Plan>::clone(&plan));
    let child = RunCore::new(Seed {
        // What panics here is caught as a panic of the stage.
        chains: parent.shared.chains(&plan),
        events: parent.shared.events(info, None, &parent.handle),
        snapshot,
        plan,
        input,
        shared: Arc::clone(&parent.shared),
        handle: parent.handle.clone(),
        keep: None,
        max_in_flight: None,
        tenant: Some(parent.limits.of_tenant().cloned().unwrap_or_default()),
        account: Some(account),
        repeats,
        depth,
        watched: Watched::of(parent, ctx),
        log,
    });
    parent.adopt(&child);
    let run = child.snapshot.identity().run_id();
    parent.emit(ctx.index(), ctx.attempt(), EventKind::ChildStarted { run });
    let (ctx, hold) = (ctx.clone(), ctx.hold());
    Box::pin(async move {
        let waiting = ctx.waiting(WaitReason::ChildRun);
        let driver = Driver::new(Arc::clone(&child));
        ChildRun { driver: Some(Box::new(driver)), hold: Some(hold) }.await;
        drop(waiting);
        let timed_out = child.outcome.get() == Some(&RunOutcome::TimedOut);
        if timed_out && ctx.remaining().is_some_and(|left| left.is_zero()) {
            // It was the time of the attempt, the stage or the parent run: whose it was, says so and drops this.
            std::future::pending::<()>().await;
        }
        result(&child)
    })
}

/// What a child run writes: it is written with its parent where it is the stage, and not where it is one of several that a stage runs.
fn log_of(
    parent: &Arc<RunCore>,
    ctx: &StageContext,
    plan: &Plan,
) -> Result<Option<Box<RunLog>>, JournalError> {
    let is_stage = parent.plan.stage(ctx.index()).role() == StageRole::Pipeline;
    match &parent.log {
        Some(log) if is_stage => log.within(parent, ctx.index(), plan).map(|log| Some(Box::new(log))),
        _ if plan.has_durable() && !parent.shared.may_be_undurable() => {
            let message = format!(
                "`{}` has durable stages, and stage `{}` runs it any number of times",
                plan.name(),
                ctx.stage_name()
            );
            let hint = "make the stage durable that runs the pipeline, and take `.durable()` off its stages";
            Err(JournalError::new(JournalErrorKind::NoJournal, message).hint(hint))
        }
        _ => Ok(None),
    }
}

fn snapshot(
    parent: &RunCore,
    ctx: &StageContext,
    plan: &Plan,
    depth: u32,
    started: std::time::SystemTime,
) -> stageflow_core::ContextSnapshot {
    let root = || vec![parent.snapshot.pipeline().to_owned()];
    let mut path = parent.snapshot.parent().map_or_else(root, |parent| parent.path.clone());
    path.push(ctx.stage_name().to_owned());
    let builder =
        parent.snapshot.to_builder().pipeline(Arc::clone(plan.name())).trace(ctx.trace()).parent(Parent {
            run: parent.snapshot.identity().run_id(),
            stage: ctx.stage_name().to_owned(),
            depth,
            path,
            root: Some(parent.snapshot.root_run_id()),
        });
    let deadline = ctx.remaining().into_iter().chain(plan.policies().deadline).min();
    let builder = match deadline {
        Some(deadline) => builder.deadline(deadline),
        None => builder,
    };
    let builder = plan.policies().budget.into_iter().fold(builder, SnapshotBuilder::budget);
    let shared = &parent.shared;
    builder.build_with(|| RunId::from_parts(started, &*shared.random)).within(&parent.snapshot)
}

/// What the child's end means for the stage.
fn result(child: &RunCore) -> StageResult<Value> {
    match child.outcome.get() {
        Some(RunOutcome::Completed | RunOutcome::CompletedWithFailures) if child.output_completed() => child
            .output(child.plan.output())
            .ok_or_else(|| StageExit::internal("a child run lost its output")),
        Some(RunOutcome::Completed) => {
            Err(StageExit::skip(format!("the output of pipeline `{}` was skipped", child.plan.name())))
        }
        Some(RunOutcome::Cancelled) => Err(StageExit::cancel(match child.ending.cause() {
            Some(EndCause::Cancel(CancelCause::Parent { reason })) => reason.clone(),
            Some(cause) => cause.for_stages().to_string(),
            None => String::new(),
        })),
        Some(RunOutcome::TimedOut) => {
            let error = format!("pipeline `{}` used up its time", child.plan.name());
            Err(StageExit::failure(code::DEADLINE_EXCEEDED, ErrorClass::Timeout, error.into()))
        }
        _ => Err(match child.cause() {
            Some(failure) => StageExit::failure(failure.code(), failure.class(), failure.into()),
            None => StageExit::internal("a child run failed without a failure"),
        }),
    }
}

/// Drives a child. Dropped early, it leaves the child's clean-up to the runtime, and the parent waits for it.
struct ChildRun {
    driver: Option<Box<Driver>>,
    hold: Option<Hold>,
}

impl Future for ChildRun {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.driver {
            Some(driver) => Pin::new(&mut **driver).poll(cx),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for ChildRun {
    fn drop(&mut self) {
        let hold = self.hold.take();
        if let Some(driver) = self.driver.take()
            && !driver.is_done()
        {
            let run = Arc::clone(&driver.run);
            run.end(EndCause::Cancel(CancelCause::Dropped));
            run.handle.spawn(async move {
                driver.await;
                drop(hold);
            });
        }
    }
}
