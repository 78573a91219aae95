//! [`TenantUsage`]: how a tenant stands to its quota.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;
use stageflow_core::{Quota, QuotaKind, TenantId, time::Human};

use super::tenant::Tenant;

/// What a tenant uses of its quota in one engine, as of the moment it was asked: [`Engine::tenant_usage`](crate::Engine::tenant_usage)
/// gives it.
///
/// The counts are of the time since the engine last knew nothing of the tenant, which it forgets when it has no run and its quota
/// is whole again. `offered = admitted + refused + gave_up + waiting` holds at every instant.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TenantUsage {
    /// Which tenant; `None` for the runs without one.
    pub tenant: Option<TenantId>,
    /// What it may use.
    pub quota: Quota,
    /// Runs that are in.
    pub runs: u32,
    /// Runs that wait for the quota.
    pub waiting: usize,
    /// Stages in flight of runs that began under a limit of stages.
    pub stages_in_flight: u32,
    /// What was spent by the runs of this window.
    pub cost_spent: u64,
    /// What is reserved by them.
    pub cost_reserved: u64,
    /// How much of the window is left, if one has begun.
    pub window_left: Option<Duration>,
    /// Runs that came.
    pub offered: u64,
    /// Runs that were let in.
    pub admitted: u64,
    /// Runs that were refused, by what there was not enough of.
    pub refused: BTreeMap<QuotaKind, u64>,
    /// Runs that gave up while they waited.
    pub gave_up: u64,
}

impl TenantUsage {
    pub(super) fn none(tenant: Option<TenantId>, quota: Quota) -> Self {
        Self {
            tenant,
            quota,
            runs: 0,
            waiting: 0,
            stages_in_flight: 0,
            cost_spent: 0,
            cost_reserved: 0,
            window_left: None,
            offered: 0,
            admitted: 0,
            refused: BTreeMap::new(),
            gave_up: 0,
        }
    }

    pub(super) fn of(tenant: &Tenant, quota: Quota) -> Self {
        let now = tenant.now();
        let stages_in_flight = tenant.stages_in_flight();
        tenant.look(|ledger| {
            let costs = ledger.window(now).map(|(account, left)| (account.costs(), left));
            let counts = ledger.counts;
            let refused = QuotaKind::ALL.into_iter().zip(counts.refused).filter(|(_, count)| *count > 0);
            Self {
                runs: ledger.active(),
                waiting: ledger.waiting(),
                stages_in_flight,
                cost_spent: costs.map_or(0, |(costs, _)| costs.spent),
                cost_reserved: costs.map_or(0, |(costs, _)| costs.reserved),
                window_left: costs.map(|(_, left)| Duration::from_nanos(left)),
                offered: counts.offered,
                admitted: counts.admitted,
                refused: refused.collect(),
                gave_up: counts.left,
                ..Self::none(tenant.id().cloned(), quota)
            }
        })
    }

    /// How many runs were refused, for whatever reason.
    pub fn refused_in_all(&self) -> u64 {
        self.refused.values().sum()
    }
}

impl fmt::Display for TenantUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, waiting, stages_in_flight, admitted, .. } = self;
        match &self.tenant {
            Some(tenant) => write!(f, "{tenant}")?,
            None => f.write_str("without a tenant")?,
        }
        write!(f, ": {runs} runs, {waiting} waiting, {stages_in_flight} stages in flight")?;
        if let Some(left) = self.window_left {
            let (spent, reserved, left) = (self.cost_spent, self.cost_reserved, Human(left));
            write!(f, "; cost {spent} and {reserved} reserved, for {left} more")?;
        }
        write!(f, "; {admitted} let in, {} refused", self.refused_in_all())?;
        for (n, (quota, count)) in self.refused.iter().enumerate() {
            write!(f, "{}{count} for {quota}", if n == 0 { ": " } else { ", " })?;
        }
        write!(f, "; may use: {}", self.quota)
    }
}
