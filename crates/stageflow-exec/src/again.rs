//! A stage asks for another attempt, and no policy stands around it: the engine grants it (S-22).
//!
//! Costs nothing before a stage asks: the call is made again from the outside, with inputs that are read once more.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use stageflow_core::{
    Backoff, BoxError, Code, ErrorClass, Layer, StageContext, StageExit, StageResult, Value, call, code,
    exit::FailSpec, input::Inputs, intercept::AnyInterceptor, slot::FutureSlot, time::nanos,
};

use crate::{
    attempt, durable,
    node::Spare,
    run::RunCore,
    scope::WorkerScope,
    timer,
    worker::{Worker, panicked},
};

/// Why a request is not granted.
pub(crate) enum Refusal {
    /// A policy has seen it, or the inputs are gone.
    Unavailable(Option<&'static str>),
    /// There were enough attempts, there is no time for another, or the budget has no retry left.
    Exhausted,
}

impl Refusal {
    /// What the stage fails with.
    pub(crate) fn into_failure(self, reason: String, attempts: u32) -> FailSpec {
        let (code, hint): (Code, _) = match self {
            Self::Unavailable(hint) => (code::RETRY_UNAVAILABLE, hint),
            Self::Exhausted => (code::RETRY_EXHAUSTED, None),
        };
        let error: BoxError =
            if attempts < 2 { reason.into() } else { format!("{reason} (attempt {attempts})").into() };
        FailSpec { hint: hint.map(Into::into), ..FailSpec::new(code, ErrorClass::Transient, error) }
    }
}

/// Another attempt to be.
struct Again {
    stage: u32,
    /// Attempts that were made.
    made: u32,
    delay: Duration,
    /// When the time of the stage is up, in nanoseconds of the run.
    until: u64,
    chain: Option<Arc<[AnyInterceptor]>>,
    inputs: Option<Inputs>,
    reason: String,
}

impl Worker {
    /// Grants a request for a retry if it can: the stage waits, and is called again.
    pub(crate) fn again(
        &mut self,
        run: &Arc<RunCore>,
        stage: u32,
        reason: &str,
        after: Option<Duration>,
    ) -> Result<(), Refusal> {
        let chain = run.chain(stage).cloned();
        if let (None, Some(log)) = (&chain, &run.log) {
            log.attempt_asks_again(run, stage, run.cell(stage).attempts(), reason, after);
        }
        let has_policy =
            |chain: &Arc<[AnyInterceptor]>| chain.iter().any(|one| one.placement().layer() == Layer::Retry);
        if run.is_stopping() || chain.as_ref().is_some_and(has_policy) {
            return Err(Refusal::Unavailable(None));
        }
        let made = run.cell(stage).attempts();
        if made >= Backoff::ATTEMPTS {
            return Err(self.exhausted(run, stage, made, "max_attempts"));
        }
        let inputs =
            attempt::gather_again(run, stage).map_err(|_| Refusal::Unavailable(Some(INPUTS_GONE)))?;
        let backoff = Backoff::default();
        // The run's own source: a replay draws the same.
        let drawn = self.last_attempt(stage, made).random_u64();
        let own = backoff.delay(made.saturating_sub(1), backoff.base(), drawn);
        let delay = after.map_or(own, |after| after.min(Backoff::HINT_MAX));
        let timeout = run.timeouts(stage).stage.get();
        // Under limits it is marked as started with its first permit only, and the wait for that counts.
        let cell = run.cell(stage);
        let ago = if run.is_limited { Some(cell.ready_ago(self.now)) } else { cell.started_ago(self.now) };
        let until = match (timeout, ago) {
            (Some(timeout), Some(ago)) => self.now.saturating_add(nanos(timeout.saturating_sub(ago))),
            _ => u64::MAX,
        };
        let left = until.min(run.deadline).saturating_sub(self.now);
        if nanos(delay) >= left.saturating_sub(nanos(run.min_time(stage))) {
            return Err(self.exhausted(run, stage, made, "deadline"));
        }
        self.note_start(run, stage);
        if !self.last_attempt(stage, made).budget().take_retry() {
            return Err(self.exhausted(run, stage, made, "budget"));
        }
        let again = Again {
            stage,
            // The attempts of the process before are counted where the attempt begins.
            made: made.saturating_sub(run.spent_attempts(stage)),
            delay,
            until: until.min(run.deadline),
            chain,
            inputs,
            reason: reason.to_owned(),
        };
        let mut slot = FutureSlot::take();
        slot.put(repeat(Arc::clone(&self.scope), again));
        let timer = timeout.is_some().then(|| (Duration::from_nanos(until - self.now), code::STAGE_TIMEOUT));
        let spare = Spare::new(run);
        spare.node.set_stage(stage);
        let mut cx = Context::from_waker(&spare.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| slot.poll(&mut cx)));
        match polled.unwrap_or_else(|panic| Poll::Ready(Err(panicked(panic)))) {
            Poll::Pending => self.suspend_until(run, stage, spare, slot, timer),
            Poll::Ready(result) => {
                spare.node.task.finish();
                self.finish(run, stage, result);
            }
        }
        Ok(())
    }
}

impl Worker {
    /// The context of an attempt that has ended.
    fn last_attempt(&self, stage: u32, made: u32) -> StageContext {
        StageContext::new(Arc::<WorkerScope>::clone(&self.scope), stage, made, u64::MAX)
    }

    fn exhausted(&mut self, run: &Arc<RunCore>, stage: u32, made: u32, because: &str) -> Refusal {
        self.note_start(run, stage);
        let fields = [("attempts", made.to_string()), ("because", because.to_owned())];
        self.last_attempt(stage, made).record_stage_event("retry_exhausted", fields);
        Refusal::Exhausted
    }
}

const INPUTS_GONE: &str =
    "the stage owns its inputs, or the run does not keep them: attach a retry policy, which does";

async fn repeat(scope: Arc<WorkerScope>, again: Again) -> StageResult<Value> {
    let Again { stage, made, delay, until, chain, inputs, reason } = again;
    let number = made + 1;
    let ctx = StageContext::new(Arc::<WorkerScope>::clone(&scope), stage, number, until);
    {
        // It is the last attempt that tells of the next.
        let _waiting = ctx.for_attempt(made, until).backing_off(number, delay, reason, None, None);
        let Some(sleep) = timer::sleep(delay) else {
            let error = "it asked for a retry, and the runtime has no timer".into();
            return Err(StageExit::failure(code::NO_RUNTIME, ErrorClass::Invalid, error));
        };
        sleep.await;
    }
    let mut slot = FutureSlot::take();
    match &chain {
        Some(chain) => call::repeat(&mut slot, ctx, chain, inputs, made),
        None => attempt::attempt(&scope, &mut slot, &ctx, number, inputs),
    }
    if durable::is_committed(&scope.run, stage) {
        return durable::committed(scope, stage, slot).await;
    }
    let done = poll_fn(|cx| slot.poll(cx)).await;
    slot.keep();
    done
}
