//! Opening: new files, other files, and closing.

use std::fs;

use stageflow_core::durable::{Journal as _, JournalError, JournalErrorKind};

use super::kit::{Dir, entry, header};
use crate::{SqliteStore, sqlite::Sqlite};

fn refused(dir: &Dir) -> JournalError {
    SqliteStore::open(dir.file()).expect_err("it is not opened")
}

#[test]
fn a_file_of_a_newer_version_is_refused_with_both_versions() {
    let dir = Dir::new();
    drop(SqliteStore::open(dir.file()).expect("it is made"));
    dir.raw().pragma_update(None, "user_version", 7).expect("it is changed");
    let error = refused(&dir);
    assert_eq!(error.kind(), JournalErrorKind::Schema);
    let told = format!("{}: the file has version 7, and this code knows version 1", dir.file().display());
    assert_eq!(error.to_string(), told);
    let version: i64 = dir.raw().query_row("PRAGMA user_version", [], |row| row.get(0)).expect("it is read");
    assert_eq!(version, 7, "and is left as it is");
}

#[test]
fn a_database_of_something_else_is_refused() {
    let dir = Dir::new();
    dir.raw().execute_batch("CREATE TABLE songs (name TEXT)").expect("it is made");
    let error = refused(&dir);
    assert_eq!(error.kind(), JournalErrorKind::Schema);
    assert_eq!(error.help(), "give the store a file of its own");
    let tables: i64 =
        dir.raw().query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).expect("it is read");
    assert_eq!(tables, 1, "and is left as it is");
}

#[test]
fn what_is_no_database_is_corrupt() {
    let dir = Dir::new();
    fs::write(dir.file(), "not a database, but long enough to be taken for one".repeat(100)).expect("a file");
    let error = refused(&dir);
    assert_eq!(error.kind(), JournalErrorKind::Corrupt);
    assert!(error.to_string().starts_with(&dir.file().display().to_string()), "{error}");
}

#[test]
fn a_place_where_nothing_can_be_made_is_unavailable() {
    let dir = Dir::new();
    let inside = dir.file().join("of").join("no").join("directory.db");
    let error = SqliteStore::open(&inside).expect_err("there is no directory");
    assert_eq!(error.kind(), JournalErrorKind::Unavailable);
    assert!(error.to_string().contains(&inside.display().to_string()), "{error}");
    assert!(error.help().starts_with("make the directory"), "{}", error.help());
}

#[tokio::test]
async fn pages_that_were_damaged_are_corrupt_and_the_rest_stays_readable() {
    let dir = Dir::new();
    let (damaged, whole) = (header("a"), header("b"));
    let store = SqliteStore::open(dir.file()).expect("it is made");
    for header in [&damaged, &whole] {
        let lease = store.begin(header.clone()).await.expect("it is begun");
        store.append(&header.key, lease, vec![entry(1, 10)]).await.expect("it is written");
    }
    drop(store);
    dir.raw().execute("UPDATE entries SET kind = 'nonsense' WHERE tenant = 'a'", []).expect("it is damaged");
    let store = SqliteStore::open(dir.file()).expect("it is opened");
    let error = store.load(&damaged.key).await.expect_err("it cannot be read");
    assert_eq!(error.kind(), JournalErrorKind::Corrupt);
    assert!(error.to_string().starts_with("entry 1 of run "), "{error}");
    assert!(store.claim(&damaged.key).await.is_err());
    assert!(store.load(&whole.key).await.expect("it is read").is_some());
}

#[test]
fn several_open_a_new_file_at_once() {
    let dir = Dir::new();
    let stores: Vec<_> = std::thread::scope(|scope| {
        let path = dir.file();
        let open: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                scope.spawn(move || SqliteStore::open(path))
            })
            .collect();
        open.into_iter().map(|open| open.join().expect("no panic")).collect()
    });
    for store in stores {
        store.expect("each opens it");
    }
}

#[tokio::test]
async fn opening_waits_for_whoever_has_the_file() {
    let dir = Dir::new();
    for locked in ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"] {
        let raw = dir.raw();
        raw.execute_batch(locked).expect("the file is locked");
        let path = dir.file();
        let opening = tokio::task::spawn_blocking(|| SqliteStore::open(path));
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        assert!(!opening.is_finished());
        raw.execute_batch("COMMIT").expect("the file is free");
        opening.await.expect("no panic").expect("it is opened");
    }
}

#[tokio::test]
async fn dropping_the_last_handle_writes_what_was_asked_for() {
    let dir = Dir::new();
    let store = SqliteStore::open(dir.file()).expect("it is made");
    let header = header("a");
    let lease = store.begin(header.clone()).await.expect("it is begun");
    for seq in 1..=500 {
        drop(store.append(&header.key, lease, vec![entry(seq, 100)]));
    }
    let ack = store.append(&header.key, lease, vec![entry(501, 100)]);
    drop(store);
    ack.await.expect("it is written");
    let rows: i64 =
        dir.raw().query_row("SELECT count(*) FROM entries", [], |row| row.get(0)).expect("a count");
    assert_eq!(rows, 501);
    let left = fs::read_dir(dir.file().with_file_name("runs.db-owners")).expect("a directory").count();
    assert_eq!(left, 0, "its lock is gone");
}

#[test]
fn it_opens_writes_and_closes_without_a_runtime() {
    let dir = Dir::new();
    let store = Sqlite::builder(dir.file()).open().expect("it is made");
    let header = header("a");
    drop(store.begin(header.clone()));
    drop(store);
    let rows: i64 = dir.raw().query_row("SELECT count(*) FROM runs", [], |row| row.get(0)).expect("a count");
    assert_eq!(rows, 1);
}
