//! The command line, as `cargo xtask bench --help` says it.

use anyhow::{Context, Result};
use stageflow_benches::options;

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mode {
    Times,
    Verify,
    Callgrind,
    /// What runs under valgrind: so many batches of one row, by its place in the table.
    CallgrindCell {
        row: usize,
        bare: bool,
        batches: usize,
    },
}

/// The command line, read.
pub(crate) type Options = options::Options<Mode>;

pub(crate) fn read() -> Result<Options> {
    Options::read("cargo xtask bench policies", Mode::Times, |arg, value| {
        Ok(Some(match arg {
            "--verify" => Mode::Verify,
            "--callgrind" => Mode::Callgrind,
            "--callgrind-cell" => {
                let (row, bare, batches) = (value()?, value()?, value()?);
                Mode::CallgrindCell {
                    row: row.parse().with_context(|| format!("`{row}` is not a row"))?,
                    bare: bare == "bare",
                    batches: batches.parse().with_context(|| format!("`{batches}` is not a number"))?,
                }
            }
            _ => return Ok(None),
        }))
    })
}
