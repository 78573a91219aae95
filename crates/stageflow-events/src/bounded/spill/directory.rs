//! A directory of one sink's own in the one that several share, and the files in it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process,
};

/// Held while directories are made and swept, so that none is taken for dead before it is locked.
const GATE: &str = "stageflow-spill.lock";
const PREFIX: &str = "stageflow-spill-";
/// In each directory: locked as long as its owner lives.
const LOCK: &str = "lock";
const SEGMENT: &str = "seg";
/// How many directories a process may have there.
const MOST: u32 = 10_000;

/// Where segments are. The double of the tests has errors of its own.
pub(super) trait Media: Send {
    /// Makes ready, and says how many files of dead processes were deleted.
    fn open(&mut self) -> io::Result<u64>;
    /// Writes all of this at this place; after an error nothing of it counts.
    fn write(&mut self, segment: u64, at: u64, bytes: &[u8]) -> io::Result<()>;
    fn read(&mut self, segment: u64, at: u64, length: usize) -> io::Result<Vec<u8>>;
    fn delete(&mut self, segment: u64) -> io::Result<()>;
    /// Deletes everything.
    fn close(&mut self);
}

pub(super) struct Directory {
    shared: PathBuf,
    own: Option<Own>,
}

struct Own {
    path: PathBuf,
    /// Its lock says that the owner lives.
    _lock: File,
    writes: Option<(u64, File)>,
    reads: Option<(u64, File)>,
}

impl Directory {
    pub(super) fn new(shared: PathBuf) -> Self {
        Self { shared, own: None }
    }

    fn own(&mut self) -> io::Result<&mut Own> {
        self.own.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Media for Directory {
    fn open(&mut self) -> io::Result<u64> {
        directories().recursive(true).create(&self.shared)?;
        let gate = files().create(true).open(self.shared.join(GATE))?;
        gate.lock()?;
        let swept = sweep(&self.shared);
        let path = make(&self.shared)?;
        let lock = files().create_new(true).open(path.join(LOCK))?;
        lock.lock()?;
        self.own = Some(Own { path, _lock: lock, writes: None, reads: None });
        Ok(swept)
    }

    fn write(&mut self, segment: u64, at: u64, bytes: &[u8]) -> io::Result<()> {
        let own = self.own()?;
        let mut file = match own.writes.take() {
            Some((open, file)) if open == segment => file,
            _ => files().create_new(true).open(own.segment(segment))?,
        };
        file.seek(SeekFrom::Start(at))?;
        if let Err(error) = file.write_all(bytes) {
            // As far as it goes: what is behind `at` is never read.
            let _ = file.set_len(at);
            own.writes = Some((segment, file));
            return Err(error);
        }
        own.writes = Some((segment, file));
        Ok(())
    }

    fn read(&mut self, segment: u64, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let own = self.own()?;
        let mut file = match own.reads.take() {
            Some((open, file)) if open == segment => file,
            _ => File::open(own.segment(segment))?,
        };
        file.seek(SeekFrom::Start(at))?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        own.reads = Some((segment, file));
        Ok(bytes)
    }

    fn delete(&mut self, segment: u64) -> io::Result<()> {
        let own = self.own()?;
        own.writes.take_if(|(open, _)| *open == segment);
        own.reads.take_if(|(open, _)| *open == segment);
        match fs::remove_file(own.segment(segment)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn close(&mut self) {
        if let Some(own) = self.own.take() {
            remove(&own.path);
        }
    }
}

impl Own {
    fn segment(&self, segment: u64) -> PathBuf {
        self.path.join(format!("{segment}.{SEGMENT}"))
    }
}

/// A new directory of nobody else's.
fn make(shared: &Path) -> io::Result<PathBuf> {
    for n in 0..MOST {
        let path = shared.join(format!("{PREFIX}{}-{n}", process::id()));
        match directories().create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Deletes the directories of those who do not live any more; the number of their segments.
fn sweep(shared: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(shared) else { return 0 };
    let mut swept = 0;
    for entry in entries.flatten() {
        // `file_type` follows no link.
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_directory || !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let lives = match OpenOptions::new().write(true).open(path.join(LOCK)) {
            Ok(lock) => lock.try_lock().is_err(),
            // Its owner died before it had locked it, or while it deleted it.
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        if !lives {
            swept += remove(&path);
        }
    }
    swept
}

/// Deletes such a directory, but nothing in it that is not ours; the number of segments.
fn remove(path: &Path) -> u64 {
    let mut segments = 0;
    for file in fs::read_dir(path).into_iter().flatten().flatten() {
        let name = file.path();
        let is_segment = name.extension().is_some_and(|extension| extension == SEGMENT);
        if (is_segment || name.ends_with(LOCK)) && fs::remove_file(&name).is_ok() {
            segments += u64::from(is_segment);
        }
    }
    let _ = fs::remove_dir(path);
    segments
}

fn directories() -> DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there are no modes elsewhere"))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

fn files() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
