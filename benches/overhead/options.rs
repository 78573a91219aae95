//! The command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use stageflow_benches::graph::Shape;

use crate::{cells, rows::Row};

pub(crate) const HELP: &str = "
Usage: cargo xtask bench [--check] [--quick] [--filter WORD]... [--json FILE] [--baseline FILE]
       cargo xtask bench --verify | --memory | --callgrind

    --check          measures everything, prints the goals, and fails where one is missed
    --quick          fewer rounds and repetitions
    --filter WORD    only cells whose row, shape or body contains the word; all words must match
    --json FILE      writes every figure as JSON
    --baseline FILE  writes the tables as Markdown, with machine, commit and command
    --verify         only checks, on small graphs, that each row runs each stage once, after those it waits for
    --memory         only the bytes that a run needs beyond its plan
    --callgrind      only the instructions per stage (needs valgrind)

Files are relative to the root of the workspace.";

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mode {
    Help,
    Times,
    Verify,
    Memory,
    Callgrind,
    /// What runs under valgrind: so many runs of one row on one worker.
    CallgrindCell {
        row: Row,
        shape: Shape,
        runs: usize,
    },
}

/// The command line, read.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) check: bool,
    pub(crate) quick: bool,
    pub(crate) filters: Vec<String>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) baseline: Option<PathBuf>,
    /// The command that gives the same again.
    pub(crate) command: String,
}

impl Options {
    pub(crate) fn read(args: impl Iterator<Item = String>) -> Result<Self> {
        // Cargo adds `--bench`.
        let args: Vec<String> = args.filter(|arg| arg != "--bench").collect();
        let mut options = Self {
            mode: Mode::Times,
            check: false,
            quick: false,
            filters: Vec::new(),
            json: None,
            baseline: None,
            command: format!("cargo xtask bench {}", args.join(" ")).trim_end().to_owned(),
        };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("`{arg}` needs a value"));
            match arg.as_str() {
                "--help" | "-h" => options.mode = Mode::Help,
                "--verify" => options.mode = Mode::Verify,
                "--memory" => options.mode = Mode::Memory,
                "--callgrind" => options.mode = Mode::Callgrind,
                "--check" => options.check = true,
                "--quick" => options.quick = true,
                "--filter" => options.filters.push(value()?),
                "--json" => options.json = Some(in_workspace(value()?)),
                "--baseline" => options.baseline = Some(in_workspace(value()?)),
                "--callgrind-cell" => {
                    let (row, shape, runs) = (value()?, value()?, value()?);
                    options.mode = Mode::CallgrindCell {
                        row: named(Row::ALL, &row)?,
                        shape: named(cells::SHAPES, &shape)?,
                        runs: runs.parse().with_context(|| format!("`{runs}` is not a number of runs"))?,
                    };
                }
                _ => bail!("unknown argument `{arg}`\n{HELP}"),
            }
        }
        Ok(options)
    }
}

fn named<T: Copy + std::fmt::Display>(all: &[T], name: &str) -> Result<T> {
    let found = all.iter().find(|one| one.to_string() == name);
    found.copied().with_context(|| format!("there is no `{name}`"))
}

/// Cargo starts benches in the folder of their package.
fn in_workspace(file: String) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}
