//! What a run knows of one stage, in one cache line.

use std::{
    sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering},
    time::Duration,
};

use crate::protocol::Countdown;

/// Where a stage stands. From [`Completed`](Self::Completed) on it is terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    Waiting,
    Running,
    Completed,
    Skipped,
    Failed,
    Cancelled,
    Blocked,
}

impl State {
    const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Running,
        Self::Completed,
        Self::Skipped,
        Self::Failed,
        Self::Cancelled,
        Self::Blocked,
    ];

    pub(crate) fn is_terminal(self) -> bool {
        self as u8 >= Self::Completed as u8
    }
}

/// One stage of one run.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) countdown: Countdown,
    state: AtomicU8,
    attempts: AtomicU16,
    /// Nanoseconds of the run.
    ready: AtomicU64,
    /// One more than the nanoseconds of the run; zero for "not yet".
    started: AtomicU64,
    ended: AtomicU64,
}

impl Cell {
    pub(crate) fn new(edges: u32) -> Self {
        Self {
            countdown: Countdown::new(edges),
            state: AtomicU8::new(State::Waiting as u8),
            attempts: AtomicU16::new(0),
            ready: AtomicU64::new(0),
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    pub(crate) fn state(&self) -> State {
        State::ALL[self.state.load(Ordering::SeqCst) as usize]
    }

    /// Takes the stage from [`State::Waiting`] on; `false` if somebody decided it before.
    pub(crate) fn claim(&self, next: State) -> bool {
        let waiting = State::Waiting as u8;
        self.state.compare_exchange(waiting, next as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Like [`set_state`](Self::set_state), and in one order with all reads: two sides of an `or` that end at the same
    /// moment must not overlook each other.
    pub(crate) fn set_state_in_order(&self, state: State) {
        self.state.store(state as u8, Ordering::SeqCst);
    }

    /// Attempt number `attempt` begins.
    pub(crate) fn mark_attempt(&self, attempt: u32) {
        self.attempts.store(u16::try_from(attempt).unwrap_or(u16::MAX), Ordering::Relaxed);
    }

    /// How many attempts have begun.
    pub(crate) fn attempts(&self) -> u32 {
        u32::from(self.attempts.load(Ordering::Relaxed))
    }

    pub(crate) fn mark_ready(&self, now: u64) {
        self.ready.store(now, Ordering::Relaxed);
    }

    pub(crate) fn mark_started(&self, now: u64) {
        self.started.store(now.saturating_add(1), Ordering::Relaxed);
    }

    pub(crate) fn mark_ended(&self, now: u64) {
        self.ended.store(now, Ordering::Relaxed);
    }

    /// Time between the last input and the start.
    pub(crate) fn queued(&self) -> Option<Duration> {
        let started = self.started_nanos()?;
        Some(Duration::from_nanos(started.saturating_sub(self.ready.load(Ordering::Relaxed))))
    }

    /// Time between the start and the end, or `now` for a stage that has not ended.
    pub(crate) fn ran(&self, now: u64) -> Option<Duration> {
        let started = self.started_nanos()?;
        let end = if self.state().is_terminal() { self.ended.load(Ordering::Relaxed) } else { now };
        Some(Duration::from_nanos(end.saturating_sub(started)))
    }

    /// Time since the start, whether it has ended or not.
    pub(crate) fn started_ago(&self, now: u64) -> Option<Duration> {
        Some(Duration::from_nanos(now.saturating_sub(self.started_nanos()?)))
    }

    /// Time since it became ready.
    pub(crate) fn ready_ago(&self, now: u64) -> Duration {
        Duration::from_nanos(now.saturating_sub(self.ready.load(Ordering::Relaxed)))
    }

    fn started_nanos(&self) -> Option<u64> {
        let started = self.started.load(Ordering::Relaxed);
        started.checked_sub(1)
    }
}
