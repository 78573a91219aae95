//! Stores that are closed, stopped or dead, and their runs.

use std::time::Duration;

use stageflow_core::durable::{Journal as _, JournalErrorKind, RunState};

use super::kit::{Dir, entry, header};
use crate::{SqliteStore, sqlite::Sqlite};

#[tokio::test]
async fn closing_a_store_frees_its_runs_at_once() {
    let dir = Dir::new();
    let (first, second) = (SqliteStore::open(dir.file()), SqliteStore::open(dir.file()));
    let (first, second) = (first.expect("it is made"), second.expect("it is opened"));
    let header = header("a");
    let old = first.begin(header.clone()).await.expect("it is begun");
    assert!(second.claim(&header.key).await.is_err());
    drop(first);
    let (lease, _) = second.claim(&header.key).await.expect("it is free");
    assert_eq!(lease.epoch, old.epoch + 1);
}

#[tokio::test]
async fn a_store_whose_lock_is_free_is_dead() {
    let dir = Dir::new();
    let store = SqliteStore::open(dir.file()).expect("it is made");
    let header = header("a");
    store.begin(header.clone()).await.expect("it is begun");
    // As though the run were that of a process that was killed: its row is there, and nobody has its lock.
    dir.raw()
        .execute_batch(&format!("INSERT INTO owners VALUES (7, {}); UPDATE runs SET owner = 7", i64::MAX))
        .expect("it is changed");
    let lock = dir.file().with_file_name("runs.db-owners").join(format!("{:016x}", 7));
    let held = std::fs::File::create(&lock).expect("a lock");
    held.lock().expect("it is taken");
    let error = store.claim(&header.key).await.expect_err("its process lives");
    assert!(matches!(error.kind(), JournalErrorKind::LeaseHeld { .. }));
    let running = store.unfinished(&"a".into(), None, 1).await.expect("they are listed");
    assert_eq!(running[0].state, RunState::Running);
    drop(held);
    let free = store.unfinished(&"a".into(), None, 1).await.expect("they are listed");
    assert_eq!(free[0].state, RunState::Resumable);
    store.claim(&header.key).await.expect("its process is dead");
}

#[tokio::test]
async fn a_process_that_is_stopped_for_longer_than_its_lease_loses_its_runs() {
    let dir = Dir::new();
    let (first, second) = (SqliteStore::open(dir.file()), SqliteStore::open(dir.file()));
    let (first, second) = (first.expect("it is made"), second.expect("it is opened"));
    let header = header("a");
    let old = first.begin(header.clone()).await.expect("it is begun");
    let holder: i64 = dir.raw().query_row("SELECT owner FROM runs", [], |row| row.get(0)).expect("a holder");
    dir.raw().execute("UPDATE owners SET until = 1 WHERE owner = ?1", [holder]).expect("its time is over");
    second.claim(&header.key).await.expect("it is free");
    let error = first.append(&header.key, old, vec![entry(1, 1)]).await.expect_err("it was taken over");
    assert_eq!(error.kind(), JournalErrorKind::LeaseLost);
}

#[tokio::test]
async fn a_lease_is_prolonged_while_its_process_lives() {
    let dir = Dir::new();
    let store = Sqlite::builder(dir.file()).lease(Duration::from_millis(60)).open().expect("it is made");
    let header = header("a");
    store.begin(header.clone()).await.expect("it is begun");
    let until =
        || dir.raw().query_row("SELECT until FROM owners", [], |row| row.get::<_, i64>(0)).expect("a row");
    let before = until();
    let mut looks = 0;
    while until() < before + 200_000_000 {
        looks += 1;
        assert!(looks < 2_000, "it is prolonged");
        // sleeps: leases of a file go by the clock of the system.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(store.claim(&header.key).await.is_err(), "it is held long after its first time");
}

#[tokio::test]
async fn an_answer_in_flight_is_free_when_its_process_is_dead() {
    use stageflow_core::idempotency::{Begin, Fingerprint, IdempotencyKey, IdempotencyStore as _, StoreKey};
    let dir = Dir::new();
    let (first, second) = (SqliteStore::open(dir.file()), SqliteStore::open(dir.file()));
    let (first, second) = (first.expect("it is made"), second.expect("it is opened").answers());
    let key = StoreKey::for_stage(Some("a".into()), "p", "s", IdempotencyKey::new("k"));
    let inputs = Fingerprint::from(1);
    let begun = first.answers().begin(&key, &inputs).await.expect("it answers");
    assert!(matches!(begun, Begin::First(_)));
    assert!(matches!(second.begin(&key, &inputs).await.expect("it answers"), Begin::InFlight(_)));
    drop(first);
    assert!(matches!(second.begin(&key, &inputs).await.expect("it answers"), Begin::First(_)));
}

#[tokio::test]
async fn whoever_is_gone_before_it_is_told_holds_no_key() {
    use std::task::Context;

    use stageflow_core::idempotency::{Begin, Fingerprint, IdempotencyKey, IdempotencyStore as _, StoreKey};
    let dir = Dir::new();
    let answers = SqliteStore::open(dir.file()).expect("it is made").answers();
    let key = StoreKey::for_stage(Some("a".into()), "p", "s", IdempotencyKey::new("k"));
    let inputs = Fingerprint::from(1);
    let mut asking = answers.begin(&key, &inputs);
    let first = asking.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()));
    drop(asking);
    if first.is_pending() {
        let begun = answers.begin(&key, &inputs).await.expect("it answers");
        assert!(matches!(begun, Begin::First(_)), "{begun:?}");
    }
}
