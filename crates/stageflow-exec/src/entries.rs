//! By what a run has to go before it is let in, in which order.

use std::sync::Arc;

use stageflow_core::{TenantId, code};
use stageflow_dag::plan::Plan;

use crate::{
    admission::{Admission, BackpressureMonitor},
    engine::EngineShared,
    error::RunError,
    limits::TenantLimits,
    quota::{QuotaEntry, Refused, Tenants},
    run::RunCore,
};

/// What a run was given by those who let runs in, or its places in their queues. Dropped, it gives them back.
#[derive(Default)]
pub(crate) struct Entries {
    /// Where the engine has a monitor.
    pub(crate) admission: Option<Box<Admission>>,
    /// Where tenants have quotas, and no authentication comes before them.
    pub(crate) quota: Option<Box<QuotaEntry>>,
}

impl Entries {
    /// Offers a run, the quota of its tenant first; with the limits of the tenant, if it is known by now whose run it is.
    pub(crate) fn of(
        shared: &EngineShared,
        plan: &Plan,
        tenant: Option<&TenantId>,
    ) -> Result<(Self, Option<TenantLimits>), RunError> {
        // Where runs are authenticated it is not known before whose they are.
        let is_asked = !shared.gates.is_empty();
        let quota = match &shared.tenants {
            Some(tenants) if !is_asked => Some(enter(tenants, tenant, plan)?),
            _ => None,
        };
        let is_waiting = quota.as_ref().is_some_and(|quota| quota.is_waiting());
        let admission = match &shared.backpressure {
            // Who waits for the quota of its tenant takes no place from others.
            Some(monitor) if is_waiting => Some(Box::new(Admission::later(monitor.clone()))),
            Some(monitor) => Some(offer(monitor, plan.name())?),
            None => None,
        };
        let stages = quota.as_ref().and_then(|quota| quota.stages());
        let limits = (!is_asked).then(|| TenantLimits::new(&shared.limits, tenant, stages));
        Ok((Self { admission, quota }, limits))
    }

    /// Lets `explain()` see for what the run waits.
    pub(crate) fn note(&self, run: &RunCore) {
        if let Some(admission) = &self.admission {
            admission.note(run);
        }
        if let Some(quota) = &self.quota {
            quota.note(run);
        }
    }
}

/// Offers a run to the monitor: one that is refused costs nothing more than this.
fn offer(monitor: &BackpressureMonitor, pipeline: &str) -> Result<Box<Admission>, RunError> {
    let refused = |why| RunError::refused(code::OVERLOADED, format!("`{pipeline}` was not started: {why}"));
    monitor.enter(true).map(|entry| Box::new(Admission::new(entry))).map_err(refused)
}

/// Offers a run to the quota of its tenant: one that is refused costs nothing more than this.
fn enter(tenants: &Tenants, tenant: Option<&TenantId>, plan: &Plan) -> Result<Box<QuotaEntry>, RunError> {
    QuotaEntry::offer(tenants, tenant).map(Box::new).map_err(|refused| match refused {
        Refused::Quota(exceeded) => RunError::over_quota(Arc::clone(plan.name()), exceeded),
        Refused::Error(error) => error,
    })
}
