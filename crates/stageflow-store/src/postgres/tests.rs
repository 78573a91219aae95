//! What of a session is left for whoever has its connection next.

use stageflow_core::TenantId;
use stageflow_test_postgres::{APP, Database};
use tokio_postgres::NoTls;

use super::{
    PostgresOptions, PostgresStore,
    access::{Connection, Statement},
};

async fn store() -> PostgresStore {
    let database = Database::shared().await;
    PostgresStore::migrate(&database.owner(), APP).await.expect("the tables are made");
    let options = PostgresOptions::new().connections(1);
    PostgresStore::connect_with(database.app(), NoTls, options).await.expect("the store opens")
}

async fn tenant(store: &PostgresStore) -> (i32, Option<String>) {
    let client = store.access.pool.get().await.expect("a connection");
    let row =
        client.query_one("SELECT pg_backend_pid(), current_setting('stageflow.tenant', true)", &[]).await;
    let row = row.expect("it answers");
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn a_tenant_ends_with_its_transaction() {
    let store = store().await;
    let mut connection = Connection::of(&store.access.pool).await.expect("a connection");
    let acme = TenantId::from("acme");
    let setting: Statement<'_> = ("SELECT current_setting('stageflow.tenant', true)", vec![]);
    let within =
        connection.transaction(&[(&acme, std::slice::from_ref(&setting))]).await.expect("it answers");
    assert_eq!(within[0][0].get::<_, &str>(0), "acme");
    // On the same connection, which has not been in the pool.
    let after = connection.query(setting).await.expect("it answers");
    assert_eq!(after[0].get::<_, &str>(0), "");
}

#[tokio::test]
async fn what_a_session_was_set_to_does_not_reach_the_next() {
    let store = store().await;
    let client = store.access.pool.get().await.expect("a connection");
    let backend: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.expect("it answers").get(0);
    client
        .batch_execute("SET stageflow.tenant = 'acme'; SET synchronous_commit = off; SET row_security = off")
        .await
        .expect("it is set");
    drop(client);
    let (same, after) = tenant(&store).await;
    assert_eq!(backend, same, "it is the one connection");
    assert_eq!(after.unwrap_or_default(), "");
    let client = store.access.pool.get().await.expect("a connection");
    for (setting, value) in
        [("synchronous_commit", "on"), ("row_security", "on"), ("statement_timeout", "5s")]
    {
        let row = client.query_one("SELECT current_setting($1)", &[&setting]).await.expect("it answers");
        assert_eq!(row.get::<_, &str>(0), value, "{setting}");
    }
}

#[tokio::test]
async fn a_transaction_that_is_given_up_takes_its_connection_with_it() {
    let store = store().await;
    let (backend, _) = tenant(&store).await;
    let mut connection = Connection::of(&store.access.pool).await.expect("a connection");
    connection.begin(&TenantId::from("acme")).await.expect("it begins");
    drop(connection);
    let (other, after) = tenant(&store).await;
    assert_ne!(backend, other);
    assert_eq!(after, None);
}
