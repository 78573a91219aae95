//! What a tenant may use: [`Quota`] as plain data, [`TenantQuotas`] for all tenants, [`QuotaExceeded`] for what is refused.

mod exceeded;
mod tenants;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

#[doc(hidden)]
pub use self::tenants::OnQuotaChange;
pub use self::{
    exceeded::{QuotaExceeded, QuotaKind},
    tenants::TenantQuotas,
};
use crate::time::Human;

/// What one tenant may use, as plain data; what it does not say has no limit (rule S-11).
///
/// - **Concurrent runs**, **rate of runs** and **cost** decide on every run that is started, and not on child runs. What is above is
///   refused at once with `QUOTA_EXCEEDED`, or waits where [`wait_up_to`](Self::wait_up_to) says so.
/// - **Stages in flight** are never refused: a stage above it waits for a permit, as under every limit.
/// - **Cost** is charged as runs spend it: a stage that its tenant cannot afford any more fails with `QUOTA_EXCEEDED`.
/// - **Stored bytes** are for the stores that keep what a tenant leaves behind: they ask [`TenantQuotas`].
///
/// ```
/// use stageflow_core::{DurationExt, Quota};
///
/// let small = Quota::concurrent_runs(20).stages_in_flight(64).runs_per(100, 1.secs()).cost_per(1_000, 1.hours());
/// let patient = Quota::concurrent_runs(50).wait_up_to(2.secs()).or(small);
/// assert_eq!(
///     patient.to_string(),
///     "50 runs at a time, 64 stages in flight, 100 runs in 1.0s, a cost of 1000 in 1h00m, 100 may wait for 2.0s"
/// );
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use = "a quota does nothing until an engine or a store has it"]
pub struct Quota {
    concurrent_runs: Option<u32>,
    stages_in_flight: Option<u32>,
    runs_per: Option<(u64, Duration)>,
    burst: Option<u64>,
    stored_bytes: Option<u64>,
    cost_per: Option<(u64, Duration)>,
    wait_up_to: Option<Duration>,
    max_waiting: Option<u32>,
}

/// How many runs of a tenant wait without a word.
const MAX_WAITING: u32 = 100;

impl Quota {
    /// A quota that says nothing: no limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// At most so many runs at a time, from where they are let in to the end of their clean-ups. With 0 the tenant runs nothing.
    pub fn concurrent_runs(limit: u32) -> Self {
        Self { concurrent_runs: Some(limit), ..Self::default() }
    }

    /// At most so many stages of all its runs together in flight at a time, at least one.
    pub fn stages_in_flight(mut self, limit: u32) -> Self {
        self.stages_in_flight = Some(limit);
        self
    }

    /// At most so many runs begin within each `period`, evenly, after as many at once as [`burst`](Self::burst) says. With 0 none begins.
    pub fn runs_per(mut self, limit: u64, period: Duration) -> Self {
        self.runs_per = Some((limit, period));
        self
    }

    /// How many runs may begin at once after a pause, at least one; without a word as many as within a period.
    pub fn burst(mut self, runs: u64) -> Self {
        self.burst = Some(runs);
        self
    }

    /// At most so many bytes in a store.
    pub fn stored_bytes(mut self, limit: u64) -> Self {
        self.stored_bytes = Some(limit);
        self
    }

    /// At most so much cost of the runs that begin within a window of this length, in the units of [`Budget`](crate::Budget). A window
    /// begins with the first run after the one before it.
    pub fn cost_per(mut self, limit: u64, window: Duration) -> Self {
        self.cost_per = Some((limit, window));
        self
    }

    /// Runs that come too early wait for their turn, at most so long, in the order in which they came. Who could not go in that time
    /// is refused at once.
    pub fn wait_up_to(mut self, most: Duration) -> Self {
        self.wait_up_to = Some(most);
        self
    }

    /// How many runs may wait, 100 without a word; whoever comes then is refused.
    pub fn max_waiting(mut self, most: u32) -> Self {
        self.max_waiting = Some(most);
        self
    }

    /// Takes from `other` what this one does not say.
    pub fn or(self, other: Self) -> Self {
        Self {
            concurrent_runs: self.concurrent_runs.or(other.concurrent_runs),
            stages_in_flight: self.stages_in_flight.or(other.stages_in_flight),
            runs_per: self.runs_per.or(other.runs_per),
            burst: self.burst.or(other.burst),
            stored_bytes: self.stored_bytes.or(other.stored_bytes),
            cost_per: self.cost_per.or(other.cost_per),
            wait_up_to: self.wait_up_to.or(other.wait_up_to),
            max_waiting: self.max_waiting.or(other.max_waiting),
        }
    }

    /// How many runs at a time.
    pub fn concurrent_runs_limit(&self) -> Option<u32> {
        self.concurrent_runs
    }

    /// How many stages in flight, at least one: with none a run that was let in would never end.
    pub fn stages_in_flight_limit(&self) -> Option<u32> {
        self.stages_in_flight.map(|limit| limit.max(1))
    }

    /// How many runs within which period, and how many at once. A period is a nanosecond at least.
    pub fn run_rate(&self) -> Option<(u64, Duration, u64)> {
        let (limit, period) = self.runs_per?;
        Some((limit, period.max(Duration::from_nanos(1)), self.burst.unwrap_or(limit).max(1)))
    }

    /// How many bytes in a store.
    pub fn stored_bytes_limit(&self) -> Option<u64> {
        self.stored_bytes
    }

    /// How much cost within which window, which is a nanosecond at least.
    pub fn cost_limit(&self) -> Option<(u64, Duration)> {
        self.cost_per.map(|(limit, window)| (limit, window.max(Duration::from_nanos(1))))
    }

    /// How long a run may wait, and how many; `None` if none waits.
    pub fn waiting(&self) -> Option<(Duration, u32)> {
        let most = self.wait_up_to.filter(|most| !most.is_zero())?;
        Some((most, self.max_waiting.unwrap_or(MAX_WAITING)))
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let burst = self.burst.map_or_else(String::new, |burst| format!(", {} at once", burst.max(1)));
        let parts = [
            self.concurrent_runs.map(|limit| format!("{limit} runs at a time")),
            self.stages_in_flight_limit().map(|limit| format!("{limit} stages in flight")),
            self.runs_per.map(|(limit, period)| format!("{limit} runs in {}{burst}", Human(period))),
            self.stored_bytes.map(|limit| format!("{limit} bytes stored")),
            self.cost_per.map(|(limit, window)| format!("a cost of {limit} in {}", Human(window))),
            self.waiting().map(|(most, places)| format!("{places} may wait for {}", Human(most))),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        f.pad(&if parts.is_empty() { "no limit".to_owned() } else { parts.join(", ") })
    }
}
