//! The tenants that an engine knows something of: those with runs, and those whose quota has not come back yet.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stageflow_core::{Clock, Quota, TenantId, TenantQuotas, code, quota::OnQuotaChange};

use super::{tenant::Tenant, usage::TenantUsage};
use crate::error::RunError;

/// Those who are idle are looked for when there are so many, and then when there are twice as many as were left.
const FIRST_SWEEP: usize = 64;

pub(crate) struct Tenants {
    pub(crate) quotas: TenantQuotas,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

struct Known {
    tenants: HashMap<TenantId, Arc<Tenant>>,
    sweep_at: usize,
}

impl Tenants {
    pub(crate) fn new(quotas: TenantQuotas, clock: Arc<dyn Clock>) -> Arc<Self> {
        let known = Mutex::new(Known { tenants: HashMap::new(), sweep_at: FIRST_SWEEP });
        let tenants = Arc::new(Self { quotas, clock, known });
        let listener: Arc<dyn OnQuotaChange> = Arc::<Self>::clone(&tenants);
        tenants.quotas.on_change(Arc::downgrade(&listener));
        tenants
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tenant, with its quota as of now. Whoever has it keeps it from being forgotten.
    pub(crate) fn tenant(&self, id: Option<&TenantId>) -> Result<Arc<Tenant>, RunError> {
        let tenant = self.known(id);
        // It is in the list by now: a change that this does not see yet, sees it.
        let version = self.quotas.version();
        tenant.update(version, self.quota_of(id)?);
        Ok(tenant)
    }

    fn known(&self, id: Option<&TenantId>) -> Arc<Tenant> {
        let key = key(id);
        let mut known = self.lock();
        if let Some(tenant) = known.tenants.get(&key) {
            return Arc::clone(tenant);
        }
        if known.tenants.len() >= known.sweep_at {
            let now = self.clock.monotonic_nanos();
            // Only the list has it, and under its lock nobody else gets it.
            let is_idle =
                |tenant: &Arc<Tenant>| Arc::strong_count(tenant) == 1 && tenant.look(|it| it.is_idle(now));
            known.tenants.retain(|_, tenant| !is_idle(tenant));
            known.sweep_at = (2 * known.tenants.len()).max(FIRST_SWEEP);
        }
        let tenant = Arc::new(Tenant::new(id.cloned(), Arc::clone(&self.clock)));
        known.tenants.insert(key, Arc::clone(&tenant));
        tenant
    }

    fn quota_of(&self, id: Option<&TenantId>) -> Result<Quota, RunError> {
        catch_unwind(AssertUnwindSafe(|| self.quotas.of(id))).map_err(|_| {
            RunError::refused(code::PANIC, "the function that looks up the quotas of tenants panicked")
        })
    }

    /// What a tenant uses; nothing, if nothing is known of it.
    pub(crate) fn usage(&self, id: Option<&TenantId>) -> TenantUsage {
        let quota = self.quota_of(id).unwrap_or_default();
        let tenant = self.lock().tenants.get(&key(id)).cloned();
        match tenant {
            Some(tenant) => TenantUsage::of(&tenant, quota),
            None => TenantUsage::none(id.cloned(), quota),
        }
    }

    /// What all tenants use that something is known of, by name.
    pub(crate) fn usages(&self) -> Vec<TenantUsage> {
        let all: Vec<_> = self.lock().tenants.values().cloned().collect();
        let usage =
            |tenant: &Arc<Tenant>| TenantUsage::of(tenant, self.quota_of(tenant.id()).unwrap_or_default());
        let mut all: Vec<_> = all.iter().map(usage).collect();
        all.sort_by(|one, other| one.tenant.cmp(&other.tenant));
        all
    }
}

impl OnQuotaChange for Tenants {
    fn quotas_changed(&self) {
        let all: Vec<_> = self.lock().tenants.values().cloned().collect();
        for tenant in all {
            let version = self.quotas.version();
            if let Ok(quota) = self.quota_of(tenant.id()) {
                tenant.update(version, quota);
            }
        }
    }
}

/// Runs without a tenant are one.
fn key(id: Option<&TenantId>) -> TenantId {
    id.cloned().unwrap_or_else(|| TenantId::from(""))
}

impl fmt::Display for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.quotas.fmt(f)
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tenants").field(&self.quotas).finish()
    }
}
