//! Where outputs wait for their readers.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use stageflow_core::Value;
use stageflow_dag::plan::{INPUT, Plan};

/// The outputs of a run and its input.
#[derive(Debug)]
pub(crate) enum Outputs {
    /// Everything stays to the end: written once, read without a lock.
    Kept { input: Value, slots: Box<[OnceLock<Value>]> },
    /// Values leave with their last reader.
    Counted { input: Counted, slots: Box<[Counted]>, for_report: u32 },
}

/// A value and how many will still read it.
#[derive(Debug)]
pub(crate) struct Counted {
    value: Mutex<Option<Value>>,
    readers: AtomicU32,
}

impl Counted {
    fn new(value: Option<Value>, readers: u32) -> Self {
        Self { value: Mutex::new(value), readers: AtomicU32::new(readers) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Value>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outputs {
    /// Empty slots for a run. With `keep_all`, a value leaves early only where its last reader owns it.
    pub(crate) fn new(plan: &Plan, input: Value, keep_all: bool) -> Self {
        if keep_all && !plan.has_owned_edges() {
            return Self::Kept { input, slots: (0..plan.len()).map(|_| OnceLock::new()).collect() };
        }
        // In a run that keeps everything each value has one reader more: the report.
        let for_report = u32::from(keep_all);
        let count = u32::try_from(plan.len()).unwrap_or(u32::MAX);
        Self::Counted {
            input: Counted::new(Some(input), plan.input_readers() + for_report),
            slots: (0..count).map(|i| Counted::new(None, plan.readers(i) + for_report)).collect(),
            for_report,
        }
    }

    /// Whether readers are counted: then each edge has to be released once.
    pub(crate) fn is_counted(&self) -> bool {
        matches!(self, Self::Counted { .. })
    }

    /// Stores the output of a stage.
    ///
    /// A unit is not stored: it can be made anew for whoever reads it.
    #[inline]
    pub(crate) fn put(&self, stage: u32, value: Value) {
        if value.is_unit() {
            return;
        }
        match self {
            Self::Kept { slots, .. } => {
                let stored = slots[stage as usize].set(value);
                debug_assert!(stored.is_ok(), "a stage completes once");
            }
            Self::Counted { slots, .. } => {
                let slot = &slots[stage as usize];
                *slot.lock() = Some(value);
                // Readers that will never come may have released it before it was there.
                if slot.readers.load(Ordering::SeqCst) == 0 {
                    let unread = slot.lock().take();
                    discard(unread);
                }
            }
        }
    }

    /// A share of the output of a stage, or of the input.
    pub(crate) fn get(&self, source: u32) -> Option<Value> {
        match self {
            Self::Kept { input, .. } if source == INPUT => Some(input.clone()),
            Self::Kept { slots, .. } => slots[source as usize].get().cloned(),
            Self::Counted { .. } => self.counted(source)?.lock().clone(),
        }
    }

    /// One reader of a source has what it needs, or will never need it. The value leaves with the last one.
    pub(crate) fn release(&self, source: u32) {
        if let Some(slot) = self.counted(source)
            && slot.readers.fetch_sub(1, Ordering::SeqCst) == 1
        {
            // Dropped after the lock: it is the user's code.
            let last = slot.lock().take();
            discard(last);
        }
    }

    /// A reader owns what it read: if only the report is left, the report goes without.
    pub(crate) fn release_to_owner(&self, source: u32) {
        if let (Some(slot), Self::Counted { for_report, .. }) = (self.counted(source), self) {
            let left = slot.readers.fetch_sub(1, Ordering::SeqCst) - 1;
            if left == *for_report {
                let last = slot.lock().take();
                discard(last);
            }
        }
    }

    fn counted(&self, source: u32) -> Option<&Counted> {
        match self {
            Self::Kept { .. } => None,
            Self::Counted { input, .. } if source == INPUT => Some(input),
            Self::Counted { slots, .. } => slots.get(source as usize),
        }
    }
}

/// Drops a value that nobody reads any more. It is the user's code: its panic is no failure of whichever stage comes by (S-9).
pub(crate) fn discard(value: Option<Value>) {
    let _panicked = catch_unwind(AssertUnwindSafe(|| drop(value)));
}
