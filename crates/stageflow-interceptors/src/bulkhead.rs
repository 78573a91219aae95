//! [`Bulkhead`]: so many calls of one dependency at a time, and a bounded queue before it.
//!
//! A dependency that hangs takes no more than its own share of the calls with it: Nygard, *Release It!* (2nd ed. 2018), §5.
//! The places are those of a fair semaphore, and the queue is its queue; what is added is the bound and the time.

mod builder;
mod error;
mod intercept;
mod permit;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::timeout;

pub use self::{builder::BulkheadBuilder, error::BulkheadFull, permit::BulkheadPermit};

use self::permit::{Place, Room};
use crate::limit::{Keyed, WhenFull};

/// Lets so many calls of a dependency run at a time, and so many wait.
///
/// It is an interceptor in [`Layer::Limit`](stageflow_core::Layer::Limit), for each attempt of its own, and as well a plain
/// object for code that is no stage. Clones share the places.
///
/// # Guarantees
///
/// - No more than `max_concurrent` calls hold a permit at any moment, for each tenant if so asked.
/// - No more than `max_queue` wait, in the order in which they came; a call without a place in the queue is refused at once.
/// - A permit is given back on every path, unwinding included; who stops to wait frees its place at once.
/// - It knows at most `max_keys` tenants. While all of them are in use the others share one more bulkhead of the same size.
///
/// # Limits
///
/// The figures are those of one process. A stage that waits for its child run keeps its permit meanwhile: a bulkhead stands around
/// the stages that call the dependency, not around the pipelines that hold them, or these wait for themselves. The permit ends with
/// the attempt: blocking work that a dropped attempt leaves on a thread is not counted any more.
///
/// ```
/// use stageflow_core::DurationExt;
/// use stageflow_interceptors::Bulkhead;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let database = Bulkhead::builder("database")
///     .max_concurrent(1)
///     .max_queue(100)
///     .queue_timeout(2.secs())
///     .build()?;
///
/// let permit = database.acquire(None).await?;
/// assert_eq!((database.in_flight(), database.queued()), (1, 0));
/// assert!(database.try_acquire(None).is_err());
/// drop(permit);
/// assert!(database.try_acquire(None).is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bulkhead(Arc<Shared>);

/// What clones and permits share.
struct Shared {
    name: Arc<str>,
    max_concurrent: usize,
    max_queue: usize,
    queue_timeout: Option<Duration>,
    per_tenant: bool,
    when_full: WhenFull,
    rooms: Keyed<Room>,
    /// Over all rooms.
    queued: AtomicUsize,
}

/// What `permit` uses, so that `tests/model` can run it under a model checker.
mod sync {
    pub(super) use std::sync::atomic::{AtomicUsize, Ordering};
    pub(super) use tokio::sync::{Semaphore, SemaphorePermit};
}

impl Bulkhead {
    /// A bulkhead before the dependency `name`, to be furnished.
    pub fn builder(name: impl Into<Arc<str>>) -> BulkheadBuilder {
        BulkheadBuilder::new(name.into())
    }

    /// The name of the dependency.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How many permits are held, over all tenants.
    pub fn in_flight(&self) -> usize {
        self.0.rooms.sum(Room::in_flight)
    }

    /// How many calls wait, over all tenants.
    pub fn queued(&self) -> usize {
        self.0.queued.load(Ordering::Acquire)
    }

    /// How many tenants are known at the moment.
    pub fn keys(&self) -> usize {
        self.0.rooms.len()
    }

    /// Takes a permit if there is one and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`BulkheadFull`] if there is none.
    pub fn try_acquire(&self, tenant: Option<&str>) -> Result<BulkheadPermit, BulkheadFull> {
        self.room(tenant).permit().ok_or_else(|| BulkheadFull::no_room(&self.0))
    }

    /// Waits for a permit, at most for the queue timeout.
    ///
    /// # Errors
    ///
    /// [`BulkheadFull`] if the queue is full, or the wait took too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future frees the place in the queue.
    pub async fn acquire(&self, tenant: Option<&str>) -> Result<BulkheadPermit, BulkheadFull> {
        self.acquire_within(tenant, Duration::MAX).await
    }

    /// Waits for a permit, at most for the queue timeout and at most for `within`.
    ///
    /// # Errors
    ///
    /// [`BulkheadFull`] if the queue is full, or the wait took too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future frees the place in the queue.
    pub async fn acquire_within(
        &self,
        tenant: Option<&str>,
        within: Duration,
    ) -> Result<BulkheadPermit, BulkheadFull> {
        let room = self.room(tenant);
        if let Some(permit) = Arc::clone(&room).permit() {
            return Ok(permit);
        }
        let within = self.0.queue_timeout.map_or(within, |timeout| timeout.min(within));
        let place = Place::take(&room, &self.0).ok_or_else(|| BulkheadFull::no_room(&self.0))?;
        let turn = room.semaphore.acquire();
        let permit = if within == Duration::MAX {
            turn.await.ok()
        } else {
            timeout(within, turn).await.ok().and_then(Result::ok)
        };
        drop(place);
        match permit {
            Some(permit) => Ok(room.granted(permit)),
            None => Err(BulkheadFull::waited(&self.0, within)),
        }
    }

    fn room(&self, tenant: Option<&str>) -> Arc<Room> {
        let key = self.0.per_tenant.then(|| tenant.unwrap_or_default());
        self.0.rooms.get(key, 0)
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("name", &self.0.name)
            .field("in_flight", &self.in_flight())
            .field("queued", &self.queued())
            .finish_non_exhaustive()
    }
}
