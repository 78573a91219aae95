//! Audit records in memory, and the end of a tenant's data there.

use std::time::SystemTime;

use stageflow_core::{
    TenantId, UserId,
    audit::{AuditLog, AuditRecord, Audited, ErasureReceipt, TenantData, TenantUsage},
    durable::{Ack, JournalError, JournalFuture},
};

use super::{MemoryStore, State, done};
use crate::{audit, rows};

impl State {
    fn audit(&mut self, record: AuditRecord) -> Result<&Audited, JournalError> {
        let text = audit::text(&record)?;
        let log = self.audit.entry(record.tenant.clone()).or_default();
        let (seq, before) = log.last().map_or((0, audit::START), |last| (last.seq, last.hash));
        log.push(Audited { seq: seq + 1, hash: audit::link(&before, seq + 1, &text), record });
        Ok(&log[log.len() - 1])
    }

    /// How many rows there are of a tenant: runs, entries, pauses, answers.
    fn count(&self, tenant: &TenantId) -> [u64; 4] {
        let runs = || self.of(tenant, None).map(|(_, run)| run);
        let answers = self.answers.keys().filter(|(of, _)| of == tenant).count();
        [
            runs().count() as u64,
            runs().map(|run| run.entries.len() as u64).sum(),
            runs().map(|run| run.pauses.len() as u64).sum(),
            answers as u64,
        ]
    }

    fn usage(&self, tenant: &TenantId) -> TenantUsage {
        let [runs, entries, ..] = self.count(tenant);
        let mut bytes = 0;
        for (_, run) in self.of(tenant, None) {
            bytes += run.input.as_ref().map_or(0, |input| input.bytes.len() as u64);
            bytes +=
                run.entries.iter().map(|row| rows::entry_bytes(&row.kind, row.payload.as_ref())).sum::<u64>();
            let answers = run.pauses.values().filter_map(|pause| pause.answer.as_ref());
            bytes += answers.map(|answer| answer.bytes.len() as u64).sum::<u64>();
        }
        let answers = self.answers.iter().filter(|((of, _), _)| of == tenant);
        bytes += answers.map(|(_, row)| row.bytes()).sum::<u64>();
        TenantUsage { runs, entries, bytes }
    }

    fn erase(
        &mut self,
        tenant: &TenantId,
        by: Option<&UserId>,
        reason: &str,
        at: SystemTime,
    ) -> Result<ErasureReceipt, JournalError> {
        let before = self.count(tenant);
        self.runs.retain(|(of, _), _| of != tenant);
        self.answers.retain(|(of, _), _| of != tenant);
        let left = self.count(tenant);
        let last = self.audit(audit::erased(tenant, by, reason, at, before))?;
        let (audit_seq, audit_hash) = (last.seq, last.hash);
        let tables = audit::erased_tables(before, left, audit_seq);
        Ok(ErasureReceipt { tenant: tenant.clone(), at, tables, audit_seq, audit_hash })
    }
}

impl AuditLog for MemoryStore {
    fn record(&self, records: Vec<AuditRecord>) -> Ack {
        let add = || {
            for record in &records {
                rows::tenant(&record.tenant)?;
            }
            let mut state = self.lock();
            records.into_iter().try_for_each(|record| state.audit(record).map(drop))
        };
        done(add())
    }

    fn read<'a>(&'a self, tenant: &'a TenantId, after: u64, limit: usize) -> JournalFuture<'a, Vec<Audited>> {
        Box::pin(async move {
            rows::tenant(tenant)?;
            let state = self.lock();
            let log = state.audit.get(tenant).into_iter().flatten();
            Ok(log.filter(|audited| audited.seq > after).take(limit).cloned().collect())
        })
    }
}

impl TenantData for MemoryStore {
    fn usage<'a>(&'a self, tenant: &'a TenantId) -> JournalFuture<'a, TenantUsage> {
        Box::pin(async move {
            rows::tenant(tenant)?;
            Ok(self.lock().usage(tenant))
        })
    }

    fn erase<'a>(
        &'a self,
        tenant: &'a TenantId,
        by: Option<&'a UserId>,
        reason: &'a str,
    ) -> JournalFuture<'a, ErasureReceipt> {
        Box::pin(async move {
            rows::tenant(tenant)?;
            let at = self.wall();
            self.lock().erase(tenant, by, reason, at)
        })
    }
}
