//! A server that is slow, dead, silent or full: an error that says so, in time, and no harm afterwards.

use std::time::Duration;

use stageflow_core::durable::{Journal as _, JournalErrorKind, RunKey};
use stageflow_store::{PostgresStore, postgres::PostgresOptions};
use stageflow_test_postgres::{APP, Cluster};
use tokio::time::Instant;

use crate::{
    kit::{Db, connect, header, key, output},
    proxy::Proxy,
};

fn impatient() -> PostgresOptions {
    PostgresOptions::new()
        .statement_timeout(Duration::from_millis(200))
        .answer_within(Duration::from_millis(800))
}

/// Asks for everything; each is refused within the time for an answer, and some.
async fn assert_unavailable(
    store: &PostgresStore,
    run: &RunKey,
    lease: stageflow_core::durable::RunLease,
    seq: u64,
) -> String {
    let start = Instant::now();
    let begun = store.begin(header(&key("acme")));
    let (begun, written, loaded) =
        tokio::join!(begun, store.append(run, lease, vec![output(seq)]), store.load(run));
    let errors = [begun.expect_err("begin"), written.expect_err("append"), loaded.expect_err("load")];
    let took = start.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    for error in &errors {
        assert_eq!(error.kind(), JournalErrorKind::Unavailable, "{error}");
        assert!(!error.help().is_empty());
    }
    errors[1].help().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_is_waited_for_no_longer_than_a_statement_may_take() {
    let db = Db::new().await;
    let store = db.store_with(impatient()).await;
    let run = key("acme");
    let lease = store.begin(header(&run)).await.expect("it begins");
    db.admin
        .batch_execute("BEGIN; LOCK TABLE stageflow.runs IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("it is locked");
    let hint = assert_unavailable(&store, &run, lease, 1).await;
    assert!(hint.contains("what holds a lock"), "{hint}");
    db.admin.batch_execute("ROLLBACK").await.expect("it is free");
    store.append(&run, lease, vec![output(1)]).await.expect("it is written, once");
    assert_eq!(store.load(&run).await.expect("it answers").expect("it is there").entries, [output(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_unavailable_until_it_is_back() {
    let cluster = Cluster::start().unwrap_or_else(|error| panic!("{error}"));
    let db = Db::on(&cluster).await;
    let store = db.store_with(impatient()).await;
    let run = key("acme");
    let lease = store.begin(header(&run)).await.expect("it begins");
    cluster.stop().expect("it stops");
    assert_unavailable(&store, &run, lease, 1).await;
    let error = connect(db.database.app(), impatient()).await.expect_err("nobody is there");
    assert_eq!(error.kind(), JournalErrorKind::Unavailable);
    assert!(error.to_string().starts_with("PostgreSQL: error connecting to server"), "{error}");
    cluster.restart().expect("it starts");
    store.append(&run, lease, vec![output(1)]).await.expect("it is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_is_unavailable() {
    let db = Db::new().await;
    let cluster = Cluster::shared().expect("a server").socket();
    let database = db.database.app();
    // At once, and in the middle of its work.
    for silent_from in [0, 3, 150] {
        let proxy = Proxy::silent_from(cluster, silent_from);
        let mut config = tokio_postgres::Config::new();
        config.host_path(proxy.folder()).user(APP).dbname(database.get_dbname().expect("it has one"));
        let start = Instant::now();
        let error = match connect(config, impatient()).await {
            Err(error) => error,
            Ok(store) => loop {
                let run = key("acme");
                if let Err(error) = store.begin(header(&run)).await {
                    break error;
                }
            },
        };
        assert_eq!(error.kind(), JournalErrorKind::Unavailable, "{error}");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(4), "silent from {silent_from}: {took:?}");
    }
}

/// A transaction of many runs in which one is refused by the server: the others are written all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_is_in_nobody_elses_way() {
    let db = Db::new().await;
    let sql = "ALTER TABLE stageflow.entries ADD CONSTRAINT no_poison CHECK (seq <> 666)";
    db.admin.batch_execute(sql).await.expect("it is added");
    let store = db.store().await;
    let mut runs = Vec::new();
    for number in 0..8 {
        let run = key(&format!("tenant-{}", number % 3));
        runs.push((store.begin(header(&run)).await.expect("it begins"), run));
    }
    let poisoned = &runs[3];
    let update = "UPDATE stageflow.runs SET next_seq = 666 WHERE run = $1::text::uuid";
    db.admin.execute(update, &[&poisoned.1.run().to_string()]).await.expect("it is set");
    let appends: Vec<_> = runs
        .iter()
        .enumerate()
        .map(|(number, (lease, run))| {
            store.append(run, *lease, vec![output(if number == 3 { 666 } else { 1 })])
        })
        .collect();
    for (number, append) in appends.into_iter().enumerate() {
        match (number, append.await) {
            (3, Err(error)) => assert!(error.to_string().contains("no_poison"), "{error}"),
            (3, Ok(())) => panic!("the server takes no poison"),
            (_, written) => written.expect("it is written"),
        }
    }
}

/// What is acknowledged is on disk, whatever the database has as a default.
#[tokio::test]
async fn a_default_of_the_database_does_not_make_commits_lazy() {
    let db = Db::new().await;
    let name: String = db.admin.query_one("SELECT current_database()", &[]).await.expect("it answers").get(0);
    let sql = format!(
        "ALTER DATABASE {name} SET synchronous_commit = off; ALTER DATABASE {name} SET default_transaction_read_only = on"
    );
    db.admin.batch_execute(&sql).await.expect("it is set");
    let store = db.store().await;
    let run = key("acme");
    let lease = store.begin(header(&run)).await.expect("it begins");
    store.append(&run, lease, vec![output(1)]).await.expect("it is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_prolonged_while_the_store_lives_and_ends_with_it() {
    let db = Db::new().await;
    let lease = Duration::from_millis(300);
    let (first, second) = (db.store_with(PostgresOptions::new().lease(lease)).await, db.store().await);
    let run = key("acme");
    first.begin(header(&run)).await.expect("it begins");
    let start = Instant::now();
    while start.elapsed() < lease * 4 {
        let error = second.claim(&run).await.expect_err("it is held");
        assert!(matches!(error.kind(), JournalErrorKind::LeaseHeld { .. }), "{error}");
        // sleeps: a server and its clock are waited for, which no test can pause
        tokio::time::sleep(lease / 6).await;
    }
    drop(first);
    crate::kit::until("the lease ends", || async { second.claim(&run).await.is_ok() }).await;
}
