//! Audit records: [`AuditSink`] makes them of the events of runs, and [`verify`] checks the chain of a log.

mod rules;
#[expect(clippy::disallowed_methods, reason = "a sink works on a thread of its own, outside of any run")]
mod sink;
#[expect(clippy::disallowed_methods, reason = "it waits on a thread that nobody else needs")]
mod wait;

pub use self::sink::AuditSink;

use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use stageflow_core::{
    TenantId, UserId,
    audit::{AuditRecord, Audited, ErasedTable},
    durable::{JournalError, JournalErrorKind},
};

/// What stands before the first record of a tenant.
pub const START: [u8; 32] = [0; 32];

/// A record as text: what is kept, and what is hashed.
pub(crate) fn text(record: &AuditRecord) -> Result<String, JournalError> {
    serde_json::to_string(record).map_err(|error| {
        JournalError::new(JournalErrorKind::Corrupt, "an audit record cannot be written").source(error)
    })
}

/// The record that was written so.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn record(text: &str) -> Result<AuditRecord, JournalError> {
    serde_json::from_str(text).map_err(|error| crate::rows::unreadable("an audit record", error))
}

/// The hash of a record in its place: SHA-256 of the hash before, the number as 8 bytes, big end first, and the JSON of the record.
pub(crate) fn link(before: &[u8; 32], seq: u64, text: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(seq.to_be_bytes());
    hash.update(text.as_bytes());
    hash.finalize().into()
}

/// Checks records that follow `before`, or that are the first: their numbers have no gap, and each has the hash of what stands before
/// it and of itself.
///
/// # Errors
///
/// [`Corrupt`](JournalErrorKind::Corrupt), with the number of the first record that does not fit.
pub fn verify(before: Option<&Audited>, records: &[Audited]) -> Result<(), JournalError> {
    let (mut seq, mut hash) = before.map_or((0, START), |before| (before.seq, before.hash));
    for audited in records {
        let expected = link(&hash, seq + 1, &text(&audited.record)?);
        if audited.seq != seq + 1 || audited.hash != expected {
            let message = format!(
                "audit record {} does not follow record {seq}: one of them was changed, or one is missing",
                audited.seq
            );
            return Err(JournalError::new(JournalErrorKind::Corrupt, message));
        }
        (seq, hash) = (audited.seq, audited.hash);
    }
    Ok(())
}

/// The tables that an erasure empties, in the order in which it counts them.
pub(crate) const ERASED: [&str; 4] = ["runs", "entries", "pauses", "answers"];

/// The record of an erasure.
pub(crate) fn erased(
    tenant: &TenantId,
    by: Option<&UserId>,
    reason: &str,
    at: SystemTime,
    counts: [u64; 4],
) -> AuditRecord {
    let fields = ERASED.iter().zip(counts).map(|(table, count)| ((*table).to_owned(), count.into()));
    AuditRecord {
        tenant: tenant.clone(),
        at,
        who: by.cloned(),
        run: None,
        stage: None,
        action: "tenant.erased".to_owned(),
        decision: "erased".to_owned(),
        reason: reason.to_owned(),
        fields: fields.collect(),
    }
}

/// What a receipt says of each table; the audit log stays.
pub(crate) fn erased_tables(erased: [u64; 4], left: [u64; 4], audited: u64) -> Vec<ErasedTable> {
    let counts = erased.into_iter().zip(left);
    let emptied = ERASED.iter().zip(counts).map(|(table, (erased, left))| ErasedTable {
        table: (*table).to_owned(),
        erased,
        left,
    });
    let log = ErasedTable { table: "audit".to_owned(), erased: 0, left: audited };
    emptied.chain([log]).collect()
}

#[cfg(test)]
mod tests;
