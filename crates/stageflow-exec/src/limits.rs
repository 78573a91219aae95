//! Concurrency limits: per kind, run, tenant and engine, always taken in one order.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use smallvec::SmallVec;
use stageflow_core::{StageContext, StageKind, TenantId, WaitReason, stage::StageRole};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
pub(crate) type Permits = SmallVec<[OwnedSemaphorePermit; 4]>;

/// The limits that apply to one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunLimits {
    /// How many of them are the run's own: they come first.
    own: usize,
    /// In the order in which they are taken, each with the kind it is for. Those of the narrower scope come first: who waits
    /// for a permit of its own run or tenant keeps none from the others.
    all: Vec<(Option<StageKind>, Limit)>,
}

impl RunLimits {
    pub(crate) fn new(
        run: Option<u32>,
        kinds: &[(StageKind, u32)],
        engine: &EngineLimits,
        tenant: Option<&TenantId>,
    ) -> Self {
        let of_kind = |(kind, limit): (StageKind, Limit)| (Some(kind), limit);
        let of_kinds = kinds.iter().map(|(kind, n)| of_kind((*kind, Limit::new("kind", *n))));
        // Who waits for its kind keeps no permit of the run from the others.
        let mut all: Vec<_> = of_kinds.chain(run.map(|n| (None, Limit::new("run", n)))).collect();
        let own = all.len();
        all.extend(engine.tenant(tenant).map(|limit| (None, limit)));
        all.extend(engine.kinds.iter().cloned().map(of_kind));
        all.extend(engine.engine.clone().map(|limit| (None, limit)));
        Self { own, all }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Waits for a permit of each limit. All runs take them in one order. A stage that waits for its child run takes only
    /// those of its own run: the stages of the child take the others, so nobody waits in a circle.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives back what it took and its places in the queues.
    pub(crate) async fn acquire(&self, ctx: &StageContext, role: StageRole) -> Permits {
        let mut held = Permits::new();
        let kind = ctx.stage_kind();
        let count = if role == StageRole::Leaf { self.all.len() } else { self.own };
        for (_, limit) in self.all[..count].iter().filter(|(of, _)| of.is_none_or(|of| of == kind)) {
            let semaphore = Arc::clone(&limit.semaphore);
            let permit = match Arc::clone(&semaphore).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => {
                    let key = match limit.name {
                        "kind" => Some(kind.to_string()),
                        "tenant" => ctx.identity().tenant_id().map(ToString::to_string),
                        _ => None,
                    };
                    let _waiting = ctx.waiting(WaitReason::Permit { limit: limit.name, key });
                    // The semaphores are never closed.
                    semaphore.acquire_owned().await.ok()
                }
            };
            held.extend(permit);
        }
        held
    }
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
