//! Tenants are apart, and one may go.

use std::sync::Arc;

use stageflow_core::{
    TenantId, UserId,
    audit::{AuditLog as _, ErasureReceipt, TenantData as _, TenantUsage},
    durable::{Answered, Encoded, Entry, Journal as _, JournalErrorKind},
    idempotency::{Answer, Begin, Fingerprint, IdempotencyStore},
};

use super::{
    Backend,
    kit::{
        HELD, begun, end, ended, entries, entry, header, header_of, moment, question, read, refused,
        store_key, tenant,
    },
};
use crate::audit::verify;

pub(super) async fn another_tenant_finds_nothing_out(backend: &impl Backend) {
    let (owner, other) = (tenant(), tenant());
    let store = backend.open().await;
    let (key, lease) = begun(&store, &owner).await;
    store.append(&key, lease, vec![entry(1)]).await.expect("it is written");
    let done = ended(&store, &owner, moment(1)).await;
    let unknown = header(&other).key.clone();
    for known in [&key, &done] {
        let foreign = header_of(&other, known.run()).key.clone();
        assert!(store.load(&foreign).await.expect("it is read").is_none());
        let told = store.claim(&foreign).await.map(drop).expect_err("there is no such run");
        let expected = store.claim(&unknown).await.map(drop).expect_err("there is no such run");
        assert_eq!(told.kind(), expected.kind());
        let ids = (unknown.run().to_string(), foreign.run().to_string());
        assert_eq!(told.to_string(), expected.to_string().replace(&ids.0, &ids.1), "byte for byte");
        assert_eq!(told.help(), expected.help());
        let told = refused(store.append(&foreign, lease, vec![entry(2)]).await, JournalErrorKind::LeaseLost);
        let expected =
            refused(store.append(&unknown, lease, vec![entry(2)]).await, JournalErrorKind::LeaseLost);
        assert_eq!(told, expected.replace(&ids.0, &ids.1));
    }
    assert_eq!(store.unfinished(&other, None, 10).await.expect("they are listed"), []);
    assert_eq!(store.unfinished(&other, Some(key.run()), 10).await.expect("they are listed"), []);
    assert_eq!(store.usage(&other).await.expect("it is counted"), TenantUsage::default());
}

pub(super) async fn another_tenant_changes_nothing(backend: &impl Backend) {
    let (owner, other) = (tenant(), tenant());
    let store = backend.open().await;
    let (key, lease) = begun(&store, &owner).await;
    store.append(&key, lease, vec![entry(1)]).await.expect("it is written");
    store.pause(&key, lease, &question("q", None)).await.expect("it asks");
    let done = ended(&store, &owner, moment(1)).await;
    let foreign = header_of(&other, key.run()).key.clone();
    store.release(&foreign, lease);
    refused(store.append(&foreign, lease, vec![entry(2)]).await, JournalErrorKind::LeaseLost);
    refused(store.pause(&foreign, lease, &question("r", None)).await, JournalErrorKind::LeaseLost);
    let told = store.answer(&foreign, "q", Encoded::new(1, Vec::new()), None).await.expect("it is told");
    assert_eq!(told, Answered::NotWaiting);
    assert_eq!(store.forget_ended(&other, moment(1 << 40)).await.expect("it forgets"), 0);
    store.erase(&other, None, "asked for").await.expect("nothing is erased");
    refused(store.claim(&key).await, HELD);
    store.append(&key, lease, vec![entry(2)]).await.expect("it goes on");
    assert_eq!(read(&store, &key).await, entries(1..=2));
    assert_eq!(store.pauses(&key).await.expect("they are listed"), [question("q", None)]);
    assert_eq!(read(&store, &done).await.len(), 2);
}

pub(super) async fn one_id_is_two_runs_for_two_tenants(backend: &impl Backend) {
    let store = backend.open().await;
    let (one, other) = (header(&tenant()), tenant());
    let other = header_of(&other, one.key.run());
    let first = store.begin(Arc::clone(&one)).await.expect("it is begun");
    let second = store.begin(Arc::clone(&other)).await.expect("another tenant has it, too");
    store.append(&one.key, first, entries(1..=2)).await.expect("it is written");
    store.append(&other.key, second, vec![end(1, moment(1))]).await.expect("it ends");
    assert_eq!(read(&store, &one.key).await, entries(1..=2));
    assert_eq!(read(&store, &other.key).await.len(), 1);
    store.append(&one.key, first, vec![entry(3)]).await.expect("it goes on");
}

pub(super) async fn usage_counts_what_is_there(backend: &impl Backend) {
    let (tenant, other) = (tenant(), tenant());
    let store = backend.open().await;
    let usage = async || store.usage(&tenant).await.expect("it is counted");
    assert_eq!(usage().await, TenantUsage::default());
    let (key, lease) = begun(&store, &tenant).await;
    let begun_with = usage().await;
    assert_eq!(
        (begun_with.runs, begun_with.entries, begun_with.bytes),
        (1, 0, 5),
        "the input has five bytes"
    );
    let small = vec![Entry { payload: None, ..entry(1) }];
    store.append(&key, lease, small).await.expect("it is written");
    let with_entry = usage().await;
    assert!(with_entry.bytes > begun_with.bytes, "an entry has bytes of its own");
    let payload = Some(Encoded::new(1, vec![0; 10_000]));
    let large = vec![Entry { payload, ..entry(2) }];
    store.append(&key, lease, large).await.expect("it is written");
    let with_output = usage().await;
    assert!(with_output.bytes >= with_entry.bytes + 10_000, "an output counts");
    assert_eq!((with_output.runs, with_output.entries), (1, 2));
    let answers = backend.answers(&store);
    answered(&answers, &tenant).await;
    assert_eq!(usage().await.bytes, with_output.bytes + 6, "an answer counts");
    begun(&store, &other).await;
    assert_eq!(usage().await.runs, 1, "what others have does not");
    store.append(&key, lease, vec![end(3, moment(1))]).await.expect("it ends");
    assert_eq!((usage().await.runs, usage().await.entries), (1, 3), "an ended run counts");
    assert_eq!(store.forget_ended(&tenant, moment(2)).await.expect("it forgets"), 1);
    assert_eq!(usage().await, TenantUsage { runs: 0, entries: 0, bytes: 6 });
}

/// Has an answer of six bytes kept for a tenant.
async fn answered(answers: &impl IdempotencyStore, tenant: &TenantId) {
    let key = store_key(tenant, "stage", "key");
    match answers.begin(&key, &Fingerprint::from(1)).await.expect("it answers") {
        Begin::First(lease) => {
            let answer = Answer::Encoded(Encoded::new(1, b"answer"));
            assert!(answers.complete(&key, lease, answer).await.expect("it answers"));
        }
        other => panic!("it should be the first, and is {other:?}"),
    }
}

fn erased(receipt: &ErasureReceipt) -> u64 {
    receipt.tables.iter().map(|table| table.erased).sum()
}

pub(super) async fn an_erasure_leaves_nothing_of_one_and_all_of_others(backend: &impl Backend) {
    let (gone, stays) = (tenant(), tenant());
    let store = backend.open().await;
    let answers = backend.answers(&store);
    let mut keys = Vec::new();
    for tenant in [&gone, &stays] {
        let (key, lease) = begun(&store, tenant).await;
        store.append(&key, lease, entries(1..=3)).await.expect("they are written");
        store.pause(&key, lease, &question("q", None)).await.expect("it asks");
        ended(&store, tenant, moment(1)).await;
        answered(&answers, tenant).await;
        keys.push(key);
    }
    let before = store.usage(&stays).await.expect("it is counted");
    let by = UserId::from("officer");
    let receipt = store.erase(&gone, Some(&by), "asked for").await.expect("it is erased");
    assert_eq!(receipt.tenant, gone);
    for table in &receipt.tables {
        let left = if table.table.contains("audit") { 1 } else { 0 };
        assert_eq!(table.left, left, "{}", table.table);
    }
    assert!(erased(&receipt) > 8, "runs, entries, a pause and an answer");
    assert_eq!(store.usage(&gone).await.expect("it is counted"), TenantUsage::default());
    assert!(store.load(&keys[0]).await.expect("it is read").is_none());
    assert_eq!(store.unfinished(&gone, None, 10).await.expect("they are listed"), []);
    let log = store.read(&gone, 0, 10).await.expect("the log is read");
    verify(None, &log).expect("the chain holds");
    let last = log.last().expect("the log stays");
    assert_eq!((last.seq, last.hash), (receipt.audit_seq, receipt.audit_hash));
    assert_eq!((last.record.action.as_str(), last.record.decision.as_str()), ("tenant.erased", "erased"));
    assert_eq!((last.record.who.as_ref(), last.record.reason.as_str()), (Some(&by), "asked for"));
    assert_eq!(store.usage(&stays).await.expect("it is counted"), before, "the other has all");
    assert_eq!(read(&store, &keys[1]).await, entries(1..=3));
    assert_eq!(store.pauses(&keys[1]).await.expect("they are listed").len(), 1);
    let again = store.erase(&gone, None, "once more").await.expect("it is erased");
    assert_eq!(erased(&again), 0);
    assert_eq!(again.audit_seq, receipt.audit_seq + 1);
    answered(&answers, &gone).await;
}

pub(super) async fn a_run_that_is_erased_goes_no_further(backend: &impl Backend) {
    let tenant = tenant();
    let store = backend.open().await;
    let (key, lease) = begun(&store, &tenant).await;
    store.erase(&tenant, None, "asked for").await.expect("it is erased");
    refused(store.append(&key, lease, vec![entry(1)]).await, JournalErrorKind::LeaseLost);
    refused(store.pause(&key, lease, &question("q", None)).await, JournalErrorKind::LeaseLost);
    refused(store.claim(&key).await, JournalErrorKind::NotFound);
    assert!(store.load(&key).await.expect("it is read").is_none());
}
