//! The command line, as `cargo xtask bench --help` says it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use stageflow_benches::graph::Shape;

use crate::{cells, rows::Row};

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mode {
    Times,
    Verify,
    Memory,
    Callgrind,
    Blocking,
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
                "--verify" => options.mode = Mode::Verify,
                "--memory" => options.mode = Mode::Memory,
                "--callgrind" => options.mode = Mode::Callgrind,
                "--blocking" => options.mode = Mode::Blocking,
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
                _ => bail!("unknown argument `{arg}`: see `cargo xtask bench --help`"),
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
