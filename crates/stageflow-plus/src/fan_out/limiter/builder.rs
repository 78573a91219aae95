//! What a limiter is furnished with.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use stageflow_core::{Code, code, text::OneLine};

use super::{FanOutLimiter, Overflow, QueueOrder, Shared, gate::Gate, nested::Maps, state::Limits};

/// A [`FanOutLimiter`] to be furnished: made by [`FanOutLimiter::builder`].
#[derive(Clone, Debug)]
#[must_use = "a limiter is made by `build`"]
pub struct FanOutLimiterBuilder {
    name: Arc<str>,
    limits: Limits,
    queue_timeout: Option<Duration>,
}

impl FanOutLimiterBuilder {
    pub(super) fn new(name: Arc<str>) -> Self {
        let limits = Limits {
            limit: super::super::DEFAULT_LIMIT,
            key_limit: None,
            max_queue: 1_024,
            overflow: Overflow::Wait,
            order: QueueOrder::Fifo,
            ramp_from: None,
        };
        Self { name, limits, queue_timeout: None }
    }

    /// How many may go at a time; 64 unless set.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limits.limit = limit;
        self
    }

    /// How many may go at a time for each key; as many as the limit lets unless set.
    pub fn key_limit(mut self, limit: usize) -> Self {
        self.limits.key_limit = Some(limit);
        self
    }

    /// How many may wait; 1,024 unless set. With [`Overflow::Wait`] it bounds how many items a map reads ahead, and nothing else.
    pub fn max_queue(mut self, places: usize) -> Self {
        self.limits.max_queue = places;
        self
    }

    /// What becomes of one who comes when the queue is full; [`Overflow::Wait`] unless set.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.limits.overflow = overflow;
        self
    }

    /// How long one may wait; as long as they like unless set. In a map, never longer than the
    /// [`slack`](stageflow_core::StageContext::slack) of its stage.
    pub fn queue_timeout(mut self, timeout: Duration) -> Self {
        self.queue_timeout = Some(timeout);
        self
    }

    /// Who goes next; [`QueueOrder::Fifo`] unless set.
    pub fn order(mut self, order: QueueOrder) -> Self {
        self.limits.order = order;
        self
    }

    /// Begins with so many at a time, and doubles that each time as many have ended, up to the limit: what is behind it warms up.
    /// Without a call, all may go at once.
    pub fn ramp_from(mut self, permits: usize) -> Self {
        self.limits.ramp_from = Some(permits);
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// [`FanOutLimiterError`] if nobody could ever go.
    pub fn build(self) -> Result<FanOutLimiter, FanOutLimiterError> {
        let mut problems = Vec::new();
        if self.limits.limit == 0 {
            problems.push("`limit` is 0, and nobody could go");
        }
        if self.limits.key_limit == Some(0) {
            problems.push("`key_limit` is 0, and nobody with a key could go");
        }
        if self.limits.ramp_from == Some(0) {
            problems.push("`ramp_from` is 0, and nobody could go first");
        }
        if !problems.is_empty() {
            return Err(FanOutLimiterError { limiter: self.name, problems });
        }
        Ok(FanOutLimiter(Arc::new(Shared {
            name: self.name,
            queue_timeout: self.queue_timeout,
            overflow: self.limits.overflow,
            max_queue: self.limits.max_queue,
            order: self.limits.order,
            gate: Gate::new(self.limits),
            maps: Maps::default(),
        })))
    }
}

/// A limiter cannot be built. Lists every problem, not only the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FanOutLimiterError {
    limiter: Arc<str>,
    problems: Vec<&'static str>,
}

impl FanOutLimiterError {
    /// The name of the limiter.
    pub fn limiter(&self) -> &str {
        &self.limiter
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

impl fmt::Display for FanOutLimiterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the limiter `{}` cannot be built: {}", OneLine(&self.limiter), self.problems.join("; "))
    }
}

impl Error for FanOutLimiterError {}
