//! What breaks row-level security elsewhere does not break it here: raw SQL, as each role.

use std::time::{Duration, SystemTime};

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use stageflow_core::{
    TenantId,
    audit::{AuditLog as _, AuditRecord},
    durable::{Encoded, Journal as _, PauseRecord},
    idempotency::{Answer, Begin, Fingerprint, IdempotencyKey, IdempotencyStore as _, StoreKey},
};
use stageflow_store::{PostgresStore, postgres::PostgresOptions};
use stageflow_test_postgres::{APP, OWNER};
use tokio_postgres::{Client, NoTls, error::SqlState};

use crate::kit::{Db, header, key, number, output};

const TENANTS: [&str; 2] = ["acme", "globex"];

/// Something of each tenant in every table.
async fn filled() -> (Db, PostgresStore) {
    let db = Db::new().await;
    let store = db.store().await;
    for tenant in TENANTS {
        let key = key(tenant);
        let lease = store.begin(header(&key)).await.expect("it begins");
        store.append(&key, lease, vec![output(1)]).await.expect("it is written");
        let record = PauseRecord {
            stage: "ask".into(),
            token: "approval".into(),
            opened: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
            expires: None,
        };
        store.pause(&key, lease, &record).await.expect("it pauses");
        let answers = store.answers();
        let of = StoreKey::for_stage(
            Some(TenantId::from(tenant)),
            "pay",
            "charge",
            IdempotencyKey::new("order-17"),
        );
        let begun = answers.begin(&of, &Fingerprint::from(1)).await.expect("it answers");
        let Begin::First(lease) = begun else { panic!("it is the first: {begun:?}") };
        let answer = Answer::Encoded(Encoded::new(1, b"paid".to_vec()));
        assert!(answers.complete(&of, lease, answer).await.expect("it is stored"));
        store.record(vec![audit_record(tenant)]).await.expect("it is recorded");
    }
    (db, store)
}

pub(crate) fn audit_record(tenant: &str) -> AuditRecord {
    AuditRecord {
        tenant: TenantId::from(tenant),
        at: SystemTime::UNIX_EPOCH,
        who: None,
        run: None,
        stage: None,
        action: "auth.denied".into(),
        decision: "denied".into(),
        reason: "no".into(),
        fields: Vec::new(),
    }
}

/// All tables, as the catalogue has them: one that is added later cannot be forgotten.
async fn tables(db: &Db) -> Vec<String> {
    let sql = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1";
    let rows = db.admin.query(sql, &[]).await.expect("the catalogue answers");
    let tables: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(tables.len() >= 5, "{tables:?}");
    tables
}

/// How many rows a role sees, table by table; every table has some.
async fn seen(db: &Db, client: &Client) -> Vec<i64> {
    let mut seen = Vec::new();
    for table in tables(db).await {
        let count = format!("SELECT count(*) FROM {table}");
        assert_eq!(db.number(&count).await, 2, "the test puts one row of each tenant into {table}");
        seen.push(number(client, &count).await);
    }
    seen
}

fn code(error: &tokio_postgres::Error) -> SqlState {
    error.code().unwrap_or_else(|| panic!("{error:?}")).clone()
}

#[tokio::test]
async fn without_a_tenant_there_are_no_rows() {
    let (db, _store) = filled().await;
    let app = db.app().await;
    assert_eq!(seen(&db, &app).await, [0; 5]);
    for table in ["runs", "pauses", "answers"] {
        let changed = app.execute(&format!("UPDATE stageflow.{table} SET tenant = tenant"), &[]).await;
        assert_eq!(changed.expect("nothing is there to change"), 0, "{table}");
        let deleted = app.execute(&format!("DELETE FROM stageflow.{table}"), &[]).await;
        assert_eq!(deleted.expect("nothing is there to delete"), 0, "{table}");
    }
    let insert = "INSERT INTO stageflow.audit VALUES ('acme', 9, '', '')";
    let refused = app.execute(insert, &[]).await.expect_err("it is of a tenant");
    assert_eq!(code(&refused), SqlState::INSUFFICIENT_PRIVILEGE);
}

#[tokio::test]
async fn with_a_tenant_there_are_its_rows() {
    let (db, _store) = filled().await;
    let mut app = db.app().await;
    let within = app.transaction().await.expect("it begins");
    within.execute("SELECT set_config('stageflow.tenant', 'acme', true)", &[]).await.expect("it is set");
    for table in tables(&db).await {
        let others = within.query(&format!("SELECT tenant FROM {table}"), &[]).await.expect("it answers");
        let others: Vec<&str> = others.iter().map(|row| row.get(0)).collect();
        assert_eq!(others, ["acme"], "{table}");
    }
    let move_it = "UPDATE stageflow.runs SET tenant = 'globex'";
    let refused = within.execute(move_it, &[]).await.expect_err("it would be of another");
    assert_eq!(code(&refused), SqlState::INSUFFICIENT_PRIVILEGE);
}

#[tokio::test]
async fn the_owner_is_held_to_it_by_force() {
    let (db, _store) = filled().await;
    let owner = db.database.connect(OWNER).await;
    assert_eq!(seen(&db, &owner).await, [0; 5]);
    owner.batch_execute("ALTER TABLE stageflow.runs NO FORCE ROW LEVEL SECURITY").await.expect("it may");
    assert_eq!(number(&owner, "SELECT count(*) FROM stageflow.runs").await, 2, "without FORCE it sees all");
}

#[tokio::test]
async fn superusers_and_bypassrls_see_everything_all_the_same() {
    let (db, _store) = filled().await;
    let role = format!("sees_{}", std::process::id());
    let create = format!("CREATE ROLE {role} LOGIN BYPASSRLS; GRANT {APP} TO {role}");
    db.admin.batch_execute(&create).await.expect("it is made");
    let bypass = db.database.connect(&role).await;
    // This is why the store refuses both at its start: tests in `guard`.
    assert_eq!(seen(&db, &bypass).await, [2; 5]);
    assert_eq!(seen(&db, &db.admin).await, [2; 5]);
}

#[tokio::test]
async fn a_setting_of_the_session_leaks_through_a_pool_that_does_not_clean() {
    let (db, _store) = filled().await;
    for (recycling_method, leaks) in [(RecyclingMethod::Fast, true), (RecyclingMethod::Clean, false)] {
        let manager = Manager::from_config(db.database.app(), NoTls, ManagerConfig { recycling_method });
        let pool = Pool::builder(manager).max_size(1).build().expect("a pool");
        let first = pool.get().await.expect("a connection");
        first.batch_execute("SET stageflow.tenant = 'acme'").await.expect("it is set");
        drop(first);
        let second = pool.get().await.expect("a connection");
        // That the store has a pool that cleans is a test beside its code.
        assert_eq!(number(&second, "SELECT count(*) FROM stageflow.runs").await, i64::from(leaks));
    }
}

#[tokio::test]
async fn set_local_outside_of_a_transaction_shows_nothing() {
    let (db, _store) = filled().await;
    let app = db.app().await;
    app.execute("SET LOCAL stageflow.tenant = 'acme'", &[]).await.expect("it only warns");
    app.execute("SELECT set_config('stageflow.tenant', 'acme', true)", &[]).await.expect("nor does this");
    assert_eq!(seen(&db, &app).await, [0; 5]);
}

#[tokio::test]
async fn the_empty_text_after_a_transaction_is_nobody() {
    let (db, _store) = filled().await;
    let app = db.app().await;
    app.batch_execute("BEGIN; SELECT set_config('stageflow.tenant', 'acme', true); COMMIT")
        .await
        .expect("it ends");
    let row =
        app.query_one("SELECT current_setting('stageflow.tenant', true)", &[]).await.expect("it answers");
    assert_eq!(row.get::<_, Option<&str>>(0), Some(""), "and not NULL as on a new connection");
    assert_eq!(seen(&db, &app).await, [0; 5]);
    // Nor is there a row of nobody, whoever writes it.
    let refused = db.admin.execute("INSERT INTO stageflow.audit VALUES ('', 1, '', '')", &[]).await;
    assert_eq!(code(&refused.expect_err("it has no tenant")), SqlState::CHECK_VIOLATION);
    let unchecked = "SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'stageflow' AND c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_constraint AS k
            WHERE k.conrelid = c.oid AND pg_get_constraintdef(k.oid) = 'CHECK ((tenant <> ''''::text))')";
    assert_eq!(db.number(unchecked).await, 0, "every table refuses it");
}

#[tokio::test]
async fn a_view_is_read_by_the_rights_of_its_owner() {
    let (db, _store) = filled().await;
    assert_eq!(db.number("SELECT count(*) FROM pg_views WHERE schemaname = 'stageflow'").await, 0);
    let view = "CREATE VIEW public.leak AS SELECT * FROM stageflow.runs; GRANT SELECT ON public.leak TO stageflow_app";
    db.admin.batch_execute(view).await.expect("it is made");
    let app = db.app().await;
    // This is why the store refuses it at its start: tests in `guard`.
    assert_eq!(number(&app, "SELECT count(*) FROM public.leak").await, 2);
    db.admin
        .batch_execute("ALTER VIEW public.leak SET (security_invoker = true)")
        .await
        .expect("it is mended");
    assert_eq!(number(&app, "SELECT count(*) FROM public.leak").await, 0);
    // One of the owner is bound by FORCE.
    db.database.connect(OWNER).await.batch_execute(
        "CREATE VIEW stageflow.held AS SELECT * FROM stageflow.runs; GRANT SELECT ON stageflow.held TO stageflow_app",
    ).await.expect("it is made");
    assert_eq!(number(&app, "SELECT count(*) FROM stageflow.held").await, 0);
}

#[tokio::test]
async fn a_function_of_the_owner_is_bound_as_well() {
    let (db, _store) = filled().await;
    let definers =
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'stageflow'::regnamespace AND prosecdef";
    assert_eq!(db.number(definers).await, 0);
    let function = |name: &str| {
        format!(
            "CREATE FUNCTION {name}() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM stageflow.runs'"
        )
    };
    let owner = db.database.connect(OWNER).await;
    owner.batch_execute(&function("stageflow.of_owner")).await.expect("it is made");
    db.admin.batch_execute(&function("public.of_superuser")).await.expect("it is made");
    let app = db.app().await;
    assert_eq!(number(&app, "SELECT stageflow.of_owner()").await, 0);
    // Nothing in the database forbids this one: what a superuser defines has to be read by whoever lets it in.
    assert_eq!(number(&app, "SELECT public.of_superuser()").await, 2);
}

#[tokio::test]
async fn copy_takes_out_what_is_seen_and_brings_nothing_in() {
    let (db, _store) = filled().await;
    let app = db.app().await;
    let out = app.copy_out("COPY stageflow.runs TO STDOUT").await.expect("it may");
    let lines = futures_util::StreamExt::collect::<Vec<_>>(out).await;
    assert_eq!(lines.len(), 0);
    let Err(refused) = app.copy_in::<_, &[u8]>("COPY stageflow.runs FROM STDIN").await else {
        panic!("COPY FROM asks no policy")
    };
    assert_eq!(code(&refused), SqlState::FEATURE_NOT_SUPPORTED);
}

#[tokio::test]
async fn a_taken_key_tells_nothing_of_another_tenant() {
    let (db, _store) = filled().await;
    let sql =
        "SELECT i.indexrelid::regclass::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        WHERE c.relnamespace = 'stageflow'::regnamespace AND a.attname <> 'tenant'";
    let others = db.admin.query(sql, &[]).await.expect("the catalogue answers");
    assert!(
        others.is_empty(),
        "the tenant is first in every key: {:?}",
        others.first().map(|row| row.get::<_, String>(0))
    );
    let constraints = "SELECT count(*) FROM pg_constraint
        WHERE connamespace = 'stageflow'::regnamespace AND contype IN ('f', 'x')";
    assert_eq!(db.number(constraints).await, 0, "those are looked up without policies");
    let app = db.app().await;
    let same = "BEGIN; SELECT set_config('stageflow.tenant', 'initech', true);
        INSERT INTO stageflow.audit SELECT 'initech', 1, '', ''; COMMIT";
    app.batch_execute(same).await.expect("number 1 of two other tenants is not in its way");
}

#[tokio::test]
async fn row_security_off_is_an_error_and_no_way_round() {
    let (db, _store) = filled().await;
    let app = db.app().await;
    app.batch_execute("SET row_security = off").await.expect("anybody may");
    for table in tables(&db).await {
        let refused = app.query(&format!("SELECT * FROM {table}"), &[]).await.expect_err("it raises");
        assert_eq!(code(&refused), SqlState::INSUFFICIENT_PRIVILEGE, "{table}");
    }
}

#[tokio::test]
async fn the_application_may_do_no_more_than_it_needs() {
    let (db, _store) = filled().await;
    let app = db.app().await;
    let forbidden = [
        "TRUNCATE stageflow.runs",
        "UPDATE stageflow.audit SET record = ''",
        "DELETE FROM stageflow.audit",
        "UPDATE stageflow.entries SET kind = ''",
        "ALTER TABLE stageflow.runs DISABLE ROW LEVEL SECURITY",
        "DROP POLICY stageflow_tenant ON stageflow.runs",
        "CREATE TABLE stageflow.mine ()",
        "SET ROLE stageflow_owner",
    ];
    for sql in forbidden {
        let refused = app.batch_execute(sql).await.expect_err(sql);
        assert_eq!(code(&refused), SqlState::INSUFFICIENT_PRIVILEGE, "{sql}");
    }
}

#[tokio::test]
async fn nothing_is_notified() {
    let (db, _store) = filled().await;
    // Every role of the database reads what is notified, so nothing of a tenant may be in it.
    let triggers = "SELECT count(*) FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'stageflow'::regnamespace";
    assert_eq!(db.number(triggers).await, 0);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/postgres");
    for file in std::fs::read_dir(folder).expect("the sources are there") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("it is text").to_lowercase();
        assert!(!text.contains("notify"), "{}", path.display());
    }
}

/// Two tenants in turn, on a pool of one connection: neither sees the other.
#[tokio::test]
async fn one_connection_serves_tenants_in_turn() {
    let db = Db::new().await;
    let store = db.store_with(PostgresOptions::new().connections(1)).await;
    let keys = TENANTS.map(key);
    for (turn, key) in keys.iter().cycle().take(20).enumerate() {
        let other = &keys[(turn + 1) % 2];
        let seen = store.load(key).await.expect("it answers");
        assert_eq!(seen.is_some(), turn >= 2, "turn {turn}");
        if turn < 2 {
            store.begin(header(key)).await.expect("it begins");
        }
        let stolen = stageflow_core::durable::RunKey::new(key.tenant().clone(), other.run());
        assert!(store.load(&stolen).await.expect("it answers").is_none(), "turn {turn}");
        let unfinished = store.unfinished(key.tenant(), None, 10).await.expect("it answers");
        assert!(unfinished.iter().all(|run| run.key == *key), "turn {turn}: {unfinished:?}");
    }
}

#[tokio::test]
async fn many_tenants_at_once_on_few_connections() {
    let db = Db::new().await;
    let store = db.store_with(PostgresOptions::new().connections(2)).await;
    let runs = (0..100).map(|number| {
        let store = store.clone();
        async move {
            let key = key(&format!("tenant-{number}"));
            let lease = store.begin(header(&key)).await.expect("it begins");
            for seq in 1..=3 {
                store.append(&key, lease, vec![output(seq)]).await.expect("it is written");
            }
            let unfinished = store.unfinished(key.tenant(), None, 10).await.expect("it answers");
            assert_eq!(unfinished.iter().map(|run| &run.key).collect::<Vec<_>>(), [&key]);
            let run = store.load(&key).await.expect("it answers").expect("it is there");
            assert_eq!(run.entries.len(), 3);
        }
    });
    futures_util::future::join_all(runs).await;
    assert_eq!(db.number("SELECT count(*) FROM stageflow.entries").await, 300);
}
