//! Events as lines of JSON in a file.

mod file;
mod reader;

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stageflow_core::{DropReason, Event, EventKind, EventSink, event::Taken, text::panic_message};

use self::file::{File, Limits};
pub use self::reader::{Damage, JsonReader, LoggedEvent};

/// How often what was written is forced onto the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fsync {
    /// Never: it survives the process, but perhaps not the machine.
    #[default]
    Never,
    /// After so many events.
    Events(u64),
    /// With the first event after so much time.
    Every(Duration),
    /// With every end of a run.
    RunEnds,
}

/// Writes each event as one line of JSON.
///
/// A text can hold whatever it likes: an event is always one line, because JSON escapes line breaks. A file that
/// it makes can be read by its owner only, where the system knows such a thing: events name tenants and users.
///
/// What cannot be written, such as on a full disk, is dropped and counted as `failed`; the next event that can be written
/// has an `events.gap` before it, and [`last_error`](Self::last_error) says what was wrong. A line is written whole or
/// removed again, where the file can be shortened.
///
/// It blocks, so it stands behind a queue: the engine's, or [its own](crate::SinkExt::bounded).
///
/// ```
/// use stageflow_events::{JsonLines, SinkExt, Fsync};
///
/// # let folder = std::env::temp_dir().join(format!("stageflow-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let path = folder.join("events.jsonl");
/// let sink = JsonLines::create(&path)?.rotate(10_000_000, 5).fsync(Fsync::RunEnds).bounded(10_000);
/// # drop(sink);
/// assert_eq!(JsonLines::read(&path)?.count(), 0);
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<_, std::io::Error>(())
/// ```
pub struct JsonLines {
    path: PathBuf,
    file: Mutex<File>,
}

impl JsonLines {
    /// Writes to a new file; what was there is gone.
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open(path.as_ref(), false)
    }

    /// Writes behind what is there. A line that was not finished stays as it is, on a line of its own.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn append(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open(path.as_ref(), true)
    }

    fn open(path: &Path, keep: bool) -> io::Result<Self> {
        let file = Mutex::new(File::open(path, keep)?);
        Ok(Self { path: path.to_owned(), file })
    }

    /// Begins a new file before one grows beyond `bytes`, and keeps so many old ones: `events.jsonl.1` is the youngest.
    /// A line that is longer has a file of its own.
    #[must_use]
    pub fn rotate(self, bytes: u64, keep: u32) -> Self {
        self.lock().limits = Limits { bytes: bytes.max(1), keep };
        self
    }

    /// How often what was written is forced onto the disk; [`Fsync::Never`] by default.
    #[must_use]
    pub fn fsync(self, when: Fsync) -> Self {
        self.lock().fsync = when;
        self
    }

    /// Where it writes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What went wrong last: an event that could not be written, a file that could not be forced onto the disk or put
    /// aside. `None` if nothing ever did.
    pub fn last_error(&self) -> Option<String> {
        self.lock().last_error.clone()
    }

    /// Reads a file back: events, and the places where it is damaged.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn read(path: impl AsRef<Path>) -> io::Result<JsonReader> {
        JsonReader::open(path.as_ref())
    }

    fn lock(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for JsonLines {
    fn on_event(&self, event: &Event) {
        self.take_all(vec![event.clone()]);
    }

    fn take_all(&self, events: Vec<Event>) -> Taken {
        let mut taken = Taken::default();
        let mut lines = Vec::new();
        let mut ends = Vec::with_capacity(events.len());
        let mut panicked = Vec::new();
        for event in &events {
            let before = lines.len();
            // The text of an error is the user's code: it costs no event beside its own.
            let written = catch_unwind(AssertUnwindSafe(|| serde_json::to_writer(&mut lines, event).is_ok()));
            match written.map_err(panic_message) {
                Ok(true) => lines.push(b'\n'),
                Ok(false) => lines.truncate(before),
                Err(_) => {
                    lines.truncate(before);
                    panicked.push(event.seq());
                }
            }
            ends.push(lines.len());
        }
        let run_ended = events.iter().any(|event| matches!(event.kind(), EventKind::PipelineEnded { .. }));
        let written = self.lock().write(&lines, &ends, run_ended);
        let mut begin = 0;
        for (event, end) in events.iter().zip(ends) {
            if end <= written && end > begin {
                taken.took(event);
            } else {
                let panicked = panicked.contains(&event.seq());
                taken.lost(event, if panicked { DropReason::Panic } else { DropReason::Failed });
            }
            begin = end;
        }
        taken
    }

    fn on_flush(&self) {
        self.lock().force();
    }
}

impl fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
