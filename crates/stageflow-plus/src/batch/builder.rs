//! What a batcher is furnished with.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use stageflow_core::{Code, code, text::OneLine, time::nanos};

use super::{
    Batcher,
    hub::{Handler, Hub, Weigh},
    queue::Rules,
};

/// A [`Batcher`] to be furnished: made by [`Batcher::builder`].
#[must_use = "a batcher is made by `build`"]
pub struct BatcherBuilder<I, O> {
    name: Arc<str>,
    handler: Handler<I, O>,
    weigh: Option<Weigh<I>>,
    max_size: usize,
    max_wait: Duration,
    max_queue: usize,
    tenant_queue: Option<usize>,
    max_in_flight: Option<usize>,
    max_weight: Option<u64>,
    across_tenants: bool,
    call_timeout: Option<Duration>,
}

impl<I, O> BatcherBuilder<I, O> {
    pub(super) fn new(name: Arc<str>, handler: Handler<I, O>) -> Self {
        Self {
            name,
            handler,
            weigh: None,
            max_size: 32,
            max_wait: Duration::from_millis(5),
            max_queue: 1_024,
            tenant_queue: None,
            max_in_flight: None,
            max_weight: None,
            across_tenants: false,
            call_timeout: None,
        }
    }

    /// How many items a batch may have; 32 unless set.
    pub fn max_size(mut self, items: usize) -> Self {
        self.max_size = items;
        self
    }

    /// How heavy a batch may be, and what an item weighs: tokens, bytes. Unless set the number of items alone counts, and each
    /// weighs 1. An item that weighs more than a batch may goes alone.
    pub fn max_weight(mut self, weight: u64, weigh: impl Fn(&I) -> u64 + Send + Sync + 'static) -> Self {
        self.max_weight = Some(weight);
        self.weigh = Some(Box::new(weigh));
        self
    }

    /// How long an item may wait for others to come; 5 ms unless set. With zero a batch has what has come while others were on
    /// their way, under [`max_in_flight`](Self::max_in_flight).
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// How many items may wait; 1,024 unless set. Those of batches that are being called do not count.
    pub fn max_queue(mut self, items: usize) -> Self {
        self.max_queue = items;
        self
    }

    /// How many items of one tenant may wait; half of `max_queue` unless set, and all of it where batches mix tenants.
    pub fn tenant_queue(mut self, items: usize) -> Self {
        self.tenant_queue = Some(items);
        self
    }

    /// How many batches may be called at a time; as many as there are unless set. A call that hangs is in the way of others then,
    /// until its [`call_timeout`](Self::call_timeout) or until its last caller has left.
    pub fn max_in_flight(mut self, batches: usize) -> Self {
        self.max_in_flight = Some(batches);
        self
    }

    /// How long a call may take: then its callers fail with `ATTEMPT_TIMEOUT`. As long as its callers wait unless set.
    pub fn call_timeout(mut self, time: Duration) -> Self {
        self.call_timeout = Some(time);
        self
    }

    /// Puts items of several tenants into one batch. Without a call they never meet.
    pub fn across_tenants(mut self) -> Self {
        self.across_tenants = true;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// [`BatcherError`] if no item could ever be answered.
    pub fn build(self) -> Result<Batcher<I, O>, BatcherError> {
        let share = if self.across_tenants { self.max_queue } else { self.max_queue.div_ceil(2) };
        let tenant_queue = self.tenant_queue.unwrap_or(share);
        let problems: Vec<_> = [
            (self.max_size == 0, "`max_size` is 0, and no batch could have an item"),
            (self.max_weight == Some(0), "`max_weight` is 0, and no batch could have an item"),
            (self.max_queue == 0, "`max_queue` is 0, and no item could come"),
            (self.tenant_queue == Some(0), "`tenant_queue` is 0, and no item could come"),
            (self.max_in_flight == Some(0), "`max_in_flight` is 0, and no batch could go"),
            (self.call_timeout == Some(Duration::ZERO), "`call_timeout` is 0, and no call could end in time"),
        ]
        .into_iter()
        .filter_map(|(is_wrong, problem)| is_wrong.then_some(problem))
        .collect();
        if !problems.is_empty() {
            return Err(BatcherError { batcher: self.name, problems });
        }
        let rules = Rules {
            max_size: self.max_size,
            max_weight: self.max_weight,
            max_wait: nanos(self.max_wait),
            max_queue: self.max_queue,
            tenant_queue,
            max_in_flight: self.max_in_flight.unwrap_or(usize::MAX),
        };
        let settings = (rules, self.across_tenants, self.call_timeout);
        Ok(Batcher(Arc::new(Hub::new(self.name, settings, self.weigh, self.handler))))
    }
}

impl<I, O> fmt::Debug for BatcherBuilder<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatcherBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A batcher cannot be built. Lists every problem, not only the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatcherError {
    batcher: Arc<str>,
    problems: Vec<&'static str>,
}

impl BatcherError {
    /// The name of the batcher.
    pub fn batcher(&self) -> &str {
        &self.batcher
    }

    /// Every problem; never empty.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().copied()
    }

    /// The code: `INVALID_POLICY`.
    pub fn code(&self) -> Code {
        code::INVALID_POLICY
    }
}

impl fmt::Display for BatcherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the batcher `{}` cannot be built: {}", OneLine(&self.batcher), self.problems.join("; "))
    }
}

impl Error for BatcherError {}
