//! The permits of a tenant's stages: a semaphore whose size changes while it is in use.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// At most so many stages of a tenant are in flight. Those who wait go in the order in which they came.
#[derive(Debug)]
pub(crate) struct StagePool {
    semaphore: Arc<Semaphore>,
    size: Mutex<Size>,
    in_flight: AtomicU32,
}

#[derive(Debug)]
struct Size {
    limit: u32,
    /// Permits that are out and will not come back, since the limit was lowered.
    debt: u32,
}

/// The right of a stage to be in flight; given back on drop.
#[derive(Debug)]
pub(crate) struct PoolPermit {
    pool: Arc<StagePool>,
    permit: Option<OwnedSemaphorePermit>,
}

impl StagePool {
    /// No limit at first.
    pub(crate) fn new() -> Self {
        Self {
            semaphore: Arc::new(Semaphore::new(u32::MAX as usize)),
            size: Mutex::new(Size { limit: u32::MAX, debt: 0 }),
            in_flight: AtomicU32::new(0),
        }
    }

    /// Changes the limit. Those above a lower one stay in, and nobody comes in until they have left.
    pub(crate) fn resize(&self, limit: Option<u32>) {
        let limit = limit.unwrap_or(u32::MAX);
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        if limit < size.limit {
            let less = size.limit - limit;
            let gone = u32::try_from(self.semaphore.forget_permits(less as usize)).unwrap_or(less);
            size.debt += less - gone;
        } else {
            let more = limit - size.limit;
            let kept = more.min(size.debt);
            size.debt -= kept;
            self.semaphore.add_permits((more - kept) as usize);
        }
        size.limit = limit;
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A permit, if there is one.
    pub(crate) fn try_acquire(self: &Arc<Self>) -> Option<PoolPermit> {
        match Arc::clone(&self.semaphore).try_acquire_owned() {
            Ok(permit) => Some(self.given(permit)),
            // It is never closed.
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => None,
        }
    }

    /// Waits for a permit.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Option<PoolPermit> {
        Arc::clone(&self.semaphore).acquire_owned().await.ok().map(|permit| self.given(permit))
    }

    fn given(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> PoolPermit {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        PoolPermit { pool: Arc::clone(self), permit: Some(permit) }
    }
}

impl Drop for PoolPermit {
    fn drop(&mut self) {
        self.pool.in_flight.fetch_sub(1, Ordering::Relaxed);
        let Some(permit) = self.permit.take() else { return };
        let mut size = self.pool.size.lock().unwrap_or_else(PoisonError::into_inner);
        if size.debt > 0 {
            size.debt -= 1;
            permit.forget();
            return;
        }
        // Under the lock, or a limit that is lowered meanwhile would wait for one that is back already.
        let woken = permit;
        drop(woken);
    }
}
