//! The command line, as `cargo xtask bench --help` says it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

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
            command: format!("cargo xtask bench policies {}", args.join(" ")).trim_end().to_owned(),
        };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("`{arg}` needs a value"));
            match arg.as_str() {
                "--verify" => options.mode = Mode::Verify,
                "--callgrind" => options.mode = Mode::Callgrind,
                "--check" => options.check = true,
                "--quick" => options.quick = true,
                "--filter" => options.filters.push(value()?),
                "--json" => options.json = Some(in_workspace(value()?)),
                "--baseline" => options.baseline = Some(in_workspace(value()?)),
                "--callgrind-cell" => {
                    let (row, bare, batches) = (value()?, value()?, value()?);
                    options.mode = Mode::CallgrindCell {
                        row: row.parse().with_context(|| format!("`{row}` is not a row"))?,
                        bare: bare == "bare",
                        batches: batches.parse().with_context(|| format!("`{batches}` is not a number"))?,
                    };
                }
                _ => bail!("unknown argument `{arg}`: see `cargo xtask bench --help`"),
            }
        }
        Ok(options)
    }
}

/// Cargo starts benches in the folder of their package.
fn in_workspace(file: String) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}
