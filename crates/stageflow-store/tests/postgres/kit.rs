//! A database with the tables, and stores on it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use stageflow_core::{
    ContextSnapshot, RunId, RunOutcome,
    durable::{Encoded, Entry, EntryKind, RunHeader, RunKey, StageEnd},
};
use stageflow_store::{PostgresStore, postgres::PostgresOptions};
use stageflow_test_postgres::{APP, Cluster, Database};
use tokio_postgres::{Client, Config, NoTls};

/// A database of a test, with the tables.
pub(crate) struct Db {
    pub(crate) database: Database,
    /// Sees everything, and may do everything.
    pub(crate) admin: Client,
}

impl Db {
    pub(crate) async fn new() -> Self {
        Self::with(Database::shared().await).await
    }

    /// On a server that the test may stop.
    pub(crate) async fn on(cluster: &Cluster) -> Self {
        Self::with(Database::new(cluster).await).await
    }

    async fn with(database: Database) -> Self {
        PostgresStore::migrate(&database.owner(), APP).await.expect("the tables are made");
        let admin = database.connect("postgres").await;
        Self { database, admin }
    }

    pub(crate) async fn store(&self) -> PostgresStore {
        self.store_with(PostgresOptions::new()).await
    }

    pub(crate) async fn store_with(&self, options: PostgresOptions) -> PostgresStore {
        connect(self.database.app(), options).await.expect("the store opens")
    }

    /// As the application, without the store.
    pub(crate) async fn app(&self) -> Client {
        self.database.connect(APP).await
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        number(&self.admin, sql).await
    }
}

pub(crate) async fn connect(
    config: Config,
    options: PostgresOptions,
) -> Result<PostgresStore, stageflow_core::durable::JournalError> {
    PostgresStore::connect_with(config, NoTls, options).await
}

/// The one number that a statement gives.
pub(crate) async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

pub(crate) fn header(key: &RunKey) -> Arc<RunHeader> {
    Arc::new(RunHeader {
        key: key.clone(),
        snapshot: ContextSnapshot::builder().tenant(key.tenant().as_str()).build(),
        input: Some(Encoded::new(1, b"input".to_vec())),
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        seed: 7,
        branch_of: None,
    })
}

pub(crate) fn key(tenant: &str) -> RunKey {
    RunKey::new(tenant, RunId::new())
}

/// The output of a stage, as an entry.
pub(crate) fn output(seq: u64) -> Entry {
    let kind = EntryKind::StageEnded {
        stage: format!("stage-{seq}").into(),
        attempts: 1,
        took: Duration::from_millis(1),
        end: StageEnd::Completed,
        wiring: 1,
    };
    Entry { seq, at: seq * 1_000, kind, payload: Some(Encoded::new(1, format!("{seq}").into_bytes())) }
}

/// The last entry of a run.
pub(crate) fn end(seq: u64) -> Entry {
    let kind = EntryKind::RunEnded { outcome: RunOutcome::Completed, failure: None };
    Entry { seq, at: seq * 1_000, kind, payload: None }
}

/// Waits until something is true, for a while.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    for _ in 0..500 {
        if is().await {
            return;
        }
        // sleeps: a server and its clock are waited for, which no test can pause
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not come true: {what}");
}
