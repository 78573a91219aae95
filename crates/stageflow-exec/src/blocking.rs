//! Blocking and CPU-bound work as a stage, on a thread of its own (S-10).

use std::{any::Any, fmt, marker::PhantomData, sync::Arc};

use stageflow_core::{Stage, StageContext, StageExit, StageInput, StageResult, WaitReason};

/// A blocking function as a stage: made by [`blocking`].
pub struct Blocking<F, I, O> {
    function: Arc<F>,
    types: PhantomData<fn(I) -> O>,
}

impl<F, I, O> fmt::Debug for Blocking<F, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blocking({})", std::any::type_name::<F>())
    }
}

/// Makes a stage of a function that blocks or computes for long: it runs on tokio's threads for blocking work.
///
/// # Cancel safety
///
/// A thread cannot be stopped from outside. When the run is cancelled it waits for the function to return before it
/// starts its clean-ups; long functions call [`StageContext::checkpoint`] now and then. A function that has not begun by
/// then does not begin at all.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::StageContext;
/// use stageflow_exec::blocking;
///
/// let digest = blocking(|ctx: StageContext, data: Arc<Vec<u8>>| {
///     let mut sum = 0_u64;
///     for chunk in data.chunks(1 << 20) {
///         ctx.checkpoint()?;
///         sum += chunk.iter().map(|byte| u64::from(*byte)).sum::<u64>();
///     }
///     Ok(sum)
/// });
/// # let _ = digest;
/// ```
pub fn blocking<F, I, O>(function: F) -> Blocking<F, I, O>
where
    F: Fn(StageContext, I) -> StageResult<O> + Send + Sync + 'static,
    I: StageInput,
    O: Any + Send + Sync,
{
    Blocking { function: Arc::new(function), types: PhantomData }
}

impl<F, I, O> Stage for Blocking<F, I, O>
where
    F: Fn(StageContext, I) -> StageResult<O> + Send + Sync + 'static,
    I: StageInput,
    O: Any + Send + Sync,
{
    type Input = I;
    type Output = O;

    async fn run(&self, ctx: &StageContext, input: I) -> StageResult<O> {
        let (function, ctx, hold) = (Arc::clone(&self.function), ctx.clone(), ctx.hold());
        let _waiting = ctx.waiting(WaitReason::Blocking);
        let work = {
            let ctx = ctx.clone();
            #[cfg(feature = "tracing")]
            let span = tracing::Span::current();
            move || {
                let _hold = hold;
                #[cfg(feature = "tracing")]
                let _entered = span.enter();
                ctx.checkpoint()?;
                function(ctx, input)
            }
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(StageExit::cancel("the runtime is shutting down")),
            },
        }
    }
}
