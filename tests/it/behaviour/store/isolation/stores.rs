//! The same on a file of SQLite, and on PostgreSQL: there every table is read as each tenant, with the policies and without.

use std::{collections::HashMap, sync::Arc};

use stageflow::{
    store::{PostgresStore, SqliteStore},
    testing::{Canaries, SweepReport},
};
use stageflow_test_postgres::{APP, Database};
use tokio_postgres::NoTls;

use super::world::World;

/// All but `answers`, which this world keeps in memory.
const TABLES: [&str; 4] = ["runs", "entries", "pauses", "audit"];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s_32_ten_tenants_share_a_file_and_do_not_see_each_other() {
    let file = std::env::temp_dir().join(format!("stageflow-canaries-{}.db", std::process::id()));
    let world = Arc::new(World::new(10, SqliteStore::open(&file).expect("it opens")));
    world.run(1).await;
    let report = world.sweep().await.finish();
    report.assert_clean();
    assert_eq!((report.tenants("journal"), report.tenants("audit")), (10, 10), "{report}");
    drop(world);
    for file in [file.clone(), file.with_extension("db-wal"), file.with_extension("db-shm")] {
        // SQLite has taken its own files back.
        let _removed = std::fs::remove_file(file);
    }
    let _owners = std::fs::remove_dir_all(file.with_extension("db-owners"));
}

/// Seed SEED2-11, with the control of M14.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s_32_ten_tenants_share_a_database_and_see_each_other_only_without_its_policies() {
    let database = Database::shared().await;
    PostgresStore::migrate(&database.owner(), APP).await.expect("it is migrated");
    let store = PostgresStore::connect_with(database.app(), NoTls, Default::default());
    let world = Arc::new(World::new(10, store.await.expect("it connects")));
    world.run(1).await;
    world.sweep().await.finish().assert_clean();

    for (table, seen) in sweep(&world.canaries, &database).await {
        seen.assert_clean();
        assert_eq!(seen.tenants(table), 10, "{table}: each tenant sees its own\n{seen}");
    }

    let superuser = database.connect("postgres").await;
    for table in TABLES {
        let disable = format!("ALTER TABLE stageflow.{table} DISABLE ROW LEVEL SECURITY");
        superuser.batch_execute(&disable).await.expect("a superuser may");
    }
    for (table, seen) in sweep(&world.canaries, &database).await {
        assert!(seen.leak_count() >= 90, "{table}: each tenant sees the nine others\n{seen}");
    }
}

/// Looks through all that each tenant gets by the application's role, and SQL that forgets to ask for the tenant.
async fn sweep(canaries: &Canaries, database: &Database) -> Vec<(&'static str, SweepReport)> {
    let mut client = database.connect(APP).await;
    let mut rows: HashMap<(&str, String), Vec<String>> = HashMap::new();
    for tenant in canaries.tenants() {
        let transaction = client.transaction().await.expect("it begins");
        let set = "SELECT set_config('stageflow.tenant', $1, true)";
        transaction.execute(set, &[&tenant.id()]).await.expect("it is set");
        for table in TABLES {
            let all = format!("SELECT t::text FROM stageflow.{table} AS t");
            let all = transaction.query(&all, &[]).await.expect("it may be read");
            let all = all.iter().map(|row| readable(row.get(0))).collect();
            rows.insert((table, tenant.id().to_owned()), all);
        }
    }
    let of = |table| canaries.sweep().visible(table, |tenant| rows[&(table, tenant.to_owned())].clone());
    TABLES.into_iter().map(|table| (table, of(table).finish())).collect()
}

/// A row, with its bytes as text: the database prints them in hexadecimal.
fn readable(row: &str) -> String {
    let bytes = row.split("\\x").skip(1).flat_map(|part| {
        let digits: Vec<_> = part.bytes().take_while(u8::is_ascii_hexdigit).collect();
        digits.chunks_exact(2).map(byte).chain([b' ']).collect::<Vec<_>>()
    });
    format!("{row} {}", String::from_utf8_lossy(&bytes.collect::<Vec<_>>()))
}

fn byte(digits: &[u8]) -> u8 {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default();
    digits.iter().fold(0, |byte, one| byte << 4 | u8::try_from(digit(*one)).unwrap_or_default())
}
