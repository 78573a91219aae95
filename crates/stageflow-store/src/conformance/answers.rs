//! Answers that are given once.

use std::sync::Arc;

use stageflow_core::{
    Code, ErrorClass, Value,
    durable::Encoded,
    idempotency::{
        Answer, Begin, Fingerprint, IdempotencyKey, IdempotencyStore, Lease, StoreKey, StoredFailure,
    },
};
use tokio::task::JoinSet;

use super::{
    Backend,
    kit::{store_key, tenant},
};

async fn begin(answers: &impl IdempotencyStore, key: &StoreKey, inputs: u64) -> Begin {
    answers.begin(key, &Fingerprint::from(inputs)).await.expect("a store answers")
}

#[track_caller]
fn first(begin: Begin) -> Lease {
    match begin {
        Begin::First(lease) => lease,
        other => panic!("it should be the first, and is {other:?}"),
    }
}

#[track_caller]
fn done(begin: Begin) -> Encoded {
    match begin {
        Begin::Done(Answer::Encoded(encoded)) => encoded,
        other => panic!("it should have an answer, and is {other:?}"),
    }
}

fn answer(bytes: &[u8]) -> Answer {
    Answer::Encoded(Encoded::new(4, bytes))
}

async fn complete(answers: &impl IdempotencyStore, key: &StoreKey, lease: Lease, bytes: &[u8]) -> bool {
    answers.complete(key, lease, answer(bytes)).await.expect("a store takes answers")
}

pub(super) async fn of_many_calls_one_is_the_first(backend: &impl Backend) {
    let key = store_key(&tenant(), "stage", "key");
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let answers = Arc::new(backend.answers(&backend.open().await));
        for _ in 0..16 {
            let (answers, key) = (Arc::clone(&answers), key.clone());
            calls.spawn(async move {
                let mut firsts = 0;
                loop {
                    match begin(&*answers, &key, 1).await {
                        Begin::First(lease) => {
                            firsts += 1;
                            tokio::task::yield_now().await;
                            assert!(complete(&*answers, &key, lease, b"once").await, "its lease holds");
                        }
                        Begin::InFlight(wait) => wait.await,
                        Begin::Done(Answer::Encoded(encoded)) => break (firsts, encoded),
                        other => panic!("it should be first, wait, or have an answer, and is {other:?}"),
                    }
                }
            });
        }
    }
    let ended = calls.join_all().await;
    assert_eq!(ended.iter().map(|(firsts, _)| firsts).sum::<u32>(), 1, "one call is made");
    assert!(ended.iter().all(|(_, encoded)| *encoded == Encoded::new(4, b"once")), "all have its answer");
}

pub(super) async fn an_answer_is_given_again(backend: &impl Backend) {
    let key = store_key(&tenant(), "stage", "key");
    let store = backend.open().await;
    let answers = backend.answers(&store);
    assert!(answers.keeps_bytes());
    let lease = first(begin(&answers, &key, 1).await);
    assert!(matches!(begin(&answers, &key, 1).await, Begin::InFlight(_)));
    let output = answers.complete(&key, lease, Answer::Output(Value::new(1))).await;
    assert!(output.is_err(), "an output that is no bytes is refused");
    assert!(complete(&answers, &key, lease, b"\0\xFF").await, "and the lease holds");
    assert!(!complete(&answers, &key, lease, b"twice").await, "an answer is given once");
    assert_eq!(done(begin(&answers, &key, 1).await), Encoded::new(4, b"\0\xFF"));
    drop((answers, store));
    let answers = backend.answers(&backend.open().await);
    assert_eq!(done(begin(&answers, &key, 1).await), Encoded::new(4, b"\0\xFF"), "it survives");
}

pub(super) async fn a_failure_is_given_again(backend: &impl Backend) {
    let tenant = tenant();
    let answers = backend.answers(&backend.open().await);
    for (number, code) in [stageflow_core::code::DENIED, Code::new("MY_OWN_CODE")].into_iter().enumerate() {
        let key = store_key(&tenant, "stage", &number.to_string());
        let failure = StoredFailure::new(code, ErrorClass::Permanent, "no ünicode?");
        for failure in [failure.clone(), failure.with_hint("ask again")] {
            let lease = first(begin(&answers, &key, 1).await);
            let stored = answers.complete(&key, lease, Answer::Failure(failure.clone())).await;
            assert!(stored.expect("a failure is stored"));
            match begin(&answers, &key, 1).await {
                Begin::Done(Answer::Failure(again)) => assert_eq!(again, failure),
                other => panic!("it should have failed, and is {other:?}"),
            }
            backend.expire_answers().await;
        }
    }
}

pub(super) async fn other_inputs_are_a_mismatch(backend: &impl Backend) {
    let key = store_key(&tenant(), "stage", "key");
    let answers = backend.answers(&backend.open().await);
    let lease = first(begin(&answers, &key, 1).await);
    assert!(matches!(begin(&answers, &key, 2).await, Begin::Mismatch), "in flight");
    assert!(complete(&answers, &key, lease, b"a").await);
    assert!(matches!(begin(&answers, &key, 2).await, Begin::Mismatch), "done");
    assert_eq!(done(begin(&answers, &key, 1).await).bytes, b"a", "the answer stays");
}

pub(super) async fn an_abandoned_key_is_free(backend: &impl Backend) {
    let key = store_key(&tenant(), "stage", "key");
    let answers = backend.answers(&backend.open().await);
    let lease = first(begin(&answers, &key, 1).await);
    answers.abandon(&key, Lease::new(lease.id().wrapping_add(1), lease.time()));
    assert!(matches!(begin(&answers, &key, 1).await, Begin::InFlight(_)), "another's lease frees nothing");
    answers.abandon(&key, lease);
    let next = loop {
        // Nothing can wait for what is abandoned.
        match begin(&answers, &key, 2).await {
            Begin::First(next) => break next,
            Begin::Mismatch => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            other => panic!("it should be free, and is {other:?}"),
        }
    };
    assert_ne!(next.id(), lease.id(), "a lease is told from those before");
    assert!(!complete(&answers, &key, lease, b"old").await);
    assert!(complete(&answers, &key, next, b"new").await);
    answers.abandon(&key, next);
    assert_eq!(done(begin(&answers, &key, 2).await).bytes, b"new", "an answer is not abandoned");
}

pub(super) async fn a_lease_that_has_ended_changes_nothing(backend: &impl Backend) {
    let key = store_key(&tenant(), "stage", "key");
    let answers = backend.answers(&backend.open().await);
    let old = first(begin(&answers, &key, 1).await);
    backend.expire_leases().await;
    assert!(!complete(&answers, &key, old, b"late").await, "nobody has taken it over");
    let new = first(begin(&answers, &key, 2).await);
    assert!(!complete(&answers, &key, old, b"late").await, "somebody has");
    answers.abandon(&key, old);
    assert!(matches!(begin(&answers, &key, 2).await, Begin::InFlight(_)));
    assert!(complete(&answers, &key, new, b"new").await);
    assert!(!complete(&answers, &key, old, b"late").await, "it is done");
    assert_eq!(done(begin(&answers, &key, 2).await).bytes, b"new");
}

pub(super) async fn an_answer_has_its_time(backend: &impl Backend) {
    let key = store_key(&tenant(), "stage", "key");
    let answers = backend.answers(&backend.open().await);
    let lease = first(begin(&answers, &key, 1).await);
    assert!(complete(&answers, &key, lease, b"a").await);
    backend.expire_leases().await;
    assert_eq!(done(begin(&answers, &key, 1).await).bytes, b"a", "it has no lease any more");
    backend.expire_answers().await;
    let lease = first(begin(&answers, &key, 2).await);
    assert!(complete(&answers, &key, lease, b"b").await, "the key is free for other inputs");
    assert_eq!(done(begin(&answers, &key, 2).await).bytes, b"b");
}

pub(super) async fn keys_are_not_mixed_up(backend: &impl Backend) {
    let (one, other) = (tenant(), tenant());
    let answers = backend.answers(&backend.open().await);
    let keys = [
        store_key(&one, "ab", "c"),
        store_key(&one, "a", "bc"),
        store_key(&one, "", "abc"),
        store_key(&other, "ab", "c"),
        store_key(&one, "ab", ""),
        store_key(&one, "ab", &"c".repeat(10_000)),
        StoreKey::for_stage(Some(one), "other", "ab", IdempotencyKey::new("c")),
    ];
    for (number, key) in keys.iter().enumerate() {
        let lease = first(begin(&answers, key, 1).await);
        assert!(complete(&answers, key, lease, &[u8::try_from(number).unwrap_or_default()]).await);
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(usize::from(done(begin(&answers, key, 1).await).bytes[0]), number);
    }
}

pub(super) async fn a_key_without_a_tenant_is_refused(backend: &impl Backend) {
    let answers = backend.answers(&backend.open().await);
    for tenant in [None, Some("".into())] {
        let key = StoreKey::for_stage(tenant, "conformance", "stage", IdempotencyKey::new("key"));
        let begun = answers.begin(&key, &Fingerprint::from(1)).await;
        assert!(begun.is_err(), "there is no key without a tenant");
    }
}
