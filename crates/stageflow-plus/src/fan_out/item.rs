//! One item: its attempts, under a permit where there is a limiter.

use std::time::Duration;

use stageflow_core::{
    ErrorClass, FieldValue, Stage, StageContext, StageExit, StageResult, code,
    time::{Human, nanos},
};
use tokio::time::{sleep, timeout};

use super::{
    limiter::{FanOutLimiter, FanOutPermit, FanOutRequest},
    retry::ItemRetry,
};

/// What is done beyond calling the stage once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    pub(super) retry: Option<ItemRetry>,
    pub(super) timeout: Option<Duration>,
}

/// What an item was given beside its input.
pub(super) struct Given<'a, In> {
    pub(super) ctx: &'a StageContext,
    pub(super) rules: Rules,
    pub(super) limiter: Option<&'a FanOutLimiter>,
    pub(super) request: &'a (dyn Fn(&In) -> FanOutRequest + Sync),
    /// Whether the permit it needs may be that of an item around it.
    pub(super) is_nested: bool,
}

/// How an item ended, and how many attempts were made.
pub(super) type Made<O> = (StageResult<O>, u32);

pub(super) async fn run<S: Stage<Input: Clone>>(
    stage: &S,
    given: &Given<'_, S::Input>,
    index: usize,
    input: S::Input,
    permit: Option<FanOutPermit>,
) -> Made<S::Output> {
    if given.rules.retry.is_none() && given.rules.timeout.is_none() {
        let output = stage.run(given.ctx, input).await;
        drop(permit);
        return (output, 1);
    }
    // On the heap, for those alone that need it.
    Box::pin(again(stage, given, index, input, permit)).await
}

async fn again<S: Stage<Input: Clone>>(
    stage: &S,
    given: &Given<'_, S::Input>,
    index: usize,
    input: S::Input,
    mut permit: Option<FanOutPermit>,
) -> Made<S::Output> {
    let ctx = given.ctx;
    let (mut made, mut previous) = (1, None);
    loop {
        let exit = match attempt(stage, given, input.clone()).await {
            Ok(output) => return (Ok(output), made),
            Err(exit) => exit,
        };
        let delay = given.rules.retry.and_then(|retry| retry.delay(made, previous, &exit, ctx.random_u64()));
        let Some(delay) = delay.filter(|delay| ctx.slack().is_none_or(|slack| *delay < slack)) else {
            return (Err(exit), made);
        };
        // Nobody holds a permit while they back off, but for those who could not be sure to get one again.
        let had_permit = !given.is_nested && permit.take().is_some();
        made += 1;
        tell(ctx, index, made, delay, &exit);
        sleep(delay).await;
        previous = Some(delay);
        if let (true, Some(limiter)) = (had_permit, given.limiter) {
            let within = ctx.slack().unwrap_or(Duration::MAX);
            match limiter.acquire_within((given.request)(&input).again(), within).await {
                Ok(granted) => permit = Some(granted),
                Err(refused) => return (Err(refused.into_exit()), made - 1),
            }
        }
    }
}

async fn attempt<S: Stage>(
    stage: &S,
    given: &Given<'_, S::Input>,
    input: S::Input,
) -> StageResult<S::Output> {
    let Some(time) = given.rules.timeout else { return stage.run(given.ctx, input).await };
    let until = nanos(given.ctx.elapsed()).saturating_add(nanos(time)).min(given.ctx.until_nanos());
    let ctx = given.ctx.for_attempt(given.ctx.attempt(), until);
    timeout(time, stage.run(&ctx, input)).await.unwrap_or_else(|_| {
        let error = format!("the item used up the {} of its attempt", Human(time));
        Err(StageExit::failure(code::ATTEMPT_TIMEOUT, ErrorClass::Timeout, error.into()))
    })
}

fn tell(ctx: &StageContext, index: usize, attempt: u32, delay: Duration, exit: &StageExit) {
    let code = if exit.is_retry() { None } else { exit.error_code() };
    let fields = [
        ("index", FieldValue::from(index)),
        ("attempt", attempt.into()),
        ("delay_ms", u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).into()),
    ];
    let code = code.map(|code| ("code", FieldValue::from(code.as_str())));
    ctx.emit("fan_out.item_retried", fields.into_iter().chain(code));
}
