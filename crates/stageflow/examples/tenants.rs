//! Two tenants on one PostgreSQL: what row-level security keeps from them, from the application, and from whoever connects as the wrong role.
//!
//! `cargo run --example tenants` starts a PostgreSQL of its own on a Unix socket, and leaves nothing behind.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::error::Error;

#[cfg(unix)]
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    shop::open().await
}

#[cfg(not(unix))]
fn main() -> Result<(), Box<dyn Error>> {
    Err("the PostgreSQL of this example listens on a Unix socket".into())
}

#[cfg(unix)]
mod shop {
    use std::{error::Error, sync::Arc};

    use stageflow::{
        Engine, Quota, Sensitive,
        audit::TenantData as _,
        prelude::*,
        store::{PostgresStore, postgres::PostgresOptions},
    };
    use stageflow_test_postgres::{APP, Cluster, Database, OWNER};
    use tokio_postgres::NoTls;

    type Card = Sensitive<String>;

    fn orders() -> Result<Pipeline<Card, String>, Box<dyn Error>> {
        let mut p = Pipeline::builder("orders");
        let card = p.durable_input();
        let charge =
            stage_fn(
                |_, card: Arc<Card>| async move { Ok(format!("charged card …{}", &card.expose()[15..])) },
            );
        let receipt = p.stage("charge", charge).durable().inputs(card);
        Ok(p.build(receipt)?)
    }

    pub(super) async fn open() -> Result<(), Box<dyn Error>> {
        let cluster = Cluster::start()?;
        let database = Database::new(&cluster).await;
        PostgresStore::migrate(&database.owner(), APP).await?;
        let store = PostgresStore::connect_with(database.app(), NoTls, PostgresOptions::new()).await?;
        let engine =
            Engine::builder().journal(store.clone()).tenant_quota(Quota::concurrent_runs(2)).build()?;
        let orders = orders()?;

        println!("each tenant runs, on one engine and one pool of connections:");
        let mut last = None;
        for (tenant, card) in [("acme", "4111 1111 1111 1111"), ("globex", "5500 0000 0000 0004")] {
            let run = engine.run(&orders, Sensitive::new(card.to_owned())).tenant(tenant).await?;
            println!("  {tenant}: {}", run.output());
            last = Some(run.run_id());
        }

        println!("a tenant that knows the id of another's run:");
        let globex = last.ok_or("there was a run")?;
        let seen = engine.journaled("acme", globex).await?;
        println!(
            "  acme reads globex's run: {}",
            if seen.is_some() { "there it is" } else { "there is no such run" }
        );
        if let Err(error) = engine.resume(&orders, "acme", globex).await {
            println!("  acme resumes it: {}", error.code());
        }

        println!("SQL of the application that forgets the tenant:");
        let mut client = database.connect(APP).await;
        let rows = client.query_one("SELECT count(*) FROM stageflow.runs", &[]).await?;
        println!("  without a tenant it sees {} runs", rows.get::<_, i64>(0));
        let transaction = client.transaction().await?;
        transaction.execute("SELECT set_config('stageflow.tenant', 'acme', true)", &[]).await?;
        let rows = transaction.query_one("SELECT count(*) FROM stageflow.runs", &[]).await?;
        println!("  as acme it sees {}", rows.get::<_, i64>(0));
        let moved = transaction.execute("UPDATE stageflow.runs SET tenant = 'globex'", &[]).await;
        let refused = moved.err().and_then(|error| Some(error.as_db_error()?.message().to_owned()));
        println!("  acme's rows become globex's: {}", refused.as_deref().unwrap_or("done"));
        transaction.rollback().await?;

        println!("the store as a role that could see everything:");
        for role in [OWNER, "postgres"] {
            match PostgresStore::connect_with(database.config(role), NoTls, PostgresOptions::new()).await {
                Ok(_) => println!("  {role}: connected"),
                Err(error) => println!("  {role}: {} {error}", error.code()),
            }
        }

        println!("globex leaves:");
        let receipt = store.erase(&"globex".into(), Some(&"dpo".into()), "asked for by globex").await?;
        for table in receipt.tables {
            println!("  {}: {} rows erased, {} left", table.table, table.erased, table.left);
        }
        println!("  acme still has {} run", store.usage(&"acme".into()).await?.runs);
        Ok(())
    }
}
