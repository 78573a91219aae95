//! Reads back what was written, and says where it is damaged.

use std::{
    fmt, fs, io,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use serde::{Deserialize, Serialize};
use stageflow_core::RunId;

/// No line of a healthy file is longer: 16 MiB.
const LONGEST: u64 = 16 * 1024 * 1024;

/// An event as it was written: the fields of a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LoggedEvent {
    /// The name, such as `stage.completed`.
    pub event: String,
    /// The position in the run.
    pub seq: u64,
    /// The run.
    pub run_id: RunId,
    /// The tenant.
    pub tenant: Option<String>,
    /// The correlation id.
    pub correlation_id: Option<String>,
    /// The trace id, 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// The pipeline.
    pub pipeline: String,
    /// The run that started this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_run_id: Option<RunId>,
    /// The stage of it that is this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_stage: Option<String>,
    /// The stage.
    pub stage: Option<String>,
    /// The attempt.
    pub attempt: Option<u32>,
    /// Nanoseconds since the run started.
    pub elapsed_ns: u64,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// What only such events have.
    #[serde(default)]
    pub details: serde_json::Map<String, serde_json::Value>,
}

/// A place of a file that is not an event.
#[derive(Debug)]
#[non_exhaustive]
pub struct Damage {
    /// The line, from 1.
    pub line: u64,
    /// Where the line begins, in bytes.
    pub offset: u64,
    /// How many bytes are no event, the end of the line included.
    pub bytes: u64,
    /// Whether it is the last line and has no end: whoever wrote it was interrupted.
    pub is_unfinished: bool,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_unfinished { "is not finished" } else { "is no event" };
        write!(f, "line {} at byte {} {what}: {}", self.line, self.offset, self.reason)
    }
}

impl std::error::Error for Damage {}

/// Reads the events of a file of JSON lines; made by [`JsonLines::read`](super::JsonLines::read).
///
/// Damage does not end it: the next line is read nevertheless. Empty lines are passed over. Lines are 16 MiB at most.
/// What the file system cannot read is damage as well, and the last of it.
///
/// ```
/// use stageflow_events::{JsonLines, LoggedEvent};
///
/// # let path = std::env::temp_dir().join(format!("stageflow-read-{}.jsonl", std::process::id()));
/// std::fs::write(&path, "{\"event\":\"stage.comp")?; // it was interrupted here
/// let (events, damage): (Vec<_>, Vec<_>) = JsonLines::read(&path)?.partition(Result::is_ok);
/// assert!(events.is_empty());
/// assert!(damage[0].as_ref().is_err_and(|damage| damage.is_unfinished && damage.offset == 0));
/// # std::fs::remove_file(&path)?;
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct JsonReader {
    file: BufReader<fs::File>,
    line: u64,
    offset: u64,
    over: bool,
}

impl JsonReader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufReader::new(fs::File::open(path)?), line: 0, offset: 0, over: false })
    }

    /// Reads a line; what is too long is skipped and not kept. Gives its length, and whether it was too long.
    fn read_line(&mut self, into: &mut Vec<u8>) -> io::Result<(u64, bool)> {
        let mut length = self.file.by_ref().take(LONGEST).read_until(b'\n', into)? as u64;
        let is_long = length == LONGEST && !into.ends_with(b"\n");
        if is_long {
            into.clear();
            length += self.file.skip_until(b'\n')? as u64;
        }
        Ok((length, is_long))
    }
}

impl Iterator for JsonReader {
    type Item = Result<LoggedEvent, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        while !self.over {
            line.clear();
            self.line += 1;
            let (number, offset) = (self.line, self.offset);
            let at = |bytes, is_unfinished, reason: String| {
                Some(Err(Damage { line: number, offset, bytes, is_unfinished, reason }))
            };
            let (length, is_long) = match self.read_line(&mut line) {
                Ok(read) => read,
                Err(error) => {
                    self.over = true;
                    return at(line.len() as u64, false, error.to_string());
                }
            };
            self.offset += length;
            if length == 0 {
                self.over = true;
            } else if is_long {
                return at(length, false, "it is longer than 16 MiB".to_owned());
            } else if !line.trim_ascii().is_empty() {
                return match serde_json::from_slice(&line) {
                    Ok(event) => Some(Ok(event)),
                    Err(error) => at(length, !line.ends_with(b"\n"), error.to_string()),
                };
            }
        }
        None
    }
}
