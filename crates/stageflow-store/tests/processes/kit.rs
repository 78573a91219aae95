//! Directories, children, and what both sides of a test know of its runs.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::SystemTime,
};

use stageflow_core::{
    ContextSnapshot, RunId,
    durable::{Encoded, Entry, EntryKind, RunHeader, RunKey},
    time::SeededRandom,
};

/// How many entries each append has.
pub(crate) const TOGETHER: u64 = 3;

/// A directory that is gone with the test.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        // In memory where there is such a place: no disk is needed to see what a process leaves.
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let path = base.join(format!("stageflow-processes-{}", RunId::new()));
        fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("runs.db")
    }

    pub(crate) fn acks(&self) -> PathBuf {
        self.0.join("acks")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// This program once more, as the child of that name.
pub(crate) fn child(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its program"));
    command
        .args(["--exact", "child::child", "--nocapture", "--test-threads=1"])
        .env("STORE_CHILD", name)
        .env("STORE_DIR", dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Run number `number`, which each process knows by it.
pub(crate) fn key(number: u64) -> RunKey {
    RunKey::new("tenant", RunId::from_parts(SystemTime::UNIX_EPOCH, &SeededRandom::new(number)))
}

pub(crate) fn header(number: u64) -> Arc<RunHeader> {
    let key = key(number);
    let snapshot = ContextSnapshot::builder().run(key.run()).tenant("tenant").pipeline("p").build();
    let started = SystemTime::UNIX_EPOCH;
    Arc::new(RunHeader { key, snapshot, input: None, started, seed: number, branch_of: None })
}

/// An entry whose payload tells its run and its number.
pub(crate) fn entry(run: u64, seq: u64) -> Entry {
    let kind = EntryKind::AttemptStarted { stage: "s".into(), attempt: 1 };
    let size = usize::try_from(seq * 37 % 600).unwrap_or_default();
    let mut payload = format!("{run} {seq} ").into_bytes();
    payload.resize(payload.len() + size, b'.');
    Entry { seq, at: seq, kind, payload: Some(Encoded::new(1, payload)) }
}

/// The entries of append number `number`, from 0.
pub(crate) fn appended(run: u64, number: u64) -> Vec<Entry> {
    (1..=TOGETHER).map(|entry_number| entry(run, number * TOGETHER + entry_number)).collect()
}

/// Where a child writes down what was acknowledged: a line each, in one write.
pub(crate) struct Acks(fs::File);

impl Acks {
    pub(crate) fn open(dir: &Path) -> Self {
        let file = fs::OpenOptions::new().create(true).append(true).open(dir.join("acks"));
        Self(file.expect("a file for what is acknowledged"))
    }

    /// A run has been begun (0), or has so many entries.
    pub(crate) fn write(&mut self, run: u64, entries: u64) {
        self.0.write_all(format!("{run} {entries}\n").as_bytes()).expect("it is written down");
    }
}

/// The lines of a file of acknowledgements: run and entries.
pub(crate) fn acknowledged(text: &str) -> Vec<(u64, u64)> {
    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok());
    // A line that was cut off is no acknowledgement.
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            number(words.next()).zip(number(words.next())).expect("a line has a run and a number")
        })
        .collect()
}
