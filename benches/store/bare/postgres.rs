//! Rows in PostgreSQL, on a connection for each committer, by a prepared statement.

use anyhow::{Context as _, Result};
use stageflow::RunId;
use stageflow_test_postgres::{Database, OWNER};
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use crate::pipelines;

const TABLE: &str =
    "CREATE TABLE outputs (run uuid, stage integer, output bytea NOT NULL, PRIMARY KEY (run, stage))";
const INSERT: &str = "INSERT INTO outputs (run, stage, output) VALUES ($1, $2, $3)";

/// A database with a table.
pub(crate) struct Postgres {
    database: Database,
}

impl Postgres {
    pub(crate) async fn open(database: Database) -> Result<Self> {
        database.connect(OWNER).await.batch_execute(TABLE).await.context("a table is made")?;
        Ok(Self { database })
    }

    pub(crate) async fn committer(&self) -> Result<Committer> {
        let client = self.database.connect(OWNER).await;
        let insert = client.prepare(INSERT).await?;
        Ok(Committer { client, insert })
    }
}

/// One who commits.
pub(crate) struct Committer {
    client: Client,
    insert: Statement,
}

impl Committer {
    pub(crate) async fn commit(self, rows: u32) -> Result<()> {
        let output = serde_json::to_vec(&pipelines::payload())?;
        let run = Uuid::from_bytes(*RunId::new().as_bytes());
        for stage in 0..i32::try_from(rows)? {
            self.client.execute(&self.insert, &[&run, &stage, &output]).await?;
        }
        Ok(())
    }
}
