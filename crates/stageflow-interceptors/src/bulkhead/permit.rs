//! Places of a bulkhead: the room they are in, those in its queue, and the permits of the calls that run.

use std::{fmt, sync::Arc};

use super::{
    Shared,
    sync::{AtomicUsize, Ordering, OwnedSemaphorePermit, Semaphore},
};
use crate::limit::Idle;

/// The places of one tenant, or of all.
pub(super) struct Room {
    /// Fair, and never closed.
    pub(super) semaphore: Arc<Semaphore>,
    pub(super) max_concurrent: usize,
    pub(super) queued: AtomicUsize,
}

impl Idle for Room {
    fn is_idle(&self, _now: u64) -> bool {
        self.semaphore.available_permits() == self.max_concurrent && self.queued.load(Ordering::Acquire) == 0
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
#[must_use = "the permit is given back when it is dropped"]
pub struct BulkheadPermit {
    // Given back before the room may be forgotten.
    _permit: OwnedSemaphorePermit,
    _room: Arc<Room>,
    shared: Arc<Shared>,
}

impl BulkheadPermit {
    pub(super) fn new(permit: OwnedSemaphorePermit, room: Arc<Room>, shared: Arc<Shared>) -> Self {
        shared.in_flight.fetch_add(1, Ordering::AcqRel);
        Self { _permit: permit, _room: room, shared }
    }
}

impl Drop for BulkheadPermit {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for BulkheadPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadPermit").field("bulkhead", &self.shared.name).finish_non_exhaustive()
    }
}
