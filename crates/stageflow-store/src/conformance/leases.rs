//! Who goes on with a run.

use std::{sync::Arc, time::Duration};

use stageflow_core::durable::{Journal, JournalErrorKind, JournaledRun, RunKey, RunLease};
use tokio::task::JoinSet;

use super::{
    Backend,
    kit::{HELD, begun, end, ended, entries, entry, header, moment, read, refused, tenant},
};

/// Claims a run that was released just now, perhaps by another handle.
async fn claimed(journal: &impl Journal, key: &RunKey) -> (RunLease, JournaledRun) {
    loop {
        match journal.claim(key).await {
            Ok(claimed) => return claimed,
            Err(error) => assert_eq!(error.code().as_str(), "LEASE_HELD", "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) async fn a_held_run_is_not_given_away(backend: &impl Backend) {
    let (first, second) = (backend.open().await, backend.open().await);
    let (key, lease) = begun(&first, &tenant()).await;
    for store in [&first, &second] {
        refused(store.claim(&key).await, HELD);
        match store.claim(&key).await.map_err(|error| error.kind()) {
            Err(JournalErrorKind::LeaseHeld { until }) => {
                assert!(until > crate::rows::wall_now(), "it says until when");
            }
            _ => panic!("it is held"),
        }
    }
    first.append(&key, lease, vec![entry(1)]).await.expect("whoever holds it goes on");
}

pub(super) async fn a_run_is_taken_over_when_its_lease_has_ended(backend: &impl Backend) {
    let (first, second) = (backend.open().await, backend.open().await);
    let (key, old) = begun(&first, &tenant()).await;
    first.append(&key, old, entries(1..=3)).await.expect("they are written");
    backend.expire_leases().await;
    let (new, run) = second.claim(&key).await.expect("it is free");
    assert!(new.epoch > old.epoch, "a later lease has a larger epoch");
    assert_eq!(run.entries, entries(1..=3));
    assert_eq!(run.header.key, key);
    refused(first.claim(&key).await, HELD);
    second.append(&key, new, entries(4..=5)).await.expect("whoever took it over goes on");
    assert_eq!(read(&first, &key).await, entries(1..=5));
}

pub(super) async fn an_old_lease_is_worth_nothing(backend: &impl Backend) {
    let (first, second) = (backend.open().await, backend.open().await);
    let (key, old) = begun(&first, &tenant()).await;
    backend.expire_leases().await;
    let (new, _) = second.claim(&key).await.expect("it is free");
    for stale in [first.append(&key, old, vec![entry(1)]), second.append(&key, old, vec![entry(1)])] {
        refused(stale.await, JournalErrorKind::LeaseLost);
    }
    refused(first.append(&key, old, Vec::new()).await, JournalErrorKind::LeaseLost);
    refused(first.append(&key, old, vec![end(1, moment(1))]).await, JournalErrorKind::LeaseLost);
    assert_eq!(read(&second, &key).await, [], "nothing of it is written");
    // In one batch with what is right.
    let stale = second.append(&key, old, vec![entry(1)]);
    let right = second.append(&key, new, vec![entry(1)]);
    let stale_too = second.append(&key, old, vec![entry(2)]);
    refused(stale.await, JournalErrorKind::LeaseLost);
    right.await.expect("the last lease is worth something");
    refused(stale_too.await, JournalErrorKind::LeaseLost);
    assert_eq!(read(&second, &key).await, entries(1..=1));
}

pub(super) async fn an_old_lease_frees_nothing(backend: &impl Backend) {
    let (first, second) = (backend.open().await, backend.open().await);
    let (key, old) = begun(&first, &tenant()).await;
    backend.expire_leases().await;
    let (new, _) = second.claim(&key).await.expect("it is free");
    first.release(&key, old);
    // It is done once something after it is.
    refused(first.append(&key, old, Vec::new()).await, JournalErrorKind::LeaseLost);
    refused(first.claim(&key).await, HELD);
    second.append(&key, new, vec![entry(1)]).await.expect("it goes on");
}

pub(super) async fn a_released_run_is_free_at_once(backend: &impl Backend) {
    let store = backend.open().await;
    let (key, lease) = begun(&store, &tenant()).await;
    drop(store.append(&key, lease, entries(1..=2)));
    store.release(&key, lease);
    let (new, run) = claimed(&store, &key).await;
    assert_eq!(run.entries, entries(1..=2), "what was appended before is there");
    refused(store.append(&key, lease, vec![entry(3)]).await, JournalErrorKind::LeaseLost);
    store.release(&key, new);
    claimed(&backend.open().await, &key).await;
}

pub(super) async fn of_many_claims_one_succeeds(backend: &impl Backend) {
    let store = backend.open().await;
    let (key, _) = begun(&store, &tenant()).await;
    backend.expire_leases().await;
    let mut claims = JoinSet::new();
    for _ in 0..8 {
        let (store, key) = (Arc::new(backend.open().await), key.clone());
        claims.spawn(async move {
            let claimed = store.claim(&key).await;
            (store, claimed)
        });
    }
    let ended = claims.join_all().await;
    let won = ended.iter().filter(|(_, claimed)| claimed.is_ok()).count();
    assert_eq!(won, 1, "one of all has it");
    for (_, claimed) in ended {
        if claimed.is_err() {
            refused(claimed, HELD);
        }
    }
}

pub(super) async fn an_ended_run_is_not_claimed(backend: &impl Backend) {
    let store = backend.open().await;
    let key = ended(&store, &tenant(), moment(1)).await;
    refused(store.claim(&key).await, JournalErrorKind::Ended);
    backend.expire_leases().await;
    refused(store.claim(&key).await, JournalErrorKind::Ended);
    let unknown = header(key.tenant()).key.clone();
    refused(store.claim(&unknown).await, JournalErrorKind::NotFound);
}
