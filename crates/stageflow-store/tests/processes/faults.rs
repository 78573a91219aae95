//! What a process does to its files, and what is left of that on a disk.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::kit::{Dir, child};

/// The file layer, compiled.
pub(crate) struct Layer(PathBuf, #[expect(dead_code, reason = "it is gone with the test")] Dir);

impl Layer {
    /// Compiles it, by the compiler that SQLite needs as well.
    pub(crate) fn build() -> Self {
        let dir = Dir::new();
        let library = dir.0.join("faults.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/processes/faults.c");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let built = Command::new(&compiler)
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-pthread", "-o"])
            .args([library.as_path(), Path::new(source)])
            .arg("-ldl")
            .output();
        let built = built
            .unwrap_or_else(|error| panic!("the file layer needs a C compiler, and `{compiler}`: {error}"));
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self(library, dir)
    }

    /// Runs the script in a directory under the layer; gives what it did.
    pub(crate) fn record(&self, dir: &Dir, rounds: u64, settings: &[(&str, String)]) -> Vec<Operation> {
        let log = dir.0.with_extension("log");
        let mut script = child("script", &dir.0);
        script.env("STORE_ROUNDS", rounds.to_string()).env("LD_PRELOAD", &self.0);
        script.env("FAULTS_DIR", &dir.0).env("FAULTS_LOG", &log);
        let ended = script.envs(settings.iter().cloned()).output().expect("a child");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && !told.contains("panicked"), "{settings:?}: {told}");
        let recorded = fs::read(&log).expect("what it did");
        drop(fs::remove_file(log));
        operations(&recorded)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Write,
    Sync { failed: bool },
    Truncate,
    Unlink,
}

/// Something that was done to a file.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) file: String,
    offset: usize,
    data: Vec<u8>,
}

fn operations(mut recorded: &[u8]) -> Vec<Operation> {
    let mut all = Vec::new();
    while !recorded.is_empty() {
        let mut take = |length: usize| {
            let (taken, rest) = recorded.split_at(length);
            recorded = rest;
            taken
        };
        let mut number = || usize::from_le_bytes(take(8).try_into().expect("8 bytes"));
        let [kind, result, path, offset, length] = [number(), number(), number(), number(), number()];
        let path = String::from_utf8_lossy(take(path)).into_owned();
        let kind = match kind {
            1 => Kind::Write,
            2 => Kind::Sync { failed: result != 0 },
            3 => Kind::Truncate,
            _ => Kind::Unlink,
        };
        let file = path.rsplit('/').next().unwrap_or_default().to_owned();
        all.push(Operation { kind, file, offset, data: take(length).to_vec() });
    }
    all
}

/// A file, as processes see it and as the disk has it.
#[derive(Clone, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// What has not been synced: by its place among the operations.
    pending: Vec<usize>,
}

/// All files.
#[derive(Clone, Default)]
pub(crate) struct Disk(BTreeMap<String, Content>);

/// What the end of a machine leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    /// Only the process ended: all that was written.
    All,
    /// The same, and of the write that was going on the first half.
    Torn,
    /// What was synced.
    Synced,
    /// What was synced, and every other write since.
    EveryOther,
    /// What was synced, and of the first write since the first half.
    TornOnDisk,
}

fn apply(content: &mut Vec<u8>, operation: &Operation, length: usize) {
    match operation.kind {
        Kind::Write => {
            let end = operation.offset + length;
            content.resize(content.len().max(end), 0);
            content[operation.offset..end].copy_from_slice(&operation.data[..length]);
        }
        Kind::Truncate => content.resize(operation.offset, 0),
        Kind::Sync { .. } | Kind::Unlink => {}
    }
}

impl Disk {
    /// Does the operation of that number.
    pub(crate) fn step(&mut self, all: &[Operation], number: usize) {
        let operation = &all[number];
        if operation.kind == Kind::Unlink {
            self.0.remove(&operation.file);
            return;
        }
        let content = self.0.entry(operation.file.clone()).or_default();
        match operation.kind {
            Kind::Sync { failed } => {
                for pending in std::mem::take(&mut content.pending) {
                    // After a sync that failed the system takes the pages for written: they never will be.
                    if !failed {
                        apply(&mut content.durable, &all[pending], all[pending].data.len());
                    }
                }
            }
            _ => {
                apply(&mut content.seen, operation, operation.data.len());
                content.pending.push(number);
            }
        }
    }

    /// The files after the end, before operation `next`.
    pub(crate) fn left(&self, all: &[Operation], next: usize, left: Left) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for (file, content) in &self.0 {
            // Nobody forgets what he was told.
            let is_seen = file == "acks" || left <= Left::Torn;
            let mut bytes = if is_seen { content.seen.clone() } else { content.durable.clone() };
            for (number, pending) in content.pending.iter().enumerate().filter(|_| !is_seen) {
                let operation = &all[*pending];
                let length = match left {
                    Left::EveryOther if number % 2 == 1 => operation.data.len(),
                    Left::TornOnDisk if number == 0 => operation.data.len() / 2,
                    _ => continue,
                };
                apply(&mut bytes, operation, length);
            }
            files.insert(file.clone(), bytes);
        }
        if let Some(torn) =
            all.get(next).filter(|torn| left == Left::Torn && torn.kind == Kind::Write && torn.file != "acks")
        {
            apply(files.entry(torn.file.clone()).or_default(), torn, torn.data.len() / 2);
        }
        files.retain(|file, _| file == "acks" || file.starts_with("runs.db"));
        files
    }
}
