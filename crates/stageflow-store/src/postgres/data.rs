//! All that the database has of one tenant, and its end.

use std::time::Duration;

use stageflow_core::{
    TenantId, UserId,
    audit::{ErasureReceipt, TenantData, TenantUsage},
    durable::JournalFuture,
};

use super::{
    PostgresStore,
    access::{Access, Connection},
    audit::{ADD, LOCK, hash},
    trouble::{Trouble, late},
};
use crate::{audit, rows};

const USAGE: &str = "
SELECT
    (SELECT count(*) FROM stageflow.runs WHERE tenant = $1),
    (SELECT count(*) FROM stageflow.entries WHERE tenant = $1),
    (SELECT COALESCE(sum(octet_length(input)), 0)::bigint FROM stageflow.runs WHERE tenant = $1)
    + (SELECT COALESCE(sum(octet_length(kind) + COALESCE(octet_length(payload), 0)), 0)::bigint
        FROM stageflow.entries WHERE tenant = $1)
    + (SELECT COALESCE(sum(octet_length(answer)), 0)::bigint FROM stageflow.pauses WHERE tenant = $1)
    + (SELECT COALESCE(sum(octet_length(answer)), 0)::bigint FROM stageflow.answers WHERE tenant = $1)";

/// An erasure is one transaction however much there is, so its statements have a timeout of their own.
const PATIENTLY: &str = "SELECT set_config('statement_timeout', '10min', true)";
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// In the order of [`audit::ERASED`]. Runs first: whoever writes to one holds its row, and has ended when it is gone.
const ERASE: [&str; 4] = [
    "WITH gone AS (DELETE FROM stageflow.runs WHERE tenant = $1 RETURNING 1) SELECT count(*) FROM gone",
    "WITH gone AS (DELETE FROM stageflow.entries WHERE tenant = $1 RETURNING 1) SELECT count(*) FROM gone",
    "WITH gone AS (DELETE FROM stageflow.pauses WHERE tenant = $1 RETURNING 1) SELECT count(*) FROM gone",
    "WITH gone AS (DELETE FROM stageflow.answers WHERE tenant = $1 RETURNING 1) SELECT count(*) FROM gone",
];
const LEFT: [&str; 4] = [
    "SELECT count(*) FROM stageflow.runs WHERE tenant = $1",
    "SELECT count(*) FROM stageflow.entries WHERE tenant = $1",
    "SELECT count(*) FROM stageflow.pauses WHERE tenant = $1",
    "SELECT count(*) FROM stageflow.answers WHERE tenant = $1",
];

async fn usage(access: &Access, tenant: &TenantId) -> Result<TenantUsage, Trouble> {
    let name = rows::tenant(tenant)?;
    let answers = access.with_tenant(tenant, &[(USAGE, vec![&name])]).await?;
    let row = &answers[0][0];
    let [runs, entries, bytes] = [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?].map(rows::number);
    Ok(TenantUsage { runs, entries, bytes })
}

async fn erase(
    access: &Access,
    tenant: &TenantId,
    by: Option<&UserId>,
    reason: &str,
) -> Result<ErasureReceipt, Trouble> {
    let (name, at) = (rows::tenant(tenant)?, rows::wall_now());
    let mut connection = Connection::of(&access.pool).await?;
    connection.begin(tenant).await?;
    connection.query((PATIENTLY, vec![])).await?;
    connection.query((LOCK, vec![&name])).await?;
    let erased = counts(&connection, ERASE, name).await?;
    let left = counts(&connection, LEFT, name).await?;
    let record = audit::text(&audit::erased(tenant, by, reason, at, erased))?;
    let added = connection.query((ADD, vec![&name, &record])).await?;
    let added = added.first().ok_or_else(|| late("the record of an erasure"))?;
    let (audit_seq, audit_hash) = (rows::number(added.try_get(0)?), hash(added.try_get(1)?)?);
    connection.commit().await?;
    let tables = audit::erased_tables(erased, left, audit_seq);
    Ok(ErasureReceipt { tenant: tenant.clone(), at, tables, audit_seq, audit_hash })
}

async fn counts(
    connection: &Connection,
    statements: [&'static str; 4],
    tenant: &str,
) -> Result<[u64; 4], Trouble> {
    let mut counts = [0; 4];
    for (count, statement) in counts.iter_mut().zip(statements) {
        *count = rows::number(connection.query((statement, vec![&tenant])).await?[0].try_get(0)?);
    }
    Ok(counts)
}

impl TenantData for PostgresStore {
    fn usage<'a>(&'a self, tenant: &'a TenantId) -> JournalFuture<'a, TenantUsage> {
        let (access, tenant) = (self.access.clone(), tenant.clone());
        self.access.spawn(async move { access.repeat(|| usage(&access, &tenant)).await })
    }

    fn erase<'a>(
        &'a self,
        tenant: &'a TenantId,
        by: Option<&'a UserId>,
        reason: &'a str,
    ) -> JournalFuture<'a, ErasureReceipt> {
        let (access, tenant, by, reason) =
            (self.access.clone(), tenant.clone(), by.cloned(), reason.to_owned());
        self.access.spawn(async move {
            access.once_within(PATIENCE, erase(&access, &tenant, by.as_ref(), &reason)).await
        })
    }
}
