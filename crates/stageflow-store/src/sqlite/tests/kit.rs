//! A file of its own for each test.

use std::{fs, path::PathBuf, sync::Arc};

use rusqlite::Connection;
use stageflow_core::{
    ContextSnapshot, RunId,
    durable::{Encoded, Entry, EntryKind, RunHeader, RunKey},
};

use crate::{
    SqliteStore,
    conformance::Backend,
    sqlite::{Sqlite, SqliteAnswers},
};

/// A directory that is gone with the test.
pub(super) struct Dir(PathBuf);

impl Dir {
    pub(super) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("stageflow-sqlite-{}", RunId::new()));
        fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.0.join("runs.db")
    }

    /// The file as anybody may open it.
    pub(super) fn raw(&self) -> Connection {
        let raw = Connection::open(self.file()).expect("the file is opened");
        raw.busy_timeout(std::time::Duration::from_secs(10)).expect("it waits");
        raw
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A file under the suite.
pub(super) struct File(pub(super) Dir);

impl Backend for File {
    type Store = SqliteStore;
    type Answers = SqliteAnswers;

    async fn open(&self) -> SqliteStore {
        Sqlite::builder(self.0.file()).open().expect("it is opened")
    }

    fn answers(&self, store: &SqliteStore) -> SqliteAnswers {
        store.answers()
    }

    async fn expire_leases(&self) {
        let raw = self.0.raw();
        raw.execute("UPDATE runs SET owner = NULL", []).expect("leases end");
        raw.execute("UPDATE answers SET until = 0 WHERE answer IS NULL", []).expect("leases end");
    }

    async fn expire_answers(&self) {
        let raw = self.0.raw();
        raw.execute("UPDATE answers SET until = 0 WHERE answer IS NOT NULL", []).expect("answers end");
    }
}

pub(super) fn header(tenant: &str) -> Arc<RunHeader> {
    let run = RunId::new();
    let snapshot = ContextSnapshot::builder().run(run).tenant(tenant).pipeline("p").build();
    Arc::new(RunHeader {
        key: RunKey::new(tenant, run),
        snapshot,
        input: None,
        started: std::time::SystemTime::UNIX_EPOCH,
        seed: 0,
        branch_of: None,
    })
}

/// An entry with a payload of so many bytes, which follow from its number.
pub(super) fn entry(seq: u64, bytes: usize) -> Entry {
    let kind = EntryKind::AttemptStarted { stage: "s".into(), attempt: 1 };
    let byte = u8::try_from(seq % 251).unwrap_or_default();
    Entry { seq, at: seq, kind, payload: Some(Encoded::new(1, vec![byte; bytes])) }
}
