//! Where there is no room, or another has the file.

use std::time::Duration;

use stageflow_core::durable::{Journal as _, JournalErrorKind};

use super::kit::{Dir, entry, header};
use crate::{SqliteStore, sqlite::Sqlite};

#[tokio::test]
async fn a_full_file_refuses_loses_nothing_and_goes_on_when_there_is_room() {
    let dir = Dir::new();
    let store = Sqlite::builder(dir.file()).max_bytes(400_000).open().expect("it is made");
    let (header, old) = (header("a"), header("b"));
    let lease = store.begin(header.clone()).await.expect("it is begun");
    let other = store.begin(old.clone()).await.expect("it is begun");
    store.append(&old.key, other, vec![entry(1, 150_000)]).await.expect("there is room");
    let (mut written, mut large) = (0, 10_000);
    let error = loop {
        match store.append(&header.key, lease, vec![entry(written + 1, large)]).await {
            Ok(()) => written += 1,
            Err(error) if large > 100 => {
                assert_eq!(error.kind(), JournalErrorKind::Full, "{error}");
                large /= 10;
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.code().as_str(), "STORE_FULL");
    assert!(error.to_string().contains("runs.db: database or disk is full"), "{error}");
    assert!(written > 5);
    let read = || async { store.load(&header.key).await.expect("it is read").expect("it is there").entries };
    assert_eq!(read().await.len() as u64, written, "what was acknowledged, and nothing else");
    // What is too large takes nothing else with it.
    let too_large = store.append(&header.key, lease, vec![entry(written + 1, 300_000)]);
    let nothing = store.append(&old.key, other, Vec::new());
    assert_eq!(too_large.await.expect_err("there is no room").kind(), JournalErrorKind::Full);
    nothing.await.expect("it needs none");
    use stageflow_core::audit::TenantData as _;
    dir.raw().execute("DELETE FROM runs WHERE tenant = 'b'", []).expect("room is made");
    assert_eq!(store.usage(&"b".into()).await.expect("it is counted").entries, 0);
    store.append(&header.key, lease, vec![entry(written + 1, 50_000)]).await.expect("there is room");
    assert_eq!(read().await.len() as u64, written + 1);
}

#[tokio::test]
async fn what_one_transaction_cannot_take_does_not_fail_the_others() {
    let dir = Dir::new();
    let store = Sqlite::builder(dir.file()).max_bytes(600_000).open().expect("it is made");
    let mut runs = Vec::new();
    for _ in 0..10 {
        let header = header("a");
        let lease = store.begin(header.clone()).await.expect("it is begun");
        runs.push((header, lease));
    }
    // The thread that writes is held up, so that all of them wait together.
    let raw = dir.raw();
    raw.execute_batch("BEGIN IMMEDIATE").expect("the file is locked");
    let acks: Vec<_> = (0..)
        .zip(&runs)
        .map(|(number, (header, lease))| {
            let bytes = if number == 4 { 1_000_000 } else { 1_000 };
            store.append(&header.key, *lease, vec![entry(1, bytes)])
        })
        .collect();
    raw.execute_batch("COMMIT").expect("the file is free");
    for (number, ack) in acks.into_iter().enumerate() {
        match ack.await {
            Ok(()) => assert_ne!(number, 4),
            Err(error) => assert_eq!((number, error.kind()), (4, JournalErrorKind::Full), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_file_that_another_does_not_let_go_is_unavailable_for_now() {
    let dir = Dir::new();
    let store =
        Sqlite::builder(dir.file()).busy_timeout(Duration::from_millis(20)).open().expect("it is made");
    let header = header("a");
    let lease = store.begin(header.clone()).await.expect("it is begun");
    let raw = dir.raw();
    raw.execute_batch("BEGIN IMMEDIATE").expect("the file is locked");
    let acks: Vec<_> = (1..=20).map(|seq| store.append(&header.key, lease, vec![entry(seq, 1)])).collect();
    for ack in acks {
        let error = ack.await.expect_err("it is locked");
        assert_eq!(error.kind(), JournalErrorKind::Unavailable, "{error}");
    }
    assert!(store.load(&header.key).await.expect("it is read").is_some(), "reading goes on");
    raw.execute_batch("COMMIT").expect("the file is free");
    store.append(&header.key, lease, vec![entry(1, 1)]).await.expect("it is written");
}

#[tokio::test]
async fn entries_beyond_the_bound_of_the_queue_are_refused() {
    let dir = Dir::new();
    let store = Sqlite::builder(dir.file()).queue_bytes(100_000).open().expect("it is made");
    let header = header("a");
    let lease = store.begin(header.clone()).await.expect("it is begun");
    let raw = dir.raw();
    raw.execute_batch("BEGIN IMMEDIATE").expect("the file is locked");
    // The thread takes one, and waits for the file with it.
    let mut acks = vec![store.append(&header.key, lease, vec![entry(1, 30_000)])];
    while store.inner.shared.queue.waiting() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for seq in 2..=10 {
        acks.push(store.append(&header.key, lease, vec![entry(seq, 30_000)]));
    }
    raw.execute_batch("COMMIT").expect("the file is free");
    let mut written = 0;
    for ack in acks {
        match ack.await {
            Ok(()) => written += 1,
            Err(error) => assert_eq!(error.kind(), JournalErrorKind::Unavailable, "{error}"),
        }
    }
    assert_eq!(written, 4, "three have room behind the first");
    let entries = store.load(&header.key).await.expect("it is read").expect("it is there").entries;
    assert_eq!(entries.len(), written, "and those are the first");
    let huge = store.append(&header.key, lease, vec![entry(written as u64 + 1, 500_000)]);
    huge.await.expect("alone it is taken, however large");
}

#[tokio::test]
async fn a_closed_store_is_told() {
    let dir = Dir::new();
    let store = SqliteStore::open(dir.file()).expect("it is made");
    store.inner.shared.queue.close();
    let error = store.begin(header("a")).await.expect_err("it is closed");
    assert_eq!(error.kind(), JournalErrorKind::Unavailable);
}
