//! The runtime's clock: real in production, virtual where tokio's time is paused.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use stageflow_core::Clock;
use tokio::time::Instant;

use crate::run::RunCore;

/// Reads tokio's clock, so that durations follow virtual time in tests.
#[derive(Debug)]
pub(crate) struct TokioClock {
    base: Instant,
}

impl TokioClock {
    pub(crate) fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "virtual time may run ahead, so it is no base for others"
        )]
        let now = std::time::Instant::now();
        // A clock that was paused before now stands still in the past: the base has to be older.
        let ages = [86_400, 3_600, 60, 0].map(Duration::from_secs);
        let base = ages.into_iter().find_map(|age| now.checked_sub(age)).unwrap_or(now);
        Self { base: Instant::from_std(base) }
    }
}

impl Clock for TokioClock {
    fn monotonic_nanos(&self) -> u64 {
        let since = Instant::now().saturating_duration_since(self.base);
        since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())
    }
}

/// After so many stages the half millisecond that calibrating the counter takes, once per process, is worth it.
const MIN_STAGES: usize = 2_000;

/// A worker's watch: tokio's clock, carried on by the processor's counter until the worker looks at tokio's again.
///
/// Reading the counter takes about half the time of reading the clock, and a worker reads once per stage. The two are
/// brought together at the start of each slice, so they never drift further apart than in a fraction of a millisecond.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Whether the counter may be used: the clock is tokio's own, and its time is not paused.
    counting: bool,
    /// Whether it has been found out.
    known: bool,
    anchor: u64,
    counted_at: u64,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { counting: false, known: false, anchor: 0, counted_at: 0 }
    }

    /// Looks at the clock: nanoseconds of the run.
    pub(crate) fn anchor(&mut self, run: &RunCore) -> u64 {
        self.anchor = run.now();
        if !self.known {
            self.known = true;
            // A paused clock gives the same time twice.
            self.counting = counter(run).is_some() && run.now() != self.anchor;
        }
        if self.counting
            && let Some(counter) = COUNTER.get()
        {
            self.counted_at = counter.raw();
        }
        self.anchor
    }

    /// The time, in nanoseconds of the run.
    #[inline]
    pub(crate) fn now(&self, run: &RunCore) -> u64 {
        match COUNTER.get() {
            Some(counter) if self.counting => {
                self.anchor + counter.delta_as_nanos(self.counted_at, counter.raw())
            }
            _ => run.now(),
        }
    }
}

static COUNTER: OnceLock<quanta::Clock> = OnceLock::new();

/// How many stages were begun before there was a counter.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

fn counter(run: &RunCore) -> Option<&'static quanta::Clock> {
    if !run.shared.own_clock {
        return None;
    }
    let known = COUNTER.get();
    let stages = run.plan.len();
    if known.is_some() || BEGUN.fetch_add(stages, Ordering::Relaxed) + stages < MIN_STAGES {
        return known;
    }
    Some(COUNTER.get_or_init(quanta::Clock::new))
}
