//! Tenants and audit records in the file itself.

use stageflow_core::{
    audit::{AuditLog as _, AuditRecord, TenantData as _},
    durable::{Encoded, Journal as _, RunHeader},
};

use super::kit::{Dir, entry, header};
use crate::{SqliteStore, sqlite::scope::binds_tenant};

#[test]
fn a_statement_that_forgets_the_tenant_is_no_statement() {
    assert!(binds_tenant("DELETE FROM runs WHERE tenant = ?1"));
    assert!(binds_tenant("INSERT INTO runs (tenant, run) VALUES (?1, ?2)"));
    assert!(!binds_tenant("DELETE FROM runs"));
    assert!(!binds_tenant("DELETE FROM runs WHERE tenant = ?2"));
}

#[test]
fn the_tenant_is_the_first_column_of_every_primary_key() {
    let dir = Dir::new();
    drop(SqliteStore::open(dir.file()).expect("it is made"));
    let raw = dir.raw();
    let mut tables = raw
        .prepare("SELECT t.name, c.name FROM pragma_table_list t JOIN pragma_table_info(t.name) c WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite_%' AND c.pk = 1")
        .expect("the tables");
    let first: Vec<(String, String)> = tables
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("rows")
        .collect::<Result<_, _>>()
        .expect("rows");
    assert_eq!(first.len(), 7);
    for (table, column) in first {
        assert_eq!(column, if table == "owners" { "owner" } else { "tenant" }, "{table}");
    }
}

fn record(tenant: &str) -> AuditRecord {
    AuditRecord {
        tenant: tenant.into(),
        at: std::time::SystemTime::UNIX_EPOCH,
        who: None,
        run: None,
        stage: None,
        action: "auth.denied".to_owned(),
        decision: "denied".to_owned(),
        reason: "why".to_owned(),
        fields: Vec::new(),
    }
}

#[tokio::test]
async fn audit_records_take_no_change_by_anybody() {
    let dir = Dir::new();
    let store = SqliteStore::open(dir.file()).expect("it is made");
    store.record(vec![record("a")]).await.expect("it is written");
    for change in [
        "UPDATE audit SET record = ''",
        "DELETE FROM audit",
        "UPDATE audit SET seq = 5",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit",
    ] {
        let error = dir.raw().execute(change, []).expect_err(change);
        assert!(error.to_string().contains("audit records are only ever added"), "{error}");
    }
    assert_eq!(store.read(&"a".into(), 0, 10).await.expect("it is read").len(), 1);
}

#[tokio::test]
async fn what_is_erased_is_in_no_file() {
    const CANARY: &[u8] = b"canary-5b1f3c";
    let dir = Dir::new();
    let store = SqliteStore::open(dir.file()).expect("it is made");
    let base = header("a");
    let header = std::sync::Arc::new(RunHeader {
        input: Some(Encoded::new(1, CANARY)),
        key: base.key.clone(),
        snapshot: base.snapshot.clone(),
        started: base.started,
        seed: 0,
        branch_of: None,
    });
    let lease = store.begin(header.clone()).await.expect("it is begun");
    let mut large = entry(1, 0);
    large.payload = Some(Encoded::new(1, CANARY.repeat(10_000)));
    store.append(&header.key, lease, vec![large]).await.expect("it is written");
    let files = || {
        let names = ["runs.db", "runs.db-wal"].map(|name| dir.file().with_file_name(name));
        names.into_iter().filter_map(|name| std::fs::read(name).ok()).flatten().collect::<Vec<u8>>()
    };
    let has_canary = || files().windows(CANARY.len()).any(|part| part == CANARY);
    assert!(has_canary(), "it would be found");
    store.erase(&"a".into(), None, "asked for").await.expect("it is erased");
    assert!(!has_canary(), "it is gone from the file and from its log");
}
