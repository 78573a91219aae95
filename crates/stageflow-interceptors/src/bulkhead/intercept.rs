//! The bulkhead around the attempts of a stage.

use std::{sync::Arc, time::Duration};

use stageflow_core::{
    BulkheadFacts, Call, FieldValue, Interceptor, Layer, Next, PolicyFacts, PolicyId, StageExit, StageResult,
    TenantId, Value, WaitReason, intercept::Placement, time::nanos,
};

use super::{Bulkhead, BulkheadFull, BulkheadPermit};
use crate::limit::WhenFull;

impl Bulkhead {
    /// A permit for a call, at once or after a wait that `explain()` shows.
    async fn admit(&self, call: &Call) -> Result<BulkheadPermit, BulkheadFull> {
        let tenant = call.context().identity().tenant_id().map(TenantId::as_str);
        match self.try_acquire(tenant) {
            Ok(permit) => Ok(permit),
            // On the heap, for those alone that wait.
            Err(full) => Box::pin(self.wait(call, tenant, full)).await,
        }
    }

    async fn wait(
        &self,
        call: &Call,
        tenant: Option<&str>,
        full: BulkheadFull,
    ) -> Result<BulkheadPermit, BulkheadFull> {
        let ctx = call.context();
        let within = ctx.slack().unwrap_or(Duration::MAX);
        if self.0.when_full != WhenFull::Wait || within.is_zero() {
            return Err(full);
        }
        let name = &self.0.name;
        let key = match tenant.filter(|_| self.0.per_tenant) {
            Some(tenant) => format!("{name}/{tenant}"),
            None => name.to_string(),
        };
        let _waiting = ctx.waiting(WaitReason::Permit { limit: "bulkhead", key: Some(key) });
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

    fn describe(&self) -> PolicyFacts {
        let mut facts = BulkheadFacts::new(Arc::clone(&self.0.name), self.0.max_concurrent);
        facts.id = Some(PolicyId::of(&self.0));
        facts.max_queue = self.0.max_queue;
        facts.waits = self.0.when_full == WhenFull::Wait && self.0.max_queue > 0;
        facts.queue_timeout = self.0.queue_timeout;
        facts.per_tenant = self.0.per_tenant;
        facts.into()
    }
}
