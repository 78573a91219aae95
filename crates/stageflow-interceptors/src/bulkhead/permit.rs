//! Places of a bulkhead: the room they are in, those in its queue, and the permits of the calls that run.

use std::{fmt, sync::Arc};

use super::{
    Shared,
    sync::{AtomicUsize, Ordering, Semaphore, SemaphorePermit},
};
use crate::limit::Idle;

/// The places of one tenant, or of all.
pub(super) struct Room {
    name: Arc<str>,
    /// Fair, and never closed.
    pub(super) semaphore: Semaphore,
    max_concurrent: usize,
    pub(super) queued: AtomicUsize,
}

impl Room {
    pub(super) fn new(name: &Arc<str>, max_concurrent: usize) -> Self {
        let semaphore = Semaphore::new(max_concurrent);
        Self { name: Arc::clone(name), semaphore, max_concurrent, queued: AtomicUsize::new(0) }
    }

    /// How many permits are held here.
    pub(super) fn in_flight(&self) -> usize {
        self.max_concurrent.saturating_sub(self.semaphore.available_permits())
    }

    /// A permit of this room, taken from its semaphore.
    pub(super) fn permit(self: Arc<Self>) -> Option<BulkheadPermit> {
        self.semaphore.try_acquire().ok()?.forget();
        Some(BulkheadPermit(self))
    }

    /// The same for one that was waited for.
    pub(super) fn granted(self: &Arc<Self>, permit: SemaphorePermit<'_>) -> BulkheadPermit {
        permit.forget();
        BulkheadPermit(Arc::clone(self))
    }
}

impl Idle for Room {
    fn is_idle(&self, _now: u64) -> bool {
        self.in_flight() == 0 && self.queued.load(Ordering::Acquire) == 0
    }
}

/// A place in the queue; free again when dropped.
pub(super) struct Place<'a> {
    room: &'a Room,
    shared: &'a Shared,
}

impl<'a> Place<'a> {
    /// A place, if one is free.
    pub(super) fn take(room: &'a Room, shared: &'a Shared) -> Option<Self> {
        let more = |queued| (queued < shared.max_queue).then_some(queued + 1);
        room.queued.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        shared.queued.fetch_add(1, Ordering::AcqRel);
        Some(Self { room, shared })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.room.queued.fetch_sub(1, Ordering::AcqRel);
        self.shared.queued.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The right of one call to run; given back when dropped.
///
/// It keeps its room from being forgotten.
#[must_use = "the permit is given back when it is dropped"]
pub struct BulkheadPermit(Arc<Room>);

impl Drop for BulkheadPermit {
    fn drop(&mut self) {
        self.0.semaphore.add_permits(1);
    }
}

impl fmt::Debug for BulkheadPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadPermit").field("bulkhead", &self.0.name).finish_non_exhaustive()
    }
}
