//! What a rate limiter is furnished with.

use std::{fmt, sync::Arc, time::Duration};

use stageflow_core::{StageResult, Value, text::OneLine, time::nanos};
use tokio::time::Instant;

use super::{
    RateCall, RateHeaders, RateLimiter, Shared,
    bucket::Bucket,
    gcra::Quota,
    intercept::{Actual, Cost, Hooks, Learned},
};
use crate::{
    clock::since_epoch,
    limit::{Keyed, LimitBuildError, WhenFull},
};

/// A [`RateLimiter`] to be furnished: made by [`RateLimiter::builder`].
#[must_use = "a rate limiter is made by `build`"]
pub struct RateLimiterBuilder {
    name: Arc<str>,
    dimensions: Vec<(Arc<str>, Quota)>,
    costs: Vec<(String, Cost)>,
    actuals: Vec<(String, Actual)>,
    learned: Vec<(String, Learned)>,
    per_tenant: bool,
    max_keys: usize,
    max_queue: usize,
    max_wait: Option<Duration>,
    when_full: WhenFull,
}

impl RateLimiterBuilder {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            dimensions: Vec::new(),
            costs: Vec::new(),
            actuals: Vec::new(),
            learned: Vec::new(),
            per_tenant: false,
            max_keys: 10_000,
            max_queue: 1_000,
            max_wait: None,
            when_full: WhenFull::Wait,
        }
    }

    /// Adds a dimension: so much cost per period, and at most `burst` at once after it was not used for a while.
    ///
    /// Any span as long as the period sees at most `limit + burst`. Before a provider that counts by the minute, choose them so that the
    /// sum stays within what it allows.
    pub fn dimension(mut self, name: impl Into<Arc<str>>, limit: u64, period: Duration, burst: u64) -> Self {
        self.dimensions.push((name.into(), Quota { limit, period: nanos(period), burst }));
        self
    }

    /// What an attempt costs in a dimension, estimated before it begins; 1 unless set.
    pub fn cost(
        mut self,
        dimension: impl Into<String>,
        cost: impl Fn(&RateCall<'_>) -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.costs.push((dimension.into(), Arc::new(cost)));
        self
    }

    /// What an attempt has really cost in a dimension, found in its result; `None` if the result does not say, and
    /// the estimate stays.
    pub fn actual(
        mut self,
        dimension: impl Into<String>,
        actual: impl Fn(&StageResult<Value>) -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        self.actuals.push((dimension.into(), Arc::new(actual)));
        self
    }

    /// What the result of an attempt says about the quota of a dimension: see [`RateLimiter::learn`].
    pub fn learned(
        mut self,
        dimension: impl Into<String>,
        learned: impl Fn(&StageResult<Value>) -> RateHeaders + Send + Sync + 'static,
    ) -> Self {
        self.learned.push((dimension.into(), Arc::new(learned)));
        self
    }

    /// Whether each tenant has a quota of its own; all share one unless set. Calls without a tenant are one.
    pub fn per_tenant(mut self, per_tenant: bool) -> Self {
        self.per_tenant = per_tenant;
        self
    }

    /// How many tenants are known at a time; 10,000 unless set.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// How many calls of one tenant may wait; 1,000 unless set.
    pub fn max_queue(mut self, calls: u32) -> Self {
        self.max_queue = calls as usize;
        self
    }

    /// The wait of a call has to be shorter than this, and than its
    /// [`slack`](stageflow_core::StageContext::slack) in any case.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// What happens to a call for which there is no room right now; [`WhenFull::Wait`] unless set.
    pub fn when_full(mut self, what: WhenFull) -> Self {
        self.when_full = what;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// [`LimitBuildError`] without a dimension, with one that is there twice or could let nothing through, with a function for one
    /// that is not there, and if no tenant could be known.
    pub fn build(self) -> Result<RateLimiter, LimitBuildError> {
        LimitBuildError::check(&self.name, self.problems())?;
        let (dimensions, quotas): (Vec<_>, Vec<_>) = self.dimensions.into_iter().unzip();
        let hooks = Hooks {
            costs: dimensions.iter().map(|name| find(&self.costs, name)).collect(),
            actuals: dimensions.iter().map(|name| find(&self.actuals, name)).collect(),
            learned: dimensions.iter().map(|name| find(&self.learned, name)).collect(),
            look_at_results: !self.actuals.is_empty() || !self.learned.is_empty(),
        };
        let quotas: Arc<[Quota]> = quotas.into();
        let origin = Instant::now();
        let of_bucket = Arc::clone(&quotas);
        Ok(RateLimiter(Arc::new(Shared {
            name: self.name,
            dimensions: dimensions.into(),
            quotas,
            per_tenant: self.per_tenant,
            max_queue: self.max_queue,
            max_wait: self.max_wait,
            when_full: self.when_full,
            hooks,
            buckets: Keyed::new(self.max_keys, move || Bucket::new(Arc::clone(&of_bucket))),
            origin,
            began: since_epoch(origin),
        })))
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.dimensions.is_empty() {
            problems.push("it has no dimension, and would limit nothing".to_owned());
        }
        if self.max_keys == 0 {
            problems.push("`max_keys` is 0, and no tenant could be known".to_owned());
        }
        for (index, (name, Quota { limit, period, burst })) in self.dimensions.iter().enumerate() {
            let name = OneLine(name);
            if self.dimensions[..index].iter().any(|(earlier, _)| earlier == name.0) {
                problems.push(format!("the dimension `{name}` is there twice"));
            }
            for (what, value) in [("limit", limit), ("period", period), ("burst", burst)] {
                if *value == 0 {
                    problems.push(format!("the {what} of the dimension `{name}` is 0"));
                }
            }
        }
        let costs = self.costs.iter().map(|(name, _)| ("cost", name));
        let actuals = self.actuals.iter().map(|(name, _)| ("actual", name));
        let learned = self.learned.iter().map(|(name, _)| ("learned", name));
        for (what, name) in costs.chain(actuals).chain(learned) {
            if !self.dimensions.iter().any(|(known, _)| **known == **name) {
                problems.push(format!("`{what}` is given for `{}`, which is no dimension", OneLine(name)));
            }
        }
        problems
    }
}

/// The function of a dimension: the last one given.
fn find<F: Clone>(all: &[(String, F)], dimension: &str) -> Option<F> {
    all.iter().rev().find(|(name, _)| name == dimension).map(|(_, function)| function.clone())
}

impl fmt::Debug for RateLimiterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiterBuilder")
            .field("name", &self.name)
            .field("dimensions", &self.dimensions)
            .finish_non_exhaustive()
    }
}
