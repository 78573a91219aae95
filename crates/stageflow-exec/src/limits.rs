//! Concurrency limits: per kind, run, tenant and engine, always taken in one order.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use smallvec::SmallVec;
use stageflow_core::{StageContext, StageKind, TenantId, WaitReason, stage::StageRole};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::quota::{PoolPermit, StagePool};

/// A limit with the name `explain()` gives it.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    name: &'static str,
    semaphore: Arc<Semaphore>,
}

impl Limit {
    pub(crate) fn new(name: &'static str, permits: u32) -> Self {
        let permits = (permits as usize).min(Semaphore::MAX_PERMITS);
        Self { name, semaphore: Arc::new(Semaphore::new(permits)) }
    }
}

/// What an attempt holds while it runs; given back on drop, unwinding included.
pub(crate) type Permits = SmallVec<[Permit; 4]>;

/// A permit of one limit.
#[derive(Debug)]
#[expect(dead_code, reason = "it is there to be dropped")]
pub(crate) enum Permit {
    Fixed(OwnedSemaphorePermit),
    Quota(PoolPermit),
}

/// The limits of the tenant of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct TenantLimits {
    limit: Option<Limit>,
    quota: Option<Arc<StagePool>>,
}

impl TenantLimits {
    pub(crate) fn new(
        engine: &EngineLimits,
        tenant: Option<&TenantId>,
        quota: Option<Arc<StagePool>>,
    ) -> Self {
        Self { limit: engine.tenant(tenant), quota }
    }

    fn is_empty(&self) -> bool {
        self.limit.is_none() && self.quota.is_none()
    }
}

/// The limits that apply to one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunLimits {
    /// How many of them are the run's own: they come first.
    own: usize,
    /// In the order in which they are taken, each with the kind it is for. Those of the narrower scope come first: who waits
    /// for a permit of its own run or tenant keeps none from the others.
    all: Vec<(Option<StageKind>, Limit)>,
    /// Those of the tenant, between the run's own and the engine's, once it is known whose run it is.
    tenant: OnceLock<TenantLimits>,
}

impl RunLimits {
    pub(crate) fn new(
        run: Option<u32>,
        kinds: &[(StageKind, u32)],
        engine: &EngineLimits,
        tenant: Option<TenantLimits>,
    ) -> Self {
        let of_kind = |(kind, limit): (StageKind, Limit)| (Some(kind), limit);
        let of_kinds = kinds.iter().map(|(kind, n)| of_kind((*kind, Limit::new("kind", *n))));
        // Who waits for its kind keeps no permit of the run from the others.
        let mut all: Vec<_> = of_kinds.chain(run.map(|n| (None, Limit::new("run", n)))).collect();
        let own = all.len();
        all.extend(engine.kinds.iter().cloned().map(of_kind));
        all.extend(engine.engine.clone().map(|limit| (None, limit)));
        Self { own, all, tenant: tenant.map_or_else(OnceLock::new, OnceLock::from) }
    }

    /// Whether there are none, and will be none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.tenant.get().is_some_and(TenantLimits::is_empty)
    }

    /// Those of the tenant.
    pub(crate) fn of_tenant(&self) -> Option<&TenantLimits> {
        self.tenant.get()
    }

    /// It is known whose run it is.
    pub(crate) fn settle(&self, tenant: TenantLimits) {
        self.tenant.get_or_init(|| tenant);
    }

    /// Waits for a permit of each limit. All runs take them in one order. A stage that waits for its child run takes only
    /// those of its own run: the stages of the child take the others, so nobody waits in a circle.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives back what it took and its places in the queues.
    pub(crate) async fn acquire(&self, ctx: &StageContext, role: StageRole) -> Permits {
        let mut held = Permits::new();
        let (own, of_engine) = self.all.split_at(self.own);
        take(own, ctx, &mut held).await;
        if role != StageRole::Leaf {
            return held;
        }
        if let Some(tenant) = self.tenant.get() {
            if let Some(pool) = &tenant.quota {
                let permit = match pool.try_acquire() {
                    Some(permit) => Some(permit),
                    None => {
                        let _waiting = ctx.waiting(waits_for("tenant", ctx));
                        pool.acquire().await
                    }
                };
                held.extend(permit.map(Permit::Quota));
            }
            if let Some(limit) = &tenant.limit {
                held.extend(limit.take(ctx).await);
            }
        }
        take(of_engine, ctx, &mut held).await;
        held
    }
}

async fn take(limits: &[(Option<StageKind>, Limit)], ctx: &StageContext, held: &mut Permits) {
    let kind = ctx.stage_kind();
    for (_, limit) in limits.iter().filter(|(of, _)| of.is_none_or(|of| of == kind)) {
        held.extend(limit.take(ctx).await);
    }
}

impl Limit {
    async fn take(&self, ctx: &StageContext) -> Option<Permit> {
        let semaphore = Arc::clone(&self.semaphore);
        if let Ok(permit) = Arc::clone(&semaphore).try_acquire_owned() {
            return Some(Permit::Fixed(permit));
        }
        let _waiting = ctx.waiting(waits_for(self.name, ctx));
        // The semaphores are never closed.
        semaphore.acquire_owned().await.ok().map(Permit::Fixed)
    }
}

fn waits_for(limit: &'static str, ctx: &StageContext) -> WaitReason {
    let key = match limit {
        "kind" => Some(ctx.stage_kind().to_string()),
        "tenant" => ctx.identity().tenant_id().map(ToString::to_string),
        _ => None,
    };
    WaitReason::Permit { limit, key }
}

/// The limits that all runs of an engine share.
#[derive(Debug, Default)]
pub(crate) struct EngineLimits {
    pub(crate) engine: Option<Limit>,
    pub(crate) kinds: Vec<(StageKind, Limit)>,
    pub(crate) per_tenant: Option<u32>,
    pub(crate) tenants: Mutex<HashMap<TenantId, Weak<Semaphore>>>,
}

impl EngineLimits {
    /// The limit of a tenant: shared by its runs, forgotten when it has none. Runs without a tenant share one.
    fn tenant(&self, tenant: Option<&TenantId>) -> Option<Limit> {
        let permits = self.per_tenant?;
        let key = tenant.cloned().unwrap_or_else(|| TenantId::from(""));
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = tenants.get(&key).and_then(Weak::upgrade) {
            return Some(Limit { name: "tenant", semaphore });
        }
        let limit = Limit::new("tenant", permits);
        tenants.retain(|_, known| known.strong_count() > 0);
        tenants.insert(key, Arc::downgrade(&limit.semaphore));
        Some(limit)
    }
}
