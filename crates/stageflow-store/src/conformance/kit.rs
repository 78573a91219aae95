//! What the cases have in common.

use std::{
    mem::discriminant,
    sync::Arc,
    time::{Duration, SystemTime},
};

use stageflow_core::{
    ContextSnapshot, RunId, RunOutcome, TenantId,
    durable::{
        Encoded, Entry, EntryKind, Journal, JournalError, JournalErrorKind, PauseRecord, RunHeader, RunKey,
        RunLease, StageEnd,
    },
    idempotency::{IdempotencyKey, StoreKey},
};

/// A tenant that no other case has.
pub(super) fn tenant() -> TenantId {
    TenantId::from(format!("tenant {}", RunId::new()))
}

/// 2030 and some milliseconds.
pub(super) fn moment(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_893_456_000_000 + millis)
}

pub(super) fn header_of(tenant: &TenantId, run: RunId) -> Arc<RunHeader> {
    let snapshot =
        ContextSnapshot::builder().run(run).tenant(tenant.as_str()).pipeline("conformance").build();
    let key = RunKey::new(tenant.as_str(), run);
    let input = Some(Encoded::new(1, b"input".to_vec()));
    Arc::new(RunHeader { key, snapshot, input, started: moment(0), seed: 7, branch_of: None })
}

pub(super) fn header(tenant: &TenantId) -> Arc<RunHeader> {
    header_of(tenant, RunId::new())
}

/// A run that was begun.
pub(super) async fn begun(journal: &impl Journal, tenant: &TenantId) -> (RunKey, RunLease) {
    let header = header(tenant);
    let lease = journal.begin(Arc::clone(&header)).await.expect("a new run is begun");
    (header.key.clone(), lease)
}

/// A run that has ended at some time.
pub(super) async fn ended(journal: &impl Journal, tenant: &TenantId, at: SystemTime) -> RunKey {
    let (key, lease) = begun(journal, tenant).await;
    journal.append(&key, lease, vec![entry(1), end(2, at)]).await.expect("the run ends");
    key
}

/// An entry with a payload that tells its number.
pub(super) fn entry(seq: u64) -> Entry {
    let kind = EntryKind::StageEnded {
        stage: "stage".into(),
        attempts: 1,
        took: Duration::from_micros(seq),
        end: StageEnd::Completed,
        wiring: 3,
    };
    Entry { seq, at: 1_000 + seq, kind, payload: Some(Encoded::new(2, format!("payload {seq}"))) }
}

pub(super) fn entries(seqs: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    seqs.map(entry).collect()
}

/// The last entry of a run.
pub(super) fn end(seq: u64, at: SystemTime) -> Entry {
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let kind = EntryKind::RunEnded { outcome: RunOutcome::Completed, failure: None };
    Entry { seq, at: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), kind, payload: None }
}

/// The entries that a journal has of a run.
pub(super) async fn read(journal: &impl Journal, key: &RunKey) -> Vec<Entry> {
    let run = journal.load(key).await.expect("a run is read");
    run.expect("the journal has the run").entries
}

pub(super) fn question(token: &str, expires: Option<SystemTime>) -> PauseRecord {
    PauseRecord { stage: "asks".to_owned(), token: token.to_owned(), opened: moment(1), expires }
}

pub(super) fn store_key(tenant: &TenantId, stage: &str, key: &str) -> StoreKey {
    StoreKey::for_stage(Some(tenant.clone()), "conformance", stage, IdempotencyKey::new(key))
}

/// What was asked for is refused for this reason; returns what is said then.
#[track_caller]
pub(super) fn refused<T>(result: Result<T, JournalError>, kind: JournalErrorKind) -> String {
    match result {
        Ok(_) => panic!("it should be refused: {kind:?}"),
        Err(error) => {
            let same = discriminant(&error.kind()) == discriminant(&kind);
            assert!(same, "it should be refused as {kind:?}, and is as {:?}: {error}", error.kind());
            error.to_string()
        }
    }
}

/// That another process goes on, until whenever.
pub(super) const HELD: JournalErrorKind = JournalErrorKind::LeaseHeld { until: SystemTime::UNIX_EPOCH };
