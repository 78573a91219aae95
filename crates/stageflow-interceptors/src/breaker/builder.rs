//! Builds breakers.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex},
    time::Duration,
};

use stageflow_core::time::{SeededRandom, epoch};
use tokio::time::Instant;

use super::{
    CircuitBreaker, Shared,
    lru::Lru,
    outcome::Forced,
    rules::{BreakerConfigError, Draft},
};
use crate::clock::since_epoch;

/// Builds a [`CircuitBreaker`]; made by [`CircuitBreaker::builder`].
///
/// Without further ado it opens when half of at least 20 calls within 30 s have failed, for 10 s, which doubles up to 5 min
/// each time it has to open again soon, and closes after 3 probes that all succeed. Each tenant has one to itself.
///
/// ```
/// use stageflow_core::DurationExt;
/// use stageflow_interceptors::CircuitBreaker;
///
/// let model = CircuitBreaker::builder("model")
///     .consecutive(5)
///     .slow_calls(20.secs(), 0.8)
///     .open_for(5.secs())
///     .build()?;
/// # Ok::<(), stageflow_interceptors::BreakerConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a breaker is there after `build()`"]
pub struct CircuitBreakerBuilder {
    draft: Draft,
    per_stage: bool,
    per_tenant: bool,
    initially: Option<Forced>,
    seed: Option<u64>,
}

impl CircuitBreakerBuilder {
    pub(super) fn new(dependency: String) -> Self {
        let draft = Draft::new(dependency);
        Self { draft, per_stage: false, per_tenant: true, initially: None, seed: None }
    }

    pub(super) fn per_stage() -> Self {
        Self { per_stage: true, ..Self::new("each stage".to_owned()) }.max_keys(10_000)
    }

    /// Opens when this share of the calls in a window has failed; 0.5 at first.
    pub fn failure_rate(mut self, share: f64) -> Self {
        self.draft.failure_rate = Some(share);
        self
    }

    /// Does not look at the share of failures, but only at what other rules there are.
    pub fn no_failure_rate(mut self) -> Self {
        self.draft.failure_rate = None;
        self
    }

    /// Judges by the calls of the last so many seconds, in ten buckets. Without any window it is one of 30 s.
    pub fn time_window(mut self, span: Duration) -> Self {
        self.draft.time_window = Some(span);
        self
    }

    /// Judges by the last so many calls. With a window of time besides, each of them can open it.
    pub fn count_window(mut self, calls: u32) -> Self {
        self.draft.count_window = Some(calls);
        self
    }

    /// Judges a window by nothing less than so many calls; 20 at first, or what a smaller count window holds.
    pub fn min_calls(mut self, calls: u32) -> Self {
        self.draft.min_calls = Some(calls);
        self
    }

    /// Opens after so many failures in a row, whatever the windows say; off at first.
    pub fn consecutive(mut self, failures: u32) -> Self {
        self.draft.consecutive = Some(failures);
        self
    }

    /// Opens when this share of the calls in a window has taken at least `threshold`; off at first.
    ///
    /// A call's time is that of everything inside of the breaker: waits under limits are part of it. Probes are judged by
    /// the same share once all have succeeded.
    pub fn slow_calls(mut self, threshold: Duration, share: f64) -> Self {
        self.draft.slow = Some((threshold, share));
        self
    }

    /// Does not open because a failure said when to come back. At first it does, and stays open until then, though no
    /// longer than [`max_open`](Self::max_open).
    pub fn ignore_hints(mut self) -> Self {
        self.draft.follows_hints = false;
        self
    }

    /// How long it stays open; 10 s at first. Each time it opens again while half-open, or before it was closed for as long
    /// as it was open, it stays open twice as long.
    pub fn open_for(mut self, time: Duration) -> Self {
        self.draft.open_for = time;
        self
    }

    /// The longest it stays open; 5 min at first.
    pub fn max_open(mut self, time: Duration) -> Self {
        self.draft.max_open = time;
        self
    }

    /// How far chance moves the time it stays open, as a share of it, so that breakers of many processes do not probe at one
    /// moment; 0.2 at first.
    pub fn jitter(mut self, share: f64) -> Self {
        self.draft.jitter = share;
        self
    }

    /// How many probes it takes to close, all of which have to succeed; 3 at first. No more than that are under way at once.
    pub fn probes(mut self, count: u32) -> Self {
        self.draft.probes = count;
        self
    }

    /// How long a probe keeps its slot. At first it is 30 s more than the stage has left, and at most 5 min; 60 s where the
    /// stage has no limit, and outside of pipelines.
    ///
    /// A probe that takes longer goes on, and its result counts; only there may be another one beside it.
    pub fn probe_lease(mut self, lease: Duration) -> Self {
        self.draft.probe_lease = Some(lease);
        self
    }

    /// Whether each tenant has a breaker to itself, as at first, or all share one.
    pub fn per_tenant(mut self, apart: bool) -> Self {
        self.per_tenant = apart;
        self
    }

    /// How many keys it knows at most; 1,024 at first. The one that was not asked for longest is forgotten.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.draft.max_keys = keys;
        self
    }

    /// Lets a stage wait for up to `max` while it is open, instead of rejecting the call. What would not be let through within
    /// that time, or within the [`slack`](stageflow_core::StageContext::slack) of the stage, is rejected at once.
    ///
    /// It needs a runtime with a timer.
    pub fn wait_while_open(mut self, max: Duration) -> Self {
        self.draft.max_wait = Some(max);
        self
    }

    /// Admits all and only counts, until it is told otherwise for a key: to try out a breaker.
    pub fn metrics_only(mut self) -> Self {
        self.initially = Some(Forced::Disabled);
        self
    }

    /// Where the jitter of calls outside of pipelines comes from; in a pipeline it comes from the run.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The breaker.
    ///
    /// # Errors
    ///
    /// Everything about it that cannot work, at once.
    pub fn build(self) -> Result<CircuitBreaker, BreakerConfigError> {
        let rules = self.draft.check()?;
        let origin = origin();
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        let shared = Shared {
            dependency: self.draft.dependency.into(),
            rules: Arc::new(rules),
            per_stage: self.per_stage,
            per_tenant: self.per_tenant,
            probe_lease: self.draft.probe_lease,
            max_wait: self.draft.max_wait,
            initially: self.initially,
            random: SeededRandom::new(seed),
            origin,
            began: since_epoch(origin),
            cells: Mutex::new(Lru::new(self.draft.max_keys)),
        };
        Ok(CircuitBreaker { shared: Arc::new(shared) })
    }
}

/// A moment before all calls, and not before the epoch. A clock that was paused before now stands still in the past, so it has to be
/// older than now.
fn origin() -> Instant {
    let now = Instant::now();
    let ages = [86_400, 3_600, 60].map(Duration::from_secs);
    let origin = ages.into_iter().find_map(|age| now.checked_sub(age)).unwrap_or(now);
    origin.max(epoch().into())
}
