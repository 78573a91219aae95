//! The rate limiter around the attempts of a stage.

use std::{any::Any, ops::Deref, sync::Arc, time::Duration};

use stageflow_core::{
    Call, FieldValue, Interceptor, Layer, Next, PolicyFacts, PolicyId, RateDimension, RateLimitFacts,
    StageExit, StageResult, TenantId, Value, WaitReason, intercept::Placement, time::nanos,
};

use super::{
    RateError, RateHeaders, RateLimiter, Shared,
    bucket::Costs,
    charge::Charge,
    request::{NotAtOnce, Place},
};
use crate::limit::WhenFull;

/// Estimates a cost.
pub(super) type Cost = Arc<dyn Fn(&RateCall<'_>) -> u64 + Send + Sync>;
/// Finds a cost in a result.
pub(super) type Actual = Arc<dyn Fn(&StageResult<Value>) -> Option<u64> + Send + Sync>;
/// Finds in a result what it says about the quota.
pub(super) type Learned = Arc<dyn Fn(&StageResult<Value>) -> RateHeaders + Send + Sync>;

/// The functions of the user, by dimension.
pub(super) struct Hooks {
    pub(super) costs: Box<[Option<Cost>]>,
    pub(super) actuals: Box<[Option<Actual>]>,
    pub(super) learned: Box<[Option<Learned>]>,
    /// Whether something is to be found in results.
    pub(super) look_at_results: bool,
}

/// The call whose cost is to be estimated: a [`Call`] with its inputs.
#[derive(Debug)]
pub struct RateCall<'a> {
    call: &'a Call,
    next: &'a Next<'a>,
}

impl RateCall<'_> {
    /// The input at `index`, if it is a `T` and no attempt has taken it.
    pub fn input<T: Any + Send + Sync>(&self, index: usize) -> Option<Arc<T>> {
        self.next.input(index)
    }
}

impl Deref for RateCall<'_> {
    type Target = Call;

    fn deref(&self) -> &Call {
        self.call
    }
}

/// The charge of an attempt that may not have begun: if it never does, the charge is given back.
struct Unbegun<'a> {
    shared: &'a Shared,
    charge: Charge<'a>,
    call: &'a Call,
    attempts: u32,
}

impl Drop for Unbegun<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.call.attempts() == self.attempts {
            self.charge.give_all_back(self.shared);
        }
    }
}

impl RateLimiter {
    /// A call comes: it takes its costs, or waits for them in a queue.
    #[inline]
    fn arrive(&self, call: &Call, next: &Next<'_>) -> Result<Charge<'_>, Box<NotAtOnce>> {
        let shared = &self.0;
        let ctx = call.context();
        let tenant = if shared.per_tenant { tenant(call) } else { None };
        let of = RateCall { call, next };
        let cost = |cost: &Option<Cost>| cost.as_ref().map_or(1, |cost| cost(&of));
        let (one, many): ([u64; 1], Costs);
        // Most limiters have one dimension.
        let costs: &[u64] = match &*shared.hooks.costs {
            [only] => {
                one = [cost(only)];
                &one
            }
            all => {
                many = all.iter().map(cost).collect();
                &many
            }
        };
        let within = || match shared.when_full {
            WhenFull::Wait => {
                [shared.max_wait, ctx.slack()].into_iter().flatten().min().unwrap_or(Duration::MAX)
            }
            WhenFull::Reject | WhenFull::Skip => Duration::ZERO,
        };
        shared.admit(tenant, costs, within, shared.now_in(ctx))
    }

    /// Waits, or says no.
    async fn later(&self, call: &Call, not_at_once: NotAtOnce) -> StageResult<Charge<'static>> {
        let admitted = match not_at_once {
            NotAtOnce::Queued(place) => self.wait(call, place).await,
            NotAtOnce::Refused(error) => Err(error),
        };
        admitted.map_err(|error| self.reject(call, error))
    }

    /// Waits for its turn, and `explain()` shows it.
    async fn wait(&self, call: &Call, place: Place) -> Result<Charge<'static>, RateError> {
        let ctx = call.context();
        let _waiting = ctx.waiting(WaitReason::RateLimit { key: self.0.key(tenant(call)) });
        let before = ctx.elapsed();
        let charge = place.turn().await?;
        let waited = nanos(ctx.elapsed().saturating_sub(before));
        let fields = [("limiter", FieldValue::from(&*self.0.name)), ("waited_ns", waited.into())];
        ctx.emit("rate.waited", fields);
        Ok(charge)
    }

    /// Settles a charge by what the result says, and learns from it.
    fn settle(&self, call: &Call, charge: &mut Charge<'_>, result: &StageResult<Value>) {
        let hooks = &self.0.hooks;
        for (index, actual) in hooks.actuals.iter().enumerate() {
            if let Some(actual) = actual.as_ref().and_then(|actual| actual(result)) {
                charge.settle_at(&self.0, index, actual);
            }
        }
        for (learned, dimension) in hooks.learned.iter().zip(&self.0.dimensions) {
            if let Some(learned) = learned {
                let known = self.learn(tenant(call), dimension, learned(result));
                debug_assert!(known.is_ok(), "the builder has checked the names");
            }
        }
    }

    fn reject(&self, call: &Call, error: RateError) -> StageExit {
        let reason = match &error {
            RateError::Limited { .. } => "limited",
            RateError::QueueFull { .. } => "queue_full",
            RateError::TooCostly { .. } => "too_costly",
            RateError::UnknownDimension { .. } => "unknown_dimension",
        };
        let skips = self.0.when_full == WhenFull::Skip && error.retry_after().is_some();
        let wait = error.retry_after().map(|wait| ("wait_ns", nanos(wait).into()));
        let fields = [
            ("limiter", FieldValue::from(&*self.0.name)),
            ("reason", reason.into()),
            ("skipped", skips.into()),
        ];
        call.context().emit("rate.rejected", fields.into_iter().chain(wait));
        if skips { StageExit::skip(error.to_string()) } else { error.into_exit() }
    }
}

fn tenant(call: &Call) -> Option<&str> {
    call.snapshot().identity().tenant_id().map(TenantId::as_str)
}

/// Events: `rate.waited` (`limiter`, `waited_ns`) and `rate.rejected` (`limiter`, `reason`, `skipped`, and `wait_ns` where a wait
/// would have helped).
impl Interceptor for RateLimiter {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let charge = match self.arrive(call, &next) {
            Ok(charge) => charge,
            // On the heap, for those alone that cannot go at once.
            Err(not_at_once) => Box::pin(self.later(call, *not_at_once)).await?,
        };
        let mut unbegun = Unbegun { shared: &self.0, charge, call, attempts: call.attempts() };
        let result = next.run().await;
        if self.0.hooks.look_at_results && call.attempts() != unbegun.attempts {
            self.settle(call, &mut unbegun.charge, &result);
        }
        result
    }

    fn name(&self) -> String {
        format!("RateLimiter({})", self.0.name)
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Limit)
    }

    fn describe(&self) -> PolicyFacts {
        let shared = &self.0;
        let parts = shared.dimensions.iter().zip(&*shared.quotas).zip(&shared.hooks.costs);
        let dimensions = parts.map(|((name, quota), cost)| {
            let period = Duration::from_nanos(quota.period);
            let mut dimension = RateDimension::new(Arc::clone(name), quota.limit, period, quota.burst);
            dimension.is_count = cost.is_none();
            dimension
        });
        let mut facts = RateLimitFacts::new(Arc::clone(&shared.name), dimensions.collect());
        facts.id = Some(PolicyId::of(shared));
        facts.max_queue = shared.max_queue;
        facts.waits = shared.when_full == WhenFull::Wait && shared.max_queue > 0;
        facts.max_wait = shared.max_wait;
        facts.per_tenant = shared.per_tenant;
        facts.into()
    }
}
