//! What a tenant has in a file, and its end.

use std::time::SystemTime;

use rusqlite::Connection;
use stageflow_core::{
    TenantId, UserId,
    audit::{ErasureReceipt, TenantData, TenantUsage},
    durable::JournalFuture,
};

use super::{
    SqliteStore,
    error::Stop,
    scope::{Scope, Sql},
};
use crate::{audit, rows};

/// In the order of the receipt.
const COUNTS: [Sql; 4] = [
    Sql::new("SELECT count(*) FROM runs WHERE tenant = ?1"),
    Sql::new("SELECT count(*) FROM entries WHERE tenant = ?1"),
    Sql::new("SELECT count(*) FROM pauses WHERE tenant = ?1"),
    Sql::new("SELECT count(*) FROM answers WHERE tenant = ?1"),
];

const BYTES: [Sql; 4] = [
    Sql::new("SELECT sum(octet_length(input)) FROM headers WHERE tenant = ?1"),
    Sql::new(
        "SELECT sum(octet_length(kind) + coalesce(octet_length(payload), 0)) FROM entries WHERE tenant = ?1",
    ),
    Sql::new("SELECT sum(octet_length(answer)) FROM pauses WHERE tenant = ?1"),
    Sql::new("SELECT sum(octet_length(answer)) FROM answers WHERE tenant = ?1"),
];

/// What follows from a run goes with it.
const ERASE: [Sql; 2] =
    [Sql::new("DELETE FROM runs WHERE tenant = ?1"), Sql::new("DELETE FROM answers WHERE tenant = ?1")];

fn count(scope: &Scope<'_>) -> rusqlite::Result<[u64; 4]> {
    let mut counts = [0; 4];
    for (count, sql) in counts.iter_mut().zip(COUNTS) {
        *count = rows::number(scope.find(sql, &[], |row| row.get(0))?.unwrap_or_default());
    }
    Ok(counts)
}

fn usage(connection: &Connection, tenant: &TenantId) -> Result<TenantUsage, Stop> {
    let scope = Scope::new(connection, tenant)?;
    let [runs, entries, ..] = count(&scope)?;
    let mut bytes = 0;
    for sql in BYTES {
        let sum: Option<Option<i64>> = scope.find(sql, &[], |row| row.get(0))?;
        bytes += rows::number(sum.flatten().unwrap_or_default());
    }
    Ok(TenantUsage { runs, entries, bytes })
}

fn erase(
    connection: &Connection,
    tenant: &TenantId,
    by: Option<&UserId>,
    reason: &str,
    at: SystemTime,
) -> Result<ErasureReceipt, Stop> {
    let scope = Scope::new(connection, tenant)?;
    let before = count(&scope)?;
    for sql in ERASE {
        scope.execute(sql, &[])?;
    }
    let left = count(&scope)?;
    let record = audit::erased(tenant, by, reason, at, before);
    let (audit_seq, audit_hash) = super::audit::add(connection, &record)?;
    let tables = audit::erased_tables(before, left, audit_seq);
    Ok(ErasureReceipt { tenant: tenant.clone(), at, tables, audit_seq, audit_hash })
}

impl TenantData for SqliteStore {
    fn usage<'a>(&'a self, tenant: &'a TenantId) -> JournalFuture<'a, TenantUsage> {
        let tenant = tenant.clone();
        Box::pin(self.look(move |connection, _| usage(connection, &tenant)))
    }

    fn erase<'a>(
        &'a self,
        tenant: &'a TenantId,
        by: Option<&'a UserId>,
        reason: &'a str,
    ) -> JournalFuture<'a, ErasureReceipt> {
        let (tenant, by, reason) = (tenant.clone(), by.cloned(), reason.to_owned());
        let at = rows::wall_now();
        let erased = self.write(0, move |connection, _| erase(connection, &tenant, by.as_ref(), &reason, at));
        // The log still has what was erased, until the file takes it over.
        let emptied = self.inner.shared.queue.empty_log();
        Box::pin(async move {
            let receipt = erased.await?;
            drop(emptied.await);
            Ok(receipt)
        })
    }
}
