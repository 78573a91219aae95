//! [`SqliteStore`]: journals, answers and audit records in a file, which several processes of one machine may share.

mod answers;
mod audit;
mod builder;
mod error;
mod journal;
mod owner;
mod reader;
mod runs;
mod schema;
mod scope;
mod tenants;
#[cfg(all(test, feature = "conformance"))]
mod tests;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use stageflow_core::durable::JournalError;

pub use self::{
    answers::SqliteAnswers,
    builder::{Fsync, Sqlite},
};
use self::{answers::Waiters, owner::Owner, reader::Reader, writer::Queue};

/// A store in a file of SQLite. Clones share its threads.
///
/// # Durability
///
/// What is acknowledged was committed to the write-ahead log and synced to the disk ([`Fsync::Full`]), and so survives the death of the
/// process and of the machine. One thread writes: it takes all that has been asked for since its last commit, and commits it at once, so
/// that many runs share one sync of the disk; those of the last commit it gives a moment to ask again. When a commit fails, each request of it is tried once more by itself, and only those
/// that fail then are refused: one that is too large for the disk does not take the others with it. Nothing is acknowledged before its
/// own commit has succeeded.
///
/// # Several processes
///
/// Any number of processes of one machine may open the file, on a file system that has locks and shared memory: not over a network.
/// A run belongs to the process that has begun or claimed it, until that
/// [releases](stageflow_core::durable::Journal::release) it, closes the store, dies, or is stopped for longer than a
/// [lease](Sqlite::lease). Each open store holds a lock on a small file in `<file>-owners/`: the system frees it when the process
/// ends, however it ends, and so another takes its runs over at once.
///
/// # Tenants
///
/// Apart by construction: `tenant` is the first column of every primary key, and every statement on a table with data of tenants goes
/// through one place, which binds the tenant; a statement that does not compare with it does not compile. Whoever can open the file
/// reads all of it: where tenants must not trust the application, use a file each, or PostgreSQL.
///
/// # Blocking
///
/// Every method of the traits hands its work to a thread of the store, and blocks nobody. Opening blocks, for as long as the migration
/// of an older file takes. Dropping the last clone blocks until all that was asked for is written. No runtime is needed for either.
///
/// ```
/// use stageflow_store::SqliteStore;
/// # let dir = std::env::temp_dir().join(format!("stageflow-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// # let path = dir.join("runs.db");
/// let store = SqliteStore::open(&path)?;
/// assert_eq!(store.path(), path);
/// # drop(store);
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

/// What the threads and all handles share.
struct Shared {
    path: PathBuf,
    lease: Duration,
    owner: Owner,
    queue: Queue,
    waiters: Waiters,
}

struct Inner {
    shared: Arc<Shared>,
    reader: Reader,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens a file, or makes it, with what [`Sqlite::builder`] has by default.
    ///
    /// # Errors
    ///
    /// As [`Sqlite::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        Sqlite::builder(path).open()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.inner.shared.path
    }

    /// A store of answers beside the journal: leases of 10 minutes, and answers for a day.
    pub fn answers(&self) -> SqliteAnswers {
        SqliteAnswers::new(self.clone())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.reader.close();
        let threads = std::mem::take(self.threads.get_mut().unwrap_or_else(PoisonError::into_inner));
        for handle in threads {
            // Whoever is woken on a thread of the store may drop its last handle there.
            if handle.thread().id() != thread::current().id() {
                drop(handle.join());
            }
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.inner.shared.path)
            .field("lease", &self.inner.shared.lease)
            .finish_non_exhaustive()
    }
}
