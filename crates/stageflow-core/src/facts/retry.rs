//! What a retry policy says of itself, and what follows: how many attempts can begin in a time, and how long all of them take.

use std::time::Duration;

use serde::Serialize;

use super::{PolicyFacts, PolicyId};
use crate::{Backoff, ErrorClass};

/// So many delays are looked at one by one. Later ones count like the last of them, by which time all that grow have reached a cap of
/// any use.
const LOOKED_AT: u32 = 4_096;

/// A retry policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RetryFacts {
    /// The delays between attempts.
    pub backoff: Backoff,
    /// How many attempts there are at most, the first included.
    pub max_attempts: u32,
    /// No retry begins later than this, counted from the first attempt.
    pub max_elapsed: Option<Duration>,
    /// How long a delay may be that the other side asks for.
    pub hint_max: Duration,
    /// The classes of failures that are tried again.
    pub classes: Vec<ErrorClass>,
    /// Whether a predicate says what else is.
    pub has_predicate: bool,
    /// The account on which retries go, where policies can share one.
    #[serde(skip)]
    pub budget: Option<PolicyId>,
    /// Whether retries go on an account.
    pub is_budgeted: bool,
}

impl RetryFacts {
    /// A policy that tries transient failures and timeouts again.
    pub fn new(backoff: Backoff, max_attempts: u32) -> Self {
        Self {
            backoff,
            max_attempts,
            max_elapsed: None,
            hint_max: Backoff::HINT_MAX,
            classes: vec![ErrorClass::Transient, ErrorClass::Timeout],
            has_predicate: false,
            budget: None,
            is_budgeted: false,
        }
    }

    /// Whether failures are tried again at all, beside requests of the stage itself.
    pub fn retries_failures(&self) -> bool {
        self.has_predicate || self.classes.iter().any(|class| class.may_retry())
    }

    /// The longest time between the beginning of the first attempt and the end of the last, if no attempt takes longer than
    /// `attempt`. Delays that the other side asks for are not in it.
    ///
    /// ```
    /// use stageflow_core::{Backoff, DurationExt as _, RetryFacts};
    ///
    /// let three = RetryFacts::new(Backoff::exponential(1.secs()), 3);
    /// assert_eq!(three.longest(10.secs()), 33.secs()); // three attempts, and delays of at most 1 s and 2 s
    /// ```
    pub fn longest(&self, attempt: Duration) -> Duration {
        let last = self.max_attempts.saturating_sub(1);
        let delays = self.delays(last, |retry| self.backoff.longest(retry));
        let all = attempt.saturating_mul(self.max_attempts).saturating_add(delays);
        // A retry that begins in time may still take its time.
        self.max_elapsed.map_or(all, |most| all.min(most.saturating_add(attempt)))
    }

    /// How many attempts begin before `within` is over, if each takes `attempt` and the delays are the longest there are.
    pub fn begun_at_worst(&self, attempt: Duration, within: Option<Duration>) -> u32 {
        self.begun(attempt, within, |retry| self.backoff.longest(retry))
    }

    /// How many attempts begin before `within` is over at most: if none takes any time, and the delays are the shortest there are.
    pub fn begun_at_best(&self, within: Option<Duration>) -> u32 {
        self.begun(Duration::ZERO, within, |retry| self.backoff.shortest(retry))
    }

    /// The sum of the first `count` delays.
    fn delays(&self, count: u32, delay: impl Fn(u32) -> Duration) -> Duration {
        let first = (0..count.min(LOOKED_AT)).map(&delay).fold(Duration::ZERO, Duration::saturating_add);
        first.saturating_add(delay(LOOKED_AT).saturating_mul(count.saturating_sub(LOOKED_AT)))
    }

    /// As the policy decides: there is an attempt more if its delay is shorter than the time left, and within `max_elapsed`.
    fn begun(&self, attempt: Duration, within: Option<Duration>, delay: impl Fn(u32) -> Duration) -> u32 {
        let mut now = attempt;
        for retry in 0..self.max_attempts.saturating_sub(1).min(LOOKED_AT) {
            now = now.saturating_add(delay(retry));
            if within.is_some_and(|within| now >= within) || self.max_elapsed.is_some_and(|most| now > most) {
                return retry + 1;
            }
            now = now.saturating_add(attempt);
        }
        self.max_attempts
    }
}

impl From<RetryFacts> for PolicyFacts {
    fn from(facts: RetryFacts) -> Self {
        Self::Retry(facts)
    }
}
