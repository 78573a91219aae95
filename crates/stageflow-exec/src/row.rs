//! Many stages that became ready at once: claimed one by one instead of queued one by one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use stageflow_dag::plan::Plan;

/// From this length on, a list of stages that became ready together is worth a row.
pub(crate) const MIN_ROW: usize = 16;

/// From this length on, a thief takes half of a row for itself instead of a place at it.
const MIN_SPLIT: u32 = 64;

/// The source of the row of roots.
pub(crate) const ROOTS: u32 = u32::MAX;

/// A part of a plan's list of stages that became ready together: the successors of one stage, or the roots.
///
/// Any worker can claim from it at any time, so its stages are as open to thieves as those in a deque. Roots are never
/// split: whoever claims, they start in declaration order (S-4).
#[derive(Debug)]
pub(crate) struct Row {
    source: u32,
    /// The next position in the low half, the end in the high half.
    range: AtomicU64,
    /// When the stages became ready, in nanoseconds of the run.
    pub(crate) ready: u64,
    pub(crate) key: usize,
    closed: AtomicBool,
}

fn unpack(range: u64) -> (u32, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    (range as u32, (range >> 32) as u32)
}

impl Row {
    pub(crate) fn new(source: u32, from: u32, to: u32, ready: u64, key: usize) -> Self {
        let range = AtomicU64::new(u64::from(to) << 32 | u64::from(from));
        Self { source, range, ready, key, closed: AtomicBool::new(false) }
    }

    /// The next stage, if one is left.
    #[inline]
    pub(crate) fn claim(&self, plan: &Plan) -> Option<u32> {
        // Claims past the end are harmless: each worker makes one and lets go of the row.
        let (next, end) = unpack(self.range.fetch_add(1, Ordering::AcqRel));
        (next < end).then(|| self.stages(plan)[next as usize])
    }

    pub(crate) fn is_empty(&self) -> bool {
        let (next, end) = unpack(self.range.load(Ordering::SeqCst));
        next >= end
    }

    /// Gives the second half away, if it is worth it: its source and its range.
    pub(crate) fn split(&self) -> Option<(u32, u32, u32)> {
        let mut seen = self.range.load(Ordering::Acquire);
        loop {
            let (next, end) = unpack(seen);
            if self.source == ROOTS || end.saturating_sub(next) < MIN_SPLIT {
                return None;
            }
            let middle = next + (end - next) / 2;
            let kept = u64::from(middle) << 32 | u64::from(next);
            match self.range.compare_exchange_weak(seen, kept, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some((self.source, middle, end)),
                Err(now) => seen = now,
            }
        }
    }

    /// Closes it; `true` for the first to do so.
    pub(crate) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    fn stages<'p>(&self, plan: &'p Plan) -> &'p [u32] {
        if self.source == ROOTS { plan.roots() } else { plan.successors(self.source) }
    }
}
