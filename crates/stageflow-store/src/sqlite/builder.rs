//! [`Sqlite`]: how a file is opened.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use stageflow_core::durable::{JournalError, JournalErrorKind};

use super::{Inner, Shared, SqliteStore, answers::Waiters, owner::Owner, reader, schema, writer};

/// What has to reach the disk before something is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fsync {
    /// Every commit is synced: what is acknowledged survives a loss of power.
    #[default]
    Full,
    /// The log is synced when it is taken over into the file: what is acknowledged survives the death of the process, and a loss of
    /// power takes the last commits. What is left is still without a gap.
    Normal,
}

/// How a file is opened.
///
/// ```
/// use stageflow_core::DurationExt;
/// use stageflow_store::sqlite::{Fsync, Sqlite};
/// # let dir = std::env::temp_dir().join(format!("stageflow-doc-builder-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// # let path = dir.join("runs.db");
/// let store = Sqlite::builder(&path).lease(10.secs()).fsync(Fsync::Full).open()?;
/// # drop(store);
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is opened by `open`"]
pub struct Sqlite {
    pub(super) path: PathBuf,
    pub(super) lease: Duration,
    pub(super) busy: Duration,
    pub(super) fsync: Fsync,
    pub(super) queue_bytes: usize,
    pub(super) max_bytes: Option<u64>,
}

impl Sqlite {
    /// A file with leases of 30 seconds, synced at every commit.
    pub fn builder(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            lease: Duration::from_secs(30),
            busy: Duration::from_secs(5),
            fsync: Fsync::Full,
            queue_bytes: 64 << 20,
            max_bytes: None,
        }
    }

    /// For how long a process may be stopped until others take its runs over; a process that has died needs no such time. The lease is
    /// prolonged three times within it.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long to wait for another process that writes; 5 seconds by default. What has to wait longer fails with
    /// [`Unavailable`](JournalErrorKind::Unavailable).
    pub fn busy_timeout(mut self, busy: Duration) -> Self {
        self.busy = busy;
        self
    }

    /// What has to reach the disk before something is acknowledged.
    pub fn fsync(mut self, fsync: Fsync) -> Self {
        self.fsync = fsync;
        self
    }

    /// How many bytes may wait to be written; 64 MiB by default. Entries beyond are refused with
    /// [`Unavailable`](JournalErrorKind::Unavailable), unless nothing else waits.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// How large the file may become, in bytes; as large as the disk by default. Beyond, entries are refused with
    /// [`Full`](JournalErrorKind::Full).
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Opens the file, or makes it, and brings one of an older version to this one. It blocks meanwhile.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](JournalErrorKind::Unavailable) where it cannot be read and written, or another process does not let it go;
    /// [`Full`](JournalErrorKind::Full); [`Schema`](JournalErrorKind::Schema) of a newer version, or of something else;
    /// [`Corrupt`](JournalErrorKind::Corrupt).
    pub fn open(self) -> Result<SqliteStore, JournalError> {
        // Also makes the tables, before anything reads.
        let writing = schema::open(&self)?;
        let reading = schema::connect(&self)?;
        let owner = Owner::register(&writing, &self)?;
        let shared = Arc::new(Shared {
            path: self.path.clone(),
            lease: self.lease,
            owner,
            queue: writer::Queue::new(self.queue_bytes),
            waiters: Waiters::default(),
        });
        let (questions, asked) = mpsc::channel();
        let writer = {
            let shared = Arc::clone(&shared);
            spawn("write", &self.path.clone(), move || writer::run(&shared, writing, &self))?
        };
        let inner = Inner {
            reader: reader::Reader::new(questions),
            threads: Mutex::new(vec![writer]),
            shared: Arc::clone(&shared),
        };
        let path = shared.path.clone();
        let reader = spawn("read", &path, move || reader::run(&shared.path, &reading, &asked))?;
        inner.threads.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        Ok(SqliteStore { inner: Arc::new(inner) })
    }
}

fn spawn(
    what: &str,
    path: &Path,
    work: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, JournalError> {
    thread::Builder::new().name(format!("store-{what}")).spawn(work).map_err(|error| {
        let message = format!("{}: no thread to {what} with: {error}", path.display());
        JournalError::new(JournalErrorKind::Unavailable, message).source(error)
    })
}
