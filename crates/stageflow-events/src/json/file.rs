//! A file of lines that is put aside when it is full.

use std::{
    ffi::OsString,
    fs, io,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use super::Fsync;

pub(super) struct File {
    path: PathBuf,
    file: fs::File,
    size: u64,
    /// The last line has no end, and cannot be removed.
    torn: bool,
    pub(super) limits: Limits,
    pub(super) fsync: Fsync,
    unsynced: u64,
    synced: Instant,
    pub(super) last_error: Option<String>,
}

/// How large a file may get, and how many old ones are kept.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) bytes: u64,
    pub(super) keep: u32,
}

impl File {
    pub(super) fn open(path: &Path, keep: bool) -> io::Result<Self> {
        let mut file = open(path, keep)?;
        let size = file.metadata()?.len();
        let torn = keep && size > 0 && {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            last != *b"\n"
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            torn,
            limits: Limits { bytes: u64::MAX, keep: 0 },
            fsync: Fsync::Never,
            unsynced: 0,
            synced: now(),
            last_error: None,
        })
    }

    /// Writes whole lines, which end at `ends`; gives how many bytes of them are in a file.
    pub(super) fn write(&mut self, lines: &[u8], ends: &[usize], run_ended: bool) -> usize {
        let mut written = 0;
        while written < lines.len() {
            // As many lines as there is room for, and one in a file of its own.
            let room = self.limits.bytes.saturating_sub(self.size);
            let fits = |end: &&usize| **end > written && (**end - written) as u64 <= room;
            let end = match ends.iter().rev().find(fits) {
                Some(end) => *end,
                None if self.size > 0 && self.turn() => continue,
                None => ends.iter().copied().find(|end| *end > written).unwrap_or(lines.len()),
            };
            if let Err(error) = self.put(&lines[written..end]) {
                self.last_error = Some(error.to_string());
                break;
            }
            self.unsynced += ends.iter().filter(|one| **one > written && **one <= end).count() as u64;
            written = end;
        }
        if written > 0 && self.is_sync_due(run_ended) {
            self.force();
        }
        written
    }

    /// Writes all of it, or nothing that stays.
    fn put(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
            self.size += 1;
        }
        match self.file.write_all(lines) {
            Ok(()) => {
                self.size += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                let back = self.file.set_len(self.size).and_then(|()| self.file.seek(SeekFrom::End(0)));
                self.torn = back.is_err() && self.file.metadata().is_ok_and(|now| now.len() > self.size);
                Err(error)
            }
        }
    }

    /// Puts the file aside and begins a new one. Where that does not work the old one goes on.
    fn turn(&mut self) -> bool {
        if self.fsync != Fsync::Never {
            self.force();
        }
        match self.put_aside() {
            Ok(file) => {
                self.file = file;
                self.size = 0;
                self.torn = false;
                true
            }
            Err(error) => {
                self.last_error = Some(error.to_string());
                // Not again before it has grown by as much.
                self.limits.bytes = self.limits.bytes.saturating_mul(2);
                false
            }
        }
    }

    fn put_aside(&self) -> io::Result<fs::File> {
        for age in (1..self.limits.keep).rev() {
            match fs::rename(self.aged(age), self.aged(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.limits.keep > 0 {
            fs::rename(&self.path, self.aged(1))?;
        }
        open(&self.path, false)
    }

    fn aged(&self, age: u32) -> PathBuf {
        let mut name = OsString::from(self.path.as_os_str());
        name.push(format!(".{age}"));
        PathBuf::from(name)
    }

    fn is_sync_due(&self, run_ended: bool) -> bool {
        match self.fsync {
            Fsync::Never => false,
            Fsync::Events(count) => self.unsynced >= count,
            Fsync::Every(time) => now().saturating_duration_since(self.synced) >= time,
            Fsync::RunEnds => run_ended,
        }
    }

    /// Forces what was written onto the disk.
    pub(super) fn force(&mut self) {
        if let Err(error) = self.file.sync_data() {
            self.last_error = Some(error.to_string());
        }
        self.unsynced = 0;
        self.synced = now();
    }
}

/// Opens a file that only its owner may read.
fn open(path: &Path, keep: bool) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.create(true).read(keep).append(keep).write(!keep).truncate(!keep);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[expect(clippy::disallowed_methods, reason = "a disk keeps the machine's time")]
fn now() -> Instant {
    Instant::now()
}
