//! The rate limiter around the attempts of a stage.

use std::{any::Any, ops::Deref, sync::Arc, time::Duration};

use stageflow_core::{
    Call, FieldValue, Interceptor, Layer, Next, StageExit, StageResult, TenantId, Value, WaitReason,
    intercept::Placement, time::nanos,
};

use super::{RateCharge, RateError, RateHeaders, RateLimiter, request::Admission};
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
    charge: Option<RateCharge>,
    call: &'a Call,
    attempts: u32,
}

impl Drop for Unbegun<'_> {
    fn drop(&mut self) {
        if let Some(charge) = self.charge.take()
            && self.call.attempts() == self.attempts
        {
            charge.give_back();
        }
    }
}

impl RateLimiter {
    /// Takes the costs of a call, at once or after a wait that `explain()` shows.
    async fn admit(&self, call: &Call, next: &Next<'_>) -> Result<RateCharge, RateError> {
        let shared = &self.0;
        let ctx = call.context();
        let tenant = tenant(call);
        let of = RateCall { call, next };
        let costs = shared.hooks.costs.iter().map(|cost| cost.as_ref().map_or(1, |cost| cost(&of))).collect();
        let within = match shared.when_full {
            WhenFull::Wait => [shared.max_wait, ctx.slack()].into_iter().flatten().min(),
            WhenFull::Reject | WhenFull::Skip => Some(Duration::ZERO),
        };
        match Admission::of(shared, tenant, costs, within.unwrap_or(Duration::MAX))? {
            Admission::Granted(charge) => Ok(charge),
            Admission::Queued(place) => {
                let _waiting = ctx.waiting(WaitReason::RateLimit { key: shared.key(tenant) });
                let before = ctx.elapsed();
                let charge = place.turn().await?;
                let waited = nanos(ctx.elapsed().saturating_sub(before));
                let fields = [("limiter", FieldValue::from(&*self.0.name)), ("waited_ns", waited.into())];
                ctx.emit("rate.waited", fields);
                Ok(charge)
            }
        }
    }

    /// Settles a charge by what the result says, and learns from it.
    fn settle(&self, call: &Call, mut charge: RateCharge, result: &StageResult<Value>) {
        let hooks = &self.0.hooks;
        for (index, actual) in hooks.actuals.iter().enumerate() {
            if let Some(actual) = actual.as_ref().and_then(|actual| actual(result)) {
                charge.settle_at(index, actual);
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
        let charge = self.admit(call, &next).await.map_err(|error| self.reject(call, error))?;
        let mut unbegun = Unbegun { charge: Some(charge), call, attempts: call.attempts() };
        let result = next.run().await;
        if call.attempts() != unbegun.attempts
            && let Some(charge) = unbegun.charge.take()
        {
            self.settle(call, charge, &result);
        }
        result
    }

    fn name(&self) -> String {
        format!("RateLimiter({})", self.0.name)
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Limit)
    }
}
