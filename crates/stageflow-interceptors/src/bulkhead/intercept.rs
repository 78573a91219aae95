//! The bulkhead around the attempts of a stage.

use std::time::Duration;

use stageflow_core::{
    Call, FieldValue, Interceptor, Layer, Next, StageExit, StageResult, TenantId, Value, WaitReason,
    intercept::Placement, time::nanos,
};

use super::{Bulkhead, BulkheadFull, BulkheadPermit};
use crate::limit::WhenFull;

impl Bulkhead {
    /// A permit for a call, at once or after a wait that `explain()` shows.
    async fn admit(&self, call: &Call) -> Result<BulkheadPermit, BulkheadFull> {
        let ctx = call.context();
        let tenant = ctx.identity().tenant_id().map(TenantId::as_str);
        let full = match self.try_acquire(tenant) {
            Ok(permit) => return Ok(permit),
            Err(full) => full,
        };
        let within = ctx.slack().unwrap_or(Duration::MAX);
        if self.0.when_full != WhenFull::Wait || within.is_zero() {
            return Err(full);
        }
        let _waiting = ctx.waiting(WaitReason::Permit { limit: "bulkhead" });
        let before = ctx.elapsed();
        let permit = self.acquire_within(tenant, within).await?;
        let waited = nanos(ctx.elapsed().saturating_sub(before));
        let fields = [("bulkhead", FieldValue::from(&*self.0.name)), ("waited_ns", waited.into())];
        ctx.emit("bulkhead.waited", fields);
        Ok(permit)
    }
}

/// Events: `bulkhead.waited` (`bulkhead`, `waited_ns`) and `bulkhead.rejected` (`bulkhead`, `reason`, `skipped`).
impl Interceptor for Bulkhead {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        match self.admit(call).await {
            Ok(_permit) => next.run().await,
            Err(full) => {
                let reason = if full.wait().is_some() { "timeout" } else { "full" };
                let skips = self.0.when_full == WhenFull::Skip;
                let fields = [
                    ("bulkhead", FieldValue::from(&*self.0.name)),
                    ("reason", reason.into()),
                    ("skipped", skips.into()),
                ];
                call.context().emit("bulkhead.rejected", fields);
                Err(if skips { StageExit::skip(full.to_string()) } else { full.into_exit() })
            }
        }
    }

    fn name(&self) -> String {
        format!("Bulkhead({})", self.0.name)
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Limit)
    }
}
