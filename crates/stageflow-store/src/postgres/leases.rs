//! The leases that this process holds, and their heartbeat.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stageflow_core::{TenantId, durable::RunKey};
use tokio::sync::mpsc;

use super::{
    access::{Access, Statement},
    columns::{self, Id},
};

/// Prolongs leases of a tenant that were not given back. A row that is locked is being written, which prolongs its lease as well.
const PROLONG: &str = "
WITH mine AS (
    SELECT r.run FROM stageflow.runs AS r
    JOIN unnest($2::uuid[], $3::bigint[]) AS mine(run, epoch) ON r.run = mine.run AND r.epoch = mine.epoch
    WHERE r.tenant = $1 AND r.run = ANY($2::uuid[]) AND r.outcome IS NULL AND r.lease_until IS NOT NULL
    FOR UPDATE OF r SKIP LOCKED
)
UPDATE stageflow.runs AS r SET lease_until = clock_timestamp() + make_interval(secs => $4::float8)
FROM mine WHERE r.tenant = $1 AND r.run = mine.run";

/// Those that another process has taken over, or that have ended or are gone.
const LOST: &str = "
SELECT mine.run FROM unnest($2::uuid[], $3::bigint[]) AS mine(run, epoch)
LEFT JOIN stageflow.runs AS r ON r.tenant = $1 AND r.run = mine.run AND r.epoch = mine.epoch AND r.outcome IS NULL
WHERE r.run IS NULL";

/// The last epoch of each run that this process goes on with.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<Mutex<BTreeMap<RunKey, i64>>>);

impl Held {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunKey, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self, key: RunKey, epoch: i64) {
        self.lock().insert(key, epoch);
    }

    pub(super) fn drop(&self, key: &RunKey) {
        self.lock().remove(key);
    }

    /// Not if this process has taken it again.
    pub(super) fn drop_lost(&self, key: &RunKey, epoch: i64) {
        let mut held = self.lock();
        if held.get(key).is_some_and(|last| *last <= epoch) {
            held.remove(key);
        }
    }

    fn by_tenant(&self) -> BTreeMap<TenantId, Vec<(RunKey, i64)>> {
        let mut tenants: BTreeMap<TenantId, Vec<_>> = BTreeMap::new();
        for (key, epoch) in self.lock().iter() {
            tenants.entry(key.tenant().clone()).or_default().push((key.clone(), *epoch));
        }
        tenants
    }
}

/// Prolongs all leases three times in the time of one, until the store is dropped.
pub(super) async fn heartbeat(access: Access, held: Held, lease: Duration, mut alive: mpsc::Receiver<()>) {
    loop {
        if tokio::time::timeout(lease / 3, alive.recv()).await.is_ok() {
            return;
        }
        for (tenant, runs) in held.by_tenant() {
            prolong(&access, &held, &tenant, &runs, lease).await;
        }
    }
}

/// A lease that cannot be prolonged ends; whoever writes under it is told.
async fn prolong(access: &Access, held: &Held, tenant: &TenantId, runs: &[(RunKey, i64)], lease: Duration) {
    let name = tenant.as_str();
    let ids: Vec<Id> = runs.iter().map(|(key, _)| columns::id(key.run())).collect();
    let epochs: Vec<i64> = runs.iter().map(|(_, epoch)| *epoch).collect();
    let seconds = lease.as_secs_f64();
    let statements: [Statement<'_>; 2] =
        [(PROLONG, vec![&name, &ids, &epochs, &seconds]), (LOST, vec![&name, &ids, &epochs])];
    let Ok(answers) = access.once(access.with_tenant(tenant, &statements)).await else { return };
    let lost: Vec<Id> = answers[1].iter().filter_map(|row| row.try_get(0).ok()).collect();
    for (key, epoch) in runs.iter().filter(|(key, _)| lost.contains(&columns::id(key.run()))) {
        held.drop_lost(key, *epoch);
    }
}
