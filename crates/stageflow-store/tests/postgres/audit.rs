//! Audit records of several processes are one chain.

use stageflow_core::{TenantId, audit::AuditLog as _};
use stageflow_store::audit;

use crate::{kit::Db, rls::audit_record};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_record_at_once_make_one_chain() {
    let db = Db::new().await;
    let stores = [db.store().await, db.store().await, db.store().await];
    let records =
        (0..60).map(|number| stores[number % 3].record(vec![audit_record("acme"), audit_record("acme")]));
    for recorded in futures_util::future::join_all(records).await {
        recorded.expect("it is recorded");
    }
    let there = stores[0].read(&TenantId::from("acme"), 0, 1_000).await.expect("it answers");
    assert_eq!(there.len(), 120);
    audit::verify(None, &there).expect("the chain stands");
}
