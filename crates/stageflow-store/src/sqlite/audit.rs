//! Audit records in their table, which takes no change.

use rusqlite::{Connection, Row};
use stageflow_core::{
    TenantId,
    audit::{AuditLog, AuditRecord, Audited},
    durable::{Ack, JournalFuture},
};

use super::{
    SqliteStore,
    error::Stop,
    scope::{Scope, Sql},
};
use crate::{audit, rows};

const LAST: Sql = Sql::new("SELECT seq, hash FROM audit WHERE tenant = ?1 ORDER BY seq DESC LIMIT 1");
const ADD: Sql = Sql::new("INSERT INTO audit (tenant, seq, hash, record) VALUES (?1, ?2, ?3, ?4)");
const READ: Sql =
    Sql::new("SELECT seq, hash, record FROM audit WHERE tenant = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3");

/// Adds a record to those of its tenant; gives its number and its hash.
pub(super) fn add(connection: &Connection, record: &AuditRecord) -> Result<(u64, [u8; 32]), Stop> {
    let scope = Scope::new(connection, &record.tenant)?;
    let text = audit::text(record)?;
    let last = scope.find(LAST, &[], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?)))?;
    let (last, before) = last.unwrap_or((0, audit::START));
    let seq = rows::number(last) + 1;
    let hash = audit::link(&before, seq, &text);
    scope.execute(ADD, &[&rows::column(seq), &hash, &text])?;
    Ok((seq, hash))
}

fn read(connection: &Connection, tenant: &TenantId, after: u64, limit: usize) -> Result<Vec<Audited>, Stop> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, String>(2)?));
    let found = Scope::new(connection, tenant)?.list(READ, &[&rows::column(after), &limit], read)?;
    let audited = |(seq, hash, text): (i64, [u8; 32], String)| {
        Ok(Audited { seq: rows::number(seq), hash, record: audit::record(&text)? })
    };
    found.into_iter().map(audited).collect()
}

impl AuditLog for SqliteStore {
    fn record(&self, records: Vec<AuditRecord>) -> Ack {
        let bytes = records.iter().map(|record| record.reason.len() + record.action.len() + 512).sum();
        Box::pin(self.write(bytes, move |connection, _| {
            for record in &records {
                // Before anything is written.
                rows::tenant(&record.tenant)?;
            }
            records.iter().try_for_each(|record| add(connection, record).map(drop))
        }))
    }

    fn read<'a>(&'a self, tenant: &'a TenantId, after: u64, limit: usize) -> JournalFuture<'a, Vec<Audited>> {
        let tenant = tenant.clone();
        Box::pin(self.look(move |connection, _| read(connection, &tenant, after, limit)))
    }
}
