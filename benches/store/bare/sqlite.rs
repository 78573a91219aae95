//! Rows in a file of SQLite: with a write-ahead log, synced at every commit, as the store does it.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use rusqlite::Connection;
use stageflow::RunId;
use tokio::task::spawn_blocking;

use crate::{bare::Way, pipelines};

const INSERT: &str = "INSERT INTO outputs (run, stage, output) VALUES (?1, ?2, ?3)";

/// A file with a table.
pub(crate) struct Sqlite {
    connection: Arc<Mutex<Connection>>,
}

impl Sqlite {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE outputs (run BLOB, stage INTEGER, output BLOB NOT NULL, PRIMARY KEY (run, stage)) WITHOUT ROWID",
        )?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    pub(crate) fn committer(&self, way: Way) -> Committer {
        Committer { connection: Arc::clone(&self.connection), way }
    }
}

/// One who commits.
pub(crate) struct Committer {
    connection: Arc<Mutex<Connection>>,
    way: Way,
}

impl Committer {
    pub(crate) async fn commit(self, rows: u32) -> Result<()> {
        let output = serde_json::to_vec(&pipelines::payload())?;
        let run = *RunId::new().as_bytes();
        let connection = self.connection;
        if self.way == Way::OneWriter {
            let all = move || (0..rows).try_for_each(|stage| insert(&connection, run, stage, &output));
            return spawn_blocking(all).await.context("it does not panic")?;
        }
        for stage in 0..rows {
            let (connection, output) = (Arc::clone(&connection), output.clone());
            // A stage must not block a worker.
            let one = move || insert(&connection, run, stage, &output);
            spawn_blocking(one).await.context("it does not panic")??;
        }
        Ok(())
    }
}

fn insert(connection: &Mutex<Connection>, run: [u8; 16], stage: u32, output: &[u8]) -> Result<()> {
    let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
    connection.prepare_cached(INSERT)?.execute((run, stage, output))?;
    Ok(())
}
