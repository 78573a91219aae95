//! The files the rules look at: what git tracks, and what it would track after `git add .`.

use crate::shell;
use anyhow::{Context, Result};
use std::process::Command;

/// A text file of the repository.
#[derive(Debug)]
pub(super) struct File {
    /// From the root, with `/` on every system.
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(super) fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }

    /// Whether the file is compiled as part of this workspace's own code; compile-fail cases are not.
    pub(super) fn is_our_rust(&self) -> bool {
        self.is_rust()
            && ["crates/", "xtask/", "tests/", "benches/"].iter().any(|dir| self.path.starts_with(dir))
            && !self.path.starts_with("tests/ui/")
    }

    /// Whether the file holds tests only: `tests.rs` beside the code, a folder `tests`, or the package `tests/`.
    pub(super) fn is_test(&self) -> bool {
        let mut folders: Vec<&str> = self.path.split('/').collect();
        let name = folders.pop();
        name == Some("tests.rs") || folders.contains(&"tests")
    }
}

/// Reads them all; what is not UTF-8 is no text and is left out.
pub(super) fn read() -> Result<Vec<File>> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"];
    let paths =
        shell::stdout(Command::new("git").args(list)).context("tidy asks git which files there are")?;
    let mut files = Vec::new();
    for path in paths.split('\0').filter(|path| !path.is_empty()) {
        // Deleted and not yet staged.
        let Ok(bytes) = std::fs::read(path) else {
            continue;
        };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

#[cfg(test)]
pub(super) fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}
