//! Rows in PostgreSQL, on a connection for each committer, by a prepared statement.

use anyhow::{Context as _, Result};
use stageflow::RunId;
use stageflow_test_postgres::{Database, OWNER};
use tokio_postgres::Client;
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

    pub(crate) async fn committer(&self) -> Committer {
        Committer { client: self.database.connect(OWNER).await }
    }
}

/// One who commits.
pub(crate) struct Committer {
    client: Client,
}

impl Committer {
    pub(crate) async fn commit(self, rows: i32) -> Result<()> {
        let output = serde_json::to_vec(&pipelines::payload())?;
        let run = Uuid::from_bytes(*RunId::new().as_bytes());
        let insert = self.client.prepare(INSERT).await?;
        for stage in 0..rows {
            self.client.execute(&insert, &[&run, &stage, &output]).await?;
        }
        Ok(())
    }
}
