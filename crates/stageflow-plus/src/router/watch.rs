//! How a call behind a route ends, told exactly once.

use stageflow_core::{BreakerOutcome, Call, Next, StageExit, StageResult, Value};

/// Makes the call, and tells `end` how it ended and with which failure: also if it panics or is dropped.
pub(crate) async fn watched<F>(call: &Call, next: Next<'_>, end: F) -> StageResult<Value>
where
    F: FnOnce(BreakerOutcome, Option<&StageExit>) + Send,
{
    let mut watch = Watch { call, attempts: call.attempts(), end: Some(end) };
    let done = next.run().await;
    watch.end(BreakerOutcome::of(&done), done.as_ref().err());
    done
}

struct Watch<'a, F: FnOnce(BreakerOutcome, Option<&StageExit>)> {
    call: &'a Call,
    /// How many attempts there were before.
    attempts: u32,
    end: Option<F>,
}

impl<F: FnOnce(BreakerOutcome, Option<&StageExit>)> Watch<'_, F> {
    fn end(&mut self, outcome: BreakerOutcome, exit: Option<&StageExit>) {
        let Some(end) = self.end.take() else { return };
        // Nobody has asked what is behind the route.
        let begun = self.call.attempts() != self.attempts;
        end(if begun { outcome } else { BreakerOutcome::Neutral }, exit);
    }
}

impl<F: FnOnce(BreakerOutcome, Option<&StageExit>)> Drop for Watch<'_, F> {
    /// The engine ends a call whose time is up, and that of a run that is cancelled, by dropping it.
    fn drop(&mut self) {
        let out_of_time = || self.call.context().remaining().is_some_and(|left| left.is_zero());
        let failed = std::thread::panicking() || out_of_time();
        self.end(
            if failed { BreakerOutcome::Failure { retry_after: None } } else { BreakerOutcome::Neutral },
            None,
        );
    }
}
