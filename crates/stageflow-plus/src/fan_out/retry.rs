//! How often one item is tried.

use std::time::Duration;

use stageflow_core::{Backoff, ErrorClass, StageExit};

/// How often one item of a map is tried: given to [`MapBuilder::retry_items`](super::MapBuilder::retry_items).
///
/// What is tried again is what asks for it with [`StageExit::retry`], and failures of a class that
/// [`may_retry`](stageflow_core::ErrorClass::may_retry). It knows no retry budget, and no other policy: a map over a *pipeline* has
/// those of its stages.
///
/// ```
/// use stageflow_core::{Backoff, DurationExt};
/// use stageflow_plus::fan_out::ItemRetry;
///
/// let patient = ItemRetry::attempts(5).backoff(Backoff::exponential(50.millis()));
/// # let _ = patient;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "it is given to a map"]
pub struct ItemRetry {
    attempts: u32,
    backoff: Backoff,
}

impl ItemRetry {
    /// So many attempts in total; at least one.
    pub fn attempts(attempts: u32) -> Self {
        Self { attempts: attempts.max(1), backoff: Backoff::default() }
    }

    /// How long to wait in between; [`Backoff::default`] unless set.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How long to wait after so many attempts, if another follows. What the other side asks for counts, up to a minute.
    pub(super) fn delay(
        &self,
        made: u32,
        previous: Option<Duration>,
        exit: &StageExit,
        random: u64,
    ) -> Option<Duration> {
        let may = exit.is_retry() || exit.error_class().is_some_and(ErrorClass::may_retry);
        let hint = exit.retry_after().unwrap_or_default().min(Backoff::HINT_MAX);
        let previous = previous.unwrap_or_else(|| self.backoff.base());
        (may && made < self.attempts).then(|| self.backoff.delay(made - 1, previous, random).max(hint))
    }
}
