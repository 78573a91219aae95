//! An attempt's view of the run: that of its stage, but for which stage it is and what the attempt is called.

use std::{any::Any, sync::Arc, time::Duration};

use stageflow_core::{
    ContextSnapshot, CustomEvent, Stage, StageContext, StageKind, Value, WaitReason,
    budget::account::Account,
    input::Inputs,
    scope::{Answering, CleanUp, Hold, StageScope},
    slot::FutureSlot,
    stage::{ErasedStage, StageFuture},
};
use tokio_util::sync::CancellationToken;

/// The stage that is made again stands in the place of the loop. Child runs of attempts are told apart by its number, so that nothing
/// under an idempotency key is answered with what was rejected.
struct AttemptScope<S> {
    ctx: StageContext,
    stage: Arc<S>,
    name: String,
}

/// The context of an attempt, whose time is up at `until`.
pub(super) fn of_attempt<S: Stage>(
    ctx: &StageContext,
    stage: &Arc<S>,
    number: u32,
    until: u64,
) -> StageContext {
    let name = format!("{}#{number}", ctx.stage_name());
    let scope = AttemptScope { ctx: ctx.clone(), stage: Arc::clone(stage), name };
    StageContext::new(Arc::new(scope), ctx.index(), ctx.attempt(), until)
}

impl<S: Stage> StageScope for AttemptScope<S> {
    fn stage_name(&self, stage: u32) -> &str {
        if stage == self.ctx.index() { &self.name } else { self.ctx.scope().stage_name(stage) }
    }

    fn stage(&self, stage: u32) -> Option<&dyn ErasedStage> {
        if stage == self.ctx.index() { Some(&*self.stage) } else { self.ctx.scope().stage(stage) }
    }

    fn snapshot(&self) -> &Arc<ContextSnapshot> {
        self.ctx.scope().snapshot()
    }

    fn stage_kind(&self, stage: u32) -> StageKind {
        self.ctx.scope().stage_kind(stage)
    }

    fn is_cancelled(&self) -> bool {
        self.ctx.scope().is_cancelled()
    }

    fn cancel_reason(&self) -> Option<String> {
        self.ctx.scope().cancel_reason()
    }

    fn cancellation(&self) -> CancellationToken {
        self.ctx.scope().cancellation()
    }

    fn emit(&self, stage: u32, attempt: u32, event: CustomEvent) {
        self.ctx.scope().emit(stage, attempt, event);
    }

    fn on_cleanup(&self, stage: u32, clean_up: CleanUp) {
        self.ctx.scope().on_cleanup(stage, clean_up);
    }

    fn hold(&self, stage: u32) -> Hold {
        self.ctx.scope().hold(stage)
    }

    fn elapsed_nanos(&self) -> u64 {
        self.ctx.scope().elapsed_nanos()
    }

    fn clock_nanos(&self, stage: u32) -> Option<u64> {
        self.ctx.scope().clock_nanos(stage)
    }

    fn progress(&self, stage: u32, attempt: u32) {
        self.ctx.scope().progress(stage, attempt);
    }

    fn min_time(&self, stage: u32) -> Duration {
        self.ctx.scope().min_time(stage)
    }

    fn pause(&self, _: &StageContext, token: String, expires_in: Option<Duration>) -> Answering {
        self.ctx.scope().pause(&self.ctx, token, expires_in)
    }

    fn random(&self, _: u32, attempt: u32) -> u64 {
        self.ctx.scope().random(self.ctx.index(), attempt)
    }

    fn is_sampled(&self) -> bool {
        self.ctx.scope().is_sampled()
    }

    fn account(&self) -> &Arc<Account> {
        self.ctx.scope().account()
    }

    fn settle(&self, stage: u32, attempt: u32, actual: u64) -> bool {
        self.ctx.scope().settle(stage, attempt, actual)
    }

    fn set_wait(&self, stage: u32, reason: Option<WaitReason>) {
        self.ctx.scope().set_wait(stage, reason);
    }

    fn attempt(&self, slot: &mut FutureSlot, ctx: &StageContext, attempt: u32, inputs: Option<Inputs>) {
        self.ctx.scope().attempt(slot, ctx, attempt, inputs);
    }

    fn run_child(&self, ctx: &StageContext, plan: Arc<dyn Any + Send + Sync>, input: Value) -> StageFuture {
        self.ctx.scope().run_child(ctx, plan, input)
    }
}
