//! The store does not open where a role could see more than one tenant.

use stageflow_core::durable::{JournalError, JournalErrorKind};
use stageflow_store::postgres::PostgresOptions;
use stageflow_test_postgres::{APP, OWNER};

use crate::kit::{Db, connect};

/// Opens the store as a role, and gives why it does not.
async fn refusal(db: &Db, role: &str) -> JournalError {
    let options = PostgresOptions::new();
    connect(db.database.config(role), options).await.expect_err("it is refused")
}

/// A role of this test that has what the application has.
async fn role(db: &Db, name: &str, attributes: &str) -> String {
    let role = format!("{name}_{}", std::process::id());
    let create = format!("CREATE ROLE {role} LOGIN {attributes}; GRANT {APP} TO {role}");
    db.admin.batch_execute(&create).await.expect("the role is made");
    role
}

async fn assert_unsafe(db: &Db, role: &str, said: &str) {
    let error = refusal(db, role).await;
    assert_eq!(error.kind(), JournalErrorKind::Unsafe, "{error}");
    let all = format!("the database does not keep tenants apart: {said}");
    assert_eq!(error.to_string(), all);
    assert!(error.help().contains("neither owns the tables nor is a superuser"), "{}", error.help());
}

#[tokio::test]
async fn the_role_of_an_application_is_let_in() {
    let db = Db::new().await;
    db.store().await;
    let member = role(&db, "member", "").await;
    connect(db.database.config(&member), PostgresOptions::new()).await.expect("so is who has its rights");
}

#[tokio::test]
async fn a_superuser_is_refused() {
    let db = Db::new().await;
    assert_unsafe(&db, "postgres", "role `postgres` has BYPASSRLS; role `postgres` is a superuser").await;
}

#[tokio::test]
async fn a_superuser_in_the_guise_of_another_is_refused() {
    let db = Db::new().await;
    let mut config = db.database.config("postgres");
    config.options(format!("-c role={APP}"));
    let error = connect(config, PostgresOptions::new()).await.expect_err("it is refused");
    assert!(error.to_string().contains("role `postgres` is a superuser"), "{error}");
}

#[tokio::test]
async fn bypassrls_is_refused() {
    let db = Db::new().await;
    let role = role(&db, "bypass", "BYPASSRLS").await;
    assert_unsafe(&db, &role, &format!("role `{role}` has BYPASSRLS")).await;
}

#[tokio::test]
async fn who_can_become_a_role_with_bypassrls_is_refused() {
    let db = Db::new().await;
    let bypass = role(&db, "can_be", "BYPASSRLS").await;
    let role = role(&db, "can", "").await;
    db.admin.batch_execute(&format!("GRANT {bypass} TO {role}")).await.expect("it is granted");
    let said = format!("role `{role}` is a member of `{bypass}`, which no policy binds");
    assert_unsafe(&db, &role, &said).await;
}

#[tokio::test]
async fn the_owner_is_refused_and_its_members() {
    let db = Db::new().await;
    let owner = format!("role `{OWNER}` owns the tables, or is a member of `{OWNER}`, which does");
    assert_unsafe(&db, OWNER, &owner).await;
    let member = role(&db, "of_owner", "").await;
    db.admin.batch_execute(&format!("GRANT {OWNER} TO {member}")).await.expect("it is granted");
    let said = format!("role `{member}` owns the tables, or is a member of `{OWNER}`, which does");
    assert_unsafe(&db, &member, &said).await;
}

#[tokio::test]
async fn tables_that_are_not_protected_are_refused() {
    let db = Db::new().await;
    let policy = "ON stageflow.runs USING (tenant = NULLIF(current_setting('stageflow.tenant', true), '')) \
        WITH CHECK (tenant = NULLIF(current_setting('stageflow.tenant', true), ''))";
    let policy = format!(
        "DROP POLICY IF EXISTS stageflow_tenant ON stageflow.runs; CREATE POLICY stageflow_tenant {policy}"
    );
    let another = "table `runs` has no policy `stageflow_tenant` as schema.sql has it";
    let cases = [
        (
            "ALTER TABLE stageflow.entries NO FORCE ROW LEVEL SECURITY",
            "table `entries` has no FORCE ROW LEVEL SECURITY",
            "ALTER TABLE stageflow.entries FORCE ROW LEVEL SECURITY",
        ),
        (
            "ALTER TABLE stageflow.audit DISABLE ROW LEVEL SECURITY",
            "table `audit` has no ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE stageflow.audit ENABLE ROW LEVEL SECURITY",
        ),
        ("DROP POLICY stageflow_tenant ON stageflow.runs", another, &policy),
        ("ALTER POLICY stageflow_tenant ON stageflow.runs USING (true)", another, &policy),
        ("ALTER POLICY stageflow_tenant ON stageflow.runs WITH CHECK (true)", another, &policy),
        (
            "ALTER POLICY stageflow_tenant ON stageflow.runs USING (tenant = current_setting('stageflow.tenant', true))",
            another,
            &policy,
        ),
        (
            "CREATE POLICY more ON stageflow.pauses FOR SELECT USING (true)",
            "policy `more` of table `pauses` lets more through",
            "DROP POLICY more ON stageflow.pauses",
        ),
        (
            "GRANT TRUNCATE ON stageflow.runs TO stageflow_app",
            "role `stageflow_app` may TRUNCATE table `runs`, which asks no policy",
            "REVOKE TRUNCATE ON stageflow.runs FROM stageflow_app",
        ),
        (
            "GRANT UPDATE (hash) ON stageflow.audit TO stageflow_app",
            "role `stageflow_app` may change or delete audit records",
            "REVOKE UPDATE (hash) ON stageflow.audit FROM stageflow_app",
        ),
        (
            "CREATE VIEW public.all_runs AS SELECT * FROM stageflow.runs; GRANT SELECT ON public.all_runs TO stageflow_app",
            "view `public.all_runs` is read by the rights of its owner: it needs security_invoker=true",
            "ALTER VIEW public.all_runs SET (security_invoker = true)",
        ),
        (
            "CREATE FUNCTION stageflow.all_runs() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM stageflow.runs'",
            "function `stageflow.all_runs` is SECURITY DEFINER",
            "DROP FUNCTION stageflow.all_runs()",
        ),
        (
            "CREATE TABLE stageflow.later (tenant text)",
            "table `later` has no ENABLE ROW LEVEL SECURITY; table `later` has no FORCE ROW LEVEL SECURITY; \
             table `later` has no policy `stageflow_tenant` as schema.sql has it",
            "DROP TABLE stageflow.later",
        ),
    ];
    for (break_it, said, mend) in cases {
        db.admin.batch_execute(break_it).await.unwrap_or_else(|error| panic!("{break_it}: {error:?}"));
        assert_unsafe(&db, APP, said).await;
        db.admin.batch_execute(mend).await.unwrap_or_else(|error| panic!("{mend}: {error:?}"));
        db.store().await;
    }
}

#[tokio::test]
async fn a_session_without_row_security_is_refused() {
    let db = Db::new().await;
    let mut config = db.database.app();
    config.options("-c row_security=off");
    let error = connect(config, PostgresOptions::new()).await.expect_err("it is refused");
    assert_eq!(error.kind(), JournalErrorKind::Unsafe);
    assert_eq!(
        error.to_string(),
        "the database does not keep tenants apart: row_security is off for this session"
    );
}

#[tokio::test]
async fn another_version_of_the_tables_is_refused_with_both_versions() {
    let db = Db::new().await;
    let version = |version: i32| {
        format!(
            "CREATE OR REPLACE FUNCTION stageflow.schema_version() RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN {version}"
        )
    };
    db.admin.batch_execute(&version(9)).await.expect("it is changed");
    let newer = refusal(&db, APP).await;
    assert_eq!(newer.kind(), JournalErrorKind::Schema);
    assert_eq!(newer.to_string(), "the schema `stageflow` is of version 9, and this code knows version 1");
    let migrated = stageflow_store::PostgresStore::migrate(&db.database.config("postgres"), APP).await;
    assert_eq!(migrated.expect_err("it is newer").to_string(), newer.to_string());
    db.admin.batch_execute(&version(0)).await.expect("it is changed");
    let older = refusal(&db, APP).await;
    assert_eq!(older.to_string(), "the schema `stageflow` is of version 0, and this code needs version 1");
    assert!(older.help().contains("PostgresStore::migrate"));
}

#[tokio::test]
async fn a_database_without_tables_is_refused() {
    let database = stageflow_test_postgres::Database::shared().await;
    let error = connect(database.app(), PostgresOptions::new()).await.expect_err("it is refused");
    assert_eq!(error.kind(), JournalErrorKind::Schema);
    assert!(error.help().contains("schema.sql"), "{}", error.help());
}

#[tokio::test]
async fn who_migrates_twice_changes_nothing() {
    let db = Db::new().await;
    let owner = db.database.owner();
    let again = (0..4).map(|_| stageflow_store::PostgresStore::migrate(&owner, APP));
    for migrated in futures_util::future::join_all(again).await {
        migrated.expect("it is there already");
    }
    db.store().await;
}

#[tokio::test]
async fn several_migrate_at_once() {
    let database = stageflow_test_postgres::Database::shared().await;
    let owner = database.owner();
    let all = (0..4).map(|_| stageflow_store::PostgresStore::migrate(&owner, APP));
    for migrated in futures_util::future::join_all(all).await {
        migrated.expect("one makes them, the others find them");
    }
}
