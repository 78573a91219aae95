//! The command line, as `cargo xtask bench --help` says it.

use anyhow::{Context, Result};
use stageflow_benches::{graph::Shape, options};

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
pub(crate) type Options = options::Options<Mode>;

pub(crate) fn read() -> Result<Options> {
    Options::read("cargo xtask bench", Mode::Times, |arg, value| {
        Ok(Some(match arg {
            "--verify" => Mode::Verify,
            "--memory" => Mode::Memory,
            "--callgrind" => Mode::Callgrind,
            "--blocking" => Mode::Blocking,
            "--callgrind-cell" => {
                let (row, shape, runs) = (value()?, value()?, value()?);
                Mode::CallgrindCell {
                    row: named(Row::ALL, &row)?,
                    shape: named(cells::SHAPES, &shape)?,
                    runs: runs.parse().with_context(|| format!("`{runs}` is not a number of runs"))?,
                }
            }
            _ => return Ok(None),
        }))
    })
}

fn named<T: Copy + std::fmt::Display>(all: &[T], name: &str) -> Result<T> {
    let found = all.iter().find(|one| one.to_string() == name);
    found.copied().with_context(|| format!("there is no `{name}`"))
}
