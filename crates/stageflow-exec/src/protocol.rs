//! The protocols between workers, wakers and the driver, free of everything else.
//!
//! They use only what `super::sync` offers, so that `tests/model` can run them under a model checker.

use super::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Who may touch the future of a pending stage.
#[derive(Debug)]
pub(crate) struct TaskState(AtomicU8);

/// Nobody holds it and nobody has woken it.
const IDLE: u8 = 0;
/// It stands in a queue.
const SCHEDULED: u8 = 1;
/// A worker polls it.
const RUNNING: u8 = 2;
/// A worker polls it, and it was woken meanwhile.
const NOTIFIED: u8 = 3;
/// Its future is gone or never needed a task.
const DONE: u8 = 4;

impl TaskState {
    /// A task that a worker is about to poll.
    pub(crate) fn running() -> Self {
        Self(AtomicU8::new(RUNNING))
    }

    /// Wakes the task; `true` obliges the caller to queue it.
    ///
    /// A task that is to be polled anyway is written all the same: what the waker has done before must be visible to that poll.
    pub(crate) fn notify(&self) -> bool {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let next = match seen {
                IDLE | SCHEDULED => SCHEDULED,
                RUNNING | NOTIFIED => NOTIFIED,
                _ => return false,
            };
            match self.0.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return seen == IDLE,
                Err(now) => seen = now,
            }
        }
    }

    /// Takes a queued task to poll it; `false` if it ended while it was queued.
    pub(crate) fn resume(&self) -> bool {
        self.0.compare_exchange(SCHEDULED, RUNNING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Gives up a task whose future has been put back; `true` obliges the caller to queue it again.
    pub(crate) fn suspend(&self) -> bool {
        if self.0.compare_exchange(RUNNING, IDLE, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
            return false;
        }
        // Not a store: it takes over what every waker has published so far.
        self.0.swap(SCHEDULED, Ordering::AcqRel);
        true
    }

    /// Takes the right to drop the future of a task that nobody polls.
    pub(crate) fn claim(&self) -> bool {
        let claim = |from| self.0.compare_exchange(from, DONE, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        claim(IDLE) || claim(SCHEDULED)
    }

    /// Makes a task that has ended, and that nobody else knows of, ready for another stage.
    pub(crate) fn restart(&self) {
        self.0.store(RUNNING, Ordering::Release);
    }

    /// Ends a task that the caller polls.
    pub(crate) fn finish(&self) {
        self.0.store(DONE, Ordering::Release);
    }
}

/// Lets helpers into a run until it closes, and tells when the last one has left.
#[derive(Debug)]
pub(crate) struct Gate(AtomicU32);

const CLOSED: u32 = 1 << 31;

impl Gate {
    pub(crate) fn open() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Comes in; `false` if the gate has closed.
    pub(crate) fn enter(&self) -> bool {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            if seen & CLOSED != 0 {
                return false;
            }
            match self.0.compare_exchange_weak(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// Goes out; `true` if the gate has closed and this was the last one.
    pub(crate) fn leave(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == CLOSED + 1
    }

    /// Closes; `true` if nobody is inside.
    pub(crate) fn close(&self) -> bool {
        self.0.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED == 0
    }
}

/// Counts down the undecided edges of a stage: whoever gets the last one starts the stage.
#[derive(Debug)]
pub(crate) struct Countdown(AtomicU32);

impl Countdown {
    pub(crate) fn new(edges: u32) -> Self {
        Self(AtomicU32::new(edges))
    }

    /// So many edges are decided; `true` if they were the last. Everything written before the other edges were
    /// decided is visible then.
    pub(crate) fn decide(&self, edges: u32) -> bool {
        self.0.fetch_sub(edges, Ordering::AcqRel) == edges
    }
}

/// Decided edges of one stage that a worker has not yet told: many workers counting down one stage one by one
/// would all wait for its cache line. Idle workers tell for the others.
#[derive(Debug)]
pub(crate) struct Held(AtomicU64);

impl Held {
    pub(crate) fn none() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Holds one more edge of `stage`. Gives back what was held of another stage, to be told.
    pub(crate) fn add(&self, stage: u32) -> Option<(u32, u32)> {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let (held, count) = unpack(seen);
            let same = count > 0 && held == stage;
            let next = if same { seen + 1 } else { u64::from(stage) << 32 | 1 };
            // In one order with the look at who would come for it.
            match self.0.compare_exchange_weak(seen, next, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return (!same && count > 0).then_some((held, count)),
                Err(now) => seen = now,
            }
        }
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        unpack(self.0.load(Ordering::SeqCst)).1 == 0
    }

    /// Takes what is held, to be told.
    pub(crate) fn take(&self) -> Option<(u32, u32)> {
        if self.is_empty() {
            return None;
        }
        let (stage, count) = unpack(self.0.swap(0, Ordering::AcqRel));
        (count > 0).then_some((stage, count))
    }
}

/// The stage in the high half, how many of its edges in the low half.
fn unpack(held: u64) -> (u32, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    ((held >> 32) as u32, held as u32)
}

/// The start of an attempt that has no event number yet. It gets one together with the end of its stage, or before that from
/// whoever emits something for the stage.
#[derive(Debug)]
pub(crate) struct Unnumbered(AtomicU8);

const NUMBERED: u8 = 0;
const WAITING: u8 = 1;
/// Somebody is about to number it.
const CLAIMED: u8 = 2;

impl Unnumbered {
    pub(crate) fn none() -> Self {
        Self(AtomicU8::new(NUMBERED))
    }

    /// An attempt starts; the last one has its number.
    #[inline]
    pub(crate) fn start(&self) {
        self.0.store(WAITING, Ordering::Release);
    }

    /// `true` obliges the caller to draw a number and say so. `false`: from here on everything gets a higher one.
    #[inline]
    pub(crate) fn claim(&self) -> bool {
        loop {
            match self.0.compare_exchange(WAITING, CLAIMED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(NUMBERED) => return false,
                Err(_) => super::sync::spin_loop(),
            }
        }
    }

    #[inline]
    pub(crate) fn numbered(&self) {
        self.0.store(NUMBERED, Ordering::Release);
    }
}
