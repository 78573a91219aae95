//! What a bulkhead is furnished with.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use tokio::sync::Semaphore;

use super::{Bulkhead, Shared, permit::Room};
use crate::limit::{Keyed, LimitBuildError, WhenFull};

/// A [`Bulkhead`] to be furnished: made by [`Bulkhead::builder`].
#[derive(Clone, Debug)]
#[must_use = "a bulkhead is made by `build`"]
pub struct BulkheadBuilder {
    name: Arc<str>,
    max_concurrent: u32,
    max_queue: u32,
    queue_timeout: Option<Duration>,
    per_tenant: bool,
    max_keys: usize,
    when_full: WhenFull,
}

impl BulkheadBuilder {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            max_concurrent: 25,
            max_queue: 100,
            queue_timeout: None,
            per_tenant: false,
            max_keys: 10_000,
            when_full: WhenFull::Wait,
        }
    }

    /// How many calls may run at a time; 25 unless set.
    pub fn max_concurrent(mut self, calls: u32) -> Self {
        self.max_concurrent = calls;
        self
    }

    /// How many calls may wait; 100 unless set. With 0 none does.
    pub fn max_queue(mut self, calls: u32) -> Self {
        self.max_queue = calls;
        self
    }

    /// How long a call may wait; as long as its [`slack`](stageflow_core::StageContext::slack) unless set, and never
    /// longer.
    pub fn queue_timeout(mut self, timeout: Duration) -> Self {
        self.queue_timeout = Some(timeout);
        self
    }

    /// Whether each tenant has places and a queue of its own; all share them unless set. Calls without a tenant are one.
    pub fn per_tenant(mut self, per_tenant: bool) -> Self {
        self.per_tenant = per_tenant;
        self
    }

    /// How many tenants are known at a time; 10,000 unless set.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// What happens to a call without a permit; [`WhenFull::Wait`] unless set.
    pub fn when_full(mut self, what: WhenFull) -> Self {
        self.when_full = what;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// [`LimitBuildError`] if no call could ever run, or no tenant be known.
    pub fn build(self) -> Result<Bulkhead, LimitBuildError> {
        let mut problems = Vec::new();
        if self.max_concurrent == 0 {
            problems.push("`max_concurrent` is 0, and no call could run".to_owned());
        }
        if self.max_keys == 0 {
            problems.push("`max_keys` is 0, and no tenant could be known".to_owned());
        }
        LimitBuildError::check(&self.name, problems)?;
        let max_concurrent = (self.max_concurrent as usize).min(Semaphore::MAX_PERMITS);
        let name = Arc::clone(&self.name);
        Ok(Bulkhead(Arc::new(Shared {
            name: self.name,
            max_concurrent,
            max_queue: self.max_queue as usize,
            queue_timeout: self.queue_timeout,
            per_tenant: self.per_tenant,
            when_full: self.when_full,
            rooms: Keyed::new(self.max_keys, move || Room::new(&name, max_concurrent)),
            queued: AtomicUsize::new(0),
        })))
    }
}
