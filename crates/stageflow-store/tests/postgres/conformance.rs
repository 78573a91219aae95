//! The suite that every store has to pass.

use stageflow_store::{
    PostgresStore,
    conformance::{self, Backend},
    postgres::{PostgresAnswers, PostgresOptions},
};

use crate::kit::Db;

impl Backend for Db {
    type Store = PostgresStore;
    type Answers = PostgresAnswers;

    async fn open(&self) -> PostgresStore {
        self.store().await
    }

    fn answers(&self, store: &PostgresStore) -> PostgresAnswers {
        store.answers()
    }

    async fn expire_leases(&self) {
        let sql = "UPDATE stageflow.runs SET lease_until = NULL;
            UPDATE stageflow.answers SET until = clock_timestamp() WHERE is_failure IS NULL";
        self.admin.batch_execute(sql).await.expect("leases end");
    }

    async fn expire_answers(&self) {
        let sql = "UPDATE stageflow.answers SET until = clock_timestamp() WHERE is_failure IS NOT NULL";
        self.admin.batch_execute(sql).await.expect("answers end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journals() {
    conformance::journal(&Db::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers() {
    conformance::answers(&Db::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit() {
    conformance::audit(&Db::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants() {
    conformance::tenants(&Db::new().await).await;
}

/// The same database, by stores that have one connection for all tenants.
struct Narrow(Db);

impl Backend for Narrow {
    type Store = PostgresStore;
    type Answers = PostgresAnswers;

    async fn open(&self) -> PostgresStore {
        self.0.store_with(PostgresOptions::new().connections(1)).await
    }

    fn answers(&self, store: &PostgresStore) -> PostgresAnswers {
        store.answers()
    }

    async fn expire_leases(&self) {
        self.0.expire_leases().await;
    }

    async fn expire_answers(&self) {
        self.0.expire_answers().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_on_one_connection() {
    conformance::tenants(&Narrow(Db::new().await)).await;
}

/// The task that writes lives in the runtime: one thread is enough for it.
#[tokio::test]
async fn journals_on_one_thread() {
    conformance::journal(&Db::new().await).await;
}
