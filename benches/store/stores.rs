//! The stores, each where it is measured.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use stageflow::{
    Engine,
    durable::{Durability, Journal},
    interceptors::IdempotencyStore,
    store::{MemoryStore, PostgresStore, SqliteStore, postgres::PostgresOptions},
};
use stageflow_test_postgres::{APP, Cluster, Database};
use tokio_postgres::NoTls;

use crate::{
    bare::{self, Bare},
    lab::TENANT,
};

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Sqlite,
    Postgres,
}

impl Kind {
    pub(crate) const ALL: &[Self] = &[Self::Memory, Self::Sqlite, Self::Postgres];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// A store, and a table of one's own beside it.
pub(crate) struct Opened {
    pub(crate) kind: Kind,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) answers: Arc<dyn IdempotencyStore>,
    pub(crate) bare: Bare,
}

impl Opened {
    pub(crate) fn memory() -> Self {
        let store = MemoryStore::new();
        let answers = Arc::new(store.answers());
        Self { kind: Kind::Memory, journal: Arc::new(store), answers, bare: Bare::None }
    }

    pub(crate) fn sqlite(scratch: &Scratch) -> Result<Self> {
        let store = SqliteStore::open(scratch.file("store.db"))?;
        let answers = Arc::new(store.answers());
        let bare = Bare::Sqlite(bare::Sqlite::open(&scratch.file("bare.db"))?);
        Ok(Self { kind: Kind::Sqlite, journal: Arc::new(store), answers, bare })
    }

    /// In a database of its own; the bare table is in another.
    pub(crate) async fn postgres(cluster: &Cluster) -> Result<Self> {
        let (database, beside) = (Database::new(cluster).await, Database::new(cluster).await);
        PostgresStore::migrate(&database.owner(), APP).await?;
        let store = PostgresStore::connect_with(database.app(), NoTls, PostgresOptions::new()).await?;
        let answers = Arc::new(store.answers());
        let bare = Bare::Postgres(Box::new(bare::Postgres::open(beside).await?));
        Ok(Self { kind: Kind::Postgres, journal: Arc::new(store), answers, bare })
    }

    /// As an engine has it.
    pub(crate) fn durability(&self) -> Durability {
        Durability::shared(Arc::clone(&self.journal)).default_tenant(TENANT)
    }

    pub(crate) fn engine(&self) -> Result<Engine> {
        Engine::builder().journal(self.durability()).build().context("the engine is sound")
    }
}

/// A folder on the disk that this is built on, which goes away in the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        let target = std::env::current_exe()?;
        let folder = target.parent().context("a program is in a folder")?;
        let path = folder.join(format!("store-bench-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("{} can be made", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.0).join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
