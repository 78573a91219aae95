//! Who was let do what, for which tenant, and why: records that are only ever added to, and the end of a tenant's data.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{
    durable::{Ack, JournalFuture},
    event::FieldValue,
    id::{RunId, TenantId, UserId},
};

/// One decision, for an auditor. It holds no payload and no secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// For which tenant.
    pub tenant: TenantId,
    /// When, by the wall clock.
    pub at: SystemTime,
    /// Who asked, where that is known.
    pub who: Option<UserId>,
    /// In which run.
    pub run: Option<RunId>,
    /// At which stage.
    pub stage: Option<String>,
    /// What was decided on: the name of an event, such as `auth.denied`, or `tenant.erased`.
    pub action: String,
    /// What was decided, in one word: `granted`, `denied`, `blocked`, `erased` …
    pub decision: String,
    /// Why.
    pub reason: String,
    /// What else is known about it.
    pub fields: Vec<(String, FieldValue)>,
}

/// A record in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audited {
    /// Its number among the records of the tenant: from 1, without gaps.
    pub seq: u64,
    /// The SHA-256 of the hash before, and of this record: whoever changes or takes out a record breaks the chain.
    pub hash: [u8; 32],
    /// The record.
    pub record: AuditRecord,
}

/// Keeps audit records, apart for each tenant. They can be added and read, and nothing else.
pub trait AuditLog: Send + Sync + 'static {
    /// Adds records; of one tenant in this order. Complete when they are durable; dropping the answer loses none.
    fn record(&self, records: Vec<AuditRecord>) -> Ack;

    /// The records of a tenant behind number `after`, at most so many.
    fn read<'a>(&'a self, tenant: &'a TenantId, after: u64, limit: usize) -> JournalFuture<'a, Vec<Audited>>;
}

/// What was erased of a tenant: proof for whoever asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureReceipt {
    /// Whose data it was.
    pub tenant: TenantId,
    /// When.
    pub at: SystemTime,
    /// How many rows there were, by table, and how many are left: those of the audit log, which has the erasure as its last record.
    pub tables: Vec<ErasedTable>,
    /// The number of that record.
    pub audit_seq: u64,
    /// The hash of that record, which stands for the whole log.
    pub audit_hash: [u8; 32],
}

/// What was erased of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedTable {
    /// The table.
    pub table: String,
    /// How many rows of the tenant were erased.
    pub erased: u64,
    /// How many rows of the tenant are left, by a look after the erasure.
    pub left: u64,
}

/// What a tenant has stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantUsage {
    /// How many runs, ended ones included.
    pub runs: u64,
    /// How many entries.
    pub entries: u64,
    /// How many bytes of inputs, outputs, entries and answers.
    pub bytes: u64,
}

/// All that a store has of one tenant.
pub trait TenantData: Send + Sync + 'static {
    /// How much it is.
    fn usage<'a>(&'a self, tenant: &'a TenantId) -> JournalFuture<'a, TenantUsage>;

    /// Erases it: runs, pauses and answers, and then looks whether something is left. The audit log stays, and has a record of it. Runs
    /// that are going on lose their lease.
    fn erase<'a>(
        &'a self,
        tenant: &'a TenantId,
        by: Option<&'a UserId>,
        reason: &'a str,
    ) -> JournalFuture<'a, ErasureReceipt>;
}
