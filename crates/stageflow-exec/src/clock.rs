//! The runtime's clock: real in production, virtual where tokio's time is paused.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

use stageflow_core::{Clock, time::epoch};
use tokio::time::Instant;

use crate::run::RunCore;

/// Reads tokio's clock, so that durations follow virtual time in tests.
#[derive(Debug)]
pub(crate) struct TokioClock {
    base: Instant,
}

impl TokioClock {
    pub(crate) fn new() -> Self {
        Self { base: epoch().into() }
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

    /// Looks at the clock: nanoseconds of the run. From then on `lent` goes by it as well.
    pub(crate) fn anchor(&mut self, run: &RunCore, lent: &LentWatch) -> u64 {
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
            lent.set(run.origin + self.anchor, counter.delta_as_nanos(0, self.counted_at));
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

/// The watch as the interceptors around a stage see it while a worker polls the stage for the first time.
///
/// Afterwards anybody may poll it, at any time, and the worker may have stopped looking at tokio's clock.
#[derive(Debug)]
pub(crate) struct LentWatch {
    /// To which stage.
    stage: AtomicU32,
    /// The reading with which the worker has begun the stage, until its first attempt begins: of what lies in between each looks
    /// at the time and takes none of it. 0 afterwards.
    begun: AtomicU64,
    /// What the time is ahead of the counter, wrapping: one number, so that no reader sees half of a change. 0 if the watch does
    /// not count.
    ahead: AtomicU64,
}

const NO_STAGE: u32 = u32::MAX;

impl LentWatch {
    pub(crate) fn new() -> Self {
        Self { stage: AtomicU32::new(NO_STAGE), begun: AtomicU64::new(0), ahead: AtomicU64::new(0) }
    }

    fn set(&self, now: u64, counted: u64) {
        self.ahead.store(now.wrapping_sub(counted), Ordering::Relaxed);
    }

    /// The stage, begun at `now` on tokio's clock, is about to be polled for the first time.
    #[inline]
    pub(crate) fn lend(&self, stage: u32, now: u64) {
        self.begun.store(now, Ordering::Relaxed);
        self.stage.store(stage, Ordering::Relaxed);
    }

    /// An attempt begins, which may take long.
    #[inline]
    pub(crate) fn attempt_begins(&self) {
        self.begun.store(0, Ordering::Relaxed);
    }

    /// The stage is pending.
    pub(crate) fn take_back(&self) {
        self.stage.store(NO_STAGE, Ordering::Relaxed);
    }

    /// The time on tokio's clock since the epoch, if the watch shows it and the stage is the one that has it.
    #[inline]
    pub(crate) fn nanos(&self, stage: u32) -> Option<u64> {
        if self.stage.load(Ordering::Relaxed) != stage {
            return None;
        }
        let begun = self.begun.load(Ordering::Relaxed);
        if begun != 0 {
            return Some(begun);
        }
        let ahead = self.ahead.load(Ordering::Relaxed);
        if ahead == 0 {
            return None;
        }
        let counter = COUNTER.get()?;
        Some(counter.delta_as_nanos(0, counter.raw()).wrapping_add(ahead))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lent_watch_shows_the_beginning_until_the_attempt_and_then_counts_or_says_nothing() {
        let watch = LentWatch::new();
        assert_eq!(watch.nanos(0), None);
        watch.lend(3, 1_000);
        assert_eq!((watch.nanos(3), watch.nanos(2)), (Some(1_000), None));
        watch.attempt_begins();
        assert_eq!(watch.nanos(3), None);

        let counter = COUNTER.get_or_init(quanta::Clock::new);
        watch.set(5_000, counter.delta_as_nanos(0, counter.raw()));
        let (first, second) = (watch.nanos(3), watch.nanos(3));
        assert!(first >= Some(5_000) && second >= first, "{first:?} {second:?}");
        watch.lend(4, 2_000);
        assert_eq!((watch.nanos(4), watch.nanos(3)), (Some(2_000), None));
        watch.take_back();
        assert_eq!(watch.nanos(4), None);
    }
}
