//! How a call behind a route ends, told exactly once.

use std::time::Duration;

use stageflow_core::{Call, ErrorClass, Next, StageExit, StageResult, Value};

/// What a call says about the health of what is behind a route: as a breaker counts it (rule S-25).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered, if only that the caller is at fault.
    Success,
    /// It did not, or not in time.
    Failure { retry_after: Option<Duration> },
    /// Nothing: it was cancelled, skipped, or refused before it got there.
    Neutral,
}

impl Verdict {
    const FAILED: Self = Self::Failure { retry_after: None };

    fn of(done: &StageResult<Value>) -> Self {
        let Err(exit) = done else { return Self::Success };
        match exit.error_class() {
            None if exit.is_retry() => Self::Failure { retry_after: exit.retry_after() },
            None | Some(ErrorClass::Denied) => Self::Neutral,
            Some(ErrorClass::Permanent | ErrorClass::Invalid) => Self::Success,
            Some(_) => Self::Failure { retry_after: exit.retry_after() },
        }
    }
}

/// Makes the call, and tells `end` how it ended and with which failure: also if it panics or is dropped.
pub(crate) async fn watched<F>(call: &Call, next: Next<'_>, end: F) -> StageResult<Value>
where
    F: FnOnce(Verdict, Option<&StageExit>) + Send,
{
    let mut watch = Watch { call, attempts: call.attempts(), end: Some(end) };
    let done = next.run().await;
    watch.end(Verdict::of(&done), done.as_ref().err());
    done
}

struct Watch<'a, F: FnOnce(Verdict, Option<&StageExit>)> {
    call: &'a Call,
    /// How many attempts there were before.
    attempts: u32,
    end: Option<F>,
}

impl<F: FnOnce(Verdict, Option<&StageExit>)> Watch<'_, F> {
    fn end(&mut self, verdict: Verdict, exit: Option<&StageExit>) {
        let Some(end) = self.end.take() else { return };
        // Nobody has asked what is behind the route.
        let begun = self.call.attempts() != self.attempts;
        end(if begun { verdict } else { Verdict::Neutral }, exit);
    }
}

impl<F: FnOnce(Verdict, Option<&StageExit>)> Drop for Watch<'_, F> {
    /// The engine ends a call whose time is up, and that of a run that is cancelled, by dropping it.
    fn drop(&mut self) {
        let out_of_time = || self.call.context().remaining().is_some_and(|left| left.is_zero());
        let failed = std::thread::panicking() || out_of_time();
        self.end(if failed { Verdict::FAILED } else { Verdict::Neutral }, None);
    }
}
