//! [`AuditLog`] on PostgreSQL.

use std::collections::BTreeMap;

use stageflow_core::{
    TenantId,
    audit::{AuditLog, AuditRecord, Audited},
    durable::{Ack, JournalError, JournalFuture},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    PostgresStore,
    access::{Access, Connection, Statement},
    trouble::{Trouble, late},
};
use crate::{audit, rows};

/// Of all that add to the log of a tenant at the same time one does. The lock ends with the transaction.
pub(super) const LOCK: &str =
    "SELECT pg_advisory_xact_lock(hashtextextended('stageflow.audit ' || $1::text, 0))";

/// Adds a record behind the last one. The hash is that of [`audit::link`](crate::audit).
pub(super) const ADD: &str = "
INSERT INTO stageflow.audit (tenant, seq, hash, record)
SELECT $1, last.seq + 1, sha256(last.hash || int8send(last.seq + 1) || convert_to($2::text, 'UTF8')), $2::text
FROM (
    (SELECT seq, hash FROM stageflow.audit WHERE tenant = $1 ORDER BY seq DESC LIMIT 1)
    UNION ALL SELECT 0, decode(repeat('00', 32), 'hex')
    ORDER BY seq DESC LIMIT 1
) AS last
RETURNING seq, hash";

const READ: &str = "
SELECT seq, hash, record FROM stageflow.audit WHERE tenant = $1 AND seq > $2 ORDER BY seq LIMIT $3";

/// Records to be added, and who waits for it.
pub(super) struct Records {
    tenants: BTreeMap<TenantId, Vec<String>>,
    done: oneshot::Sender<Result<(), JournalError>>,
}

/// Adds what is asked for, in the order of the calls, until nobody can ask any more.
pub(super) async fn write(access: Access, mut asked: mpsc::UnboundedReceiver<Records>) {
    while let Some(Records { tenants, done }) = asked.recv().await {
        // Once: what was lost in the middle would be there twice.
        let _nobody_waits = done.send(access.once(add(&access, &tenants)).await);
    }
}

async fn add(access: &Access, tenants: &BTreeMap<TenantId, Vec<String>>) -> Result<(), Trouble> {
    let names: Vec<&str> = tenants.keys().map(TenantId::as_str).collect();
    let statements: Vec<(&TenantId, Vec<Statement<'_>>)> = tenants
        .iter()
        .zip(&names)
        .map(|((tenant, records), name)| {
            let lock: Statement<'_> = (LOCK, vec![name]);
            let add = records.iter().map(|record| -> Statement<'_> { (ADD, vec![name, record]) });
            (tenant, [lock].into_iter().chain(add).collect())
        })
        .collect();
    let work: Vec<(&TenantId, &[Statement<'_>])> =
        statements.iter().map(|(tenant, statements)| (*tenant, statements.as_slice())).collect();
    Connection::of(&access.pool).await?.transaction(&work).await.map(drop)
}

async fn read(access: &Access, tenant: &TenantId, after: i64, limit: i64) -> Result<Vec<Audited>, Trouble> {
    let name = rows::tenant(tenant)?;
    let answers = access.with_tenant(tenant, &[(READ, vec![&name, &after, &limit])]).await?;
    answers[0]
        .iter()
        .map(|row| {
            Ok(Audited {
                seq: rows::number(row.try_get(0)?),
                hash: hash(row.try_get(1)?)?,
                record: audit::record(row.try_get(2)?)?,
            })
        })
        .collect()
}

pub(super) fn hash(bytes: &[u8]) -> Result<[u8; 32], JournalError> {
    bytes.try_into().map_err(|error: std::array::TryFromSliceError| {
        rows::unreadable("the hash of an audit record", error)
    })
}

fn texts(records: &[AuditRecord]) -> Result<BTreeMap<TenantId, Vec<String>>, JournalError> {
    let mut tenants: BTreeMap<TenantId, Vec<String>> = BTreeMap::new();
    for record in records {
        rows::tenant(&record.tenant)?;
        tenants.entry(record.tenant.clone()).or_default().push(audit::text(record)?);
    }
    Ok(tenants)
}

impl AuditLog for PostgresStore {
    fn record(&self, records: Vec<AuditRecord>) -> Ack {
        let (done, answer) = oneshot::channel();
        let asked = texts(&records).and_then(|tenants| {
            self.records.send(Records { tenants, done }).map_err(|_| late("the task that writes has ended"))
        });
        Box::pin(async move {
            asked?;
            answer.await.unwrap_or_else(|_| Err(late("the task that writes has ended")))
        })
    }

    fn read<'a>(&'a self, tenant: &'a TenantId, after: u64, limit: usize) -> JournalFuture<'a, Vec<Audited>> {
        let (access, tenant) = (self.access.clone(), tenant.clone());
        let (after, limit) = (rows::column(after), rows::column(limit as u64));
        self.access.spawn(async move { access.repeat(|| read(&access, &tenant, after, limit)).await })
    }
}
