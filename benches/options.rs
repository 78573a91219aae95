//! The command line that the benches share, as `cargo xtask bench --help` says it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The command line, read. `M` is what a bench can do.
#[derive(Clone, Debug)]
pub struct Options<M> {
    /// What to do.
    pub mode: M,
    /// Whether the goals are checked.
    pub check: bool,
    /// Fewer rounds and repetitions.
    pub quick: bool,
    /// Words that are to be in what is measured.
    pub filters: Vec<String>,
    /// Where every figure is written.
    pub json: Option<PathBuf>,
    /// Where the tables are written as Markdown.
    pub baseline: Option<PathBuf>,
    /// The command that gives the same again.
    pub command: String,
}

/// What a bench does that has no other mode: measure, or only prove that it measures what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Without an option.
    Times,
    /// `--verify`.
    Verify,
}

impl Options<Mode> {
    /// Reads the arguments of the process.
    ///
    /// # Errors
    ///
    /// An unknown option, or one without its value.
    pub fn read_simple(command: &str) -> Result<Self> {
        Self::read(command, Mode::Times, |arg, _| Ok((arg == "--verify").then_some(Mode::Verify)))
    }
}

/// Gives the value of an option.
pub type Values<'a> = &'a mut dyn FnMut() -> Result<String>;

impl<M> Options<M> {
    /// Reads the arguments of the process. `command` is what stands before them; `mode` knows the options of this bench alone.
    ///
    /// # Errors
    ///
    /// An unknown option, or one without its value.
    pub fn read(
        command: &str,
        default: M,
        mode: impl Fn(&str, Values<'_>) -> Result<Option<M>>,
    ) -> Result<Self> {
        // Cargo adds `--bench`.
        let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
        let mut options = Self {
            mode: default,
            check: false,
            quick: false,
            filters: Vec::new(),
            json: None,
            baseline: None,
            command: format!("{command} {}", args.join(" ")).trim_end().to_owned(),
        };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("`{arg}` needs a value"));
            match arg.as_str() {
                "--check" => options.check = true,
                "--quick" => options.quick = true,
                "--filter" => options.filters.push(value()?),
                "--json" => options.json = Some(in_workspace(value()?)),
                "--baseline" => options.baseline = Some(in_workspace(value()?)),
                other => match mode(other, &mut value)? {
                    Some(mode) => options.mode = mode,
                    None => bail!("unknown argument `{arg}`: see `cargo xtask bench --help`"),
                },
            }
        }
        Ok(options)
    }

    /// Writes the figures where they are asked for, and gives the files.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn write(
        &self,
        json: impl FnOnce() -> serde_json::Value,
        markdown: impl FnOnce() -> String,
    ) -> Result<Vec<&Path>> {
        let mut written = Vec::new();
        if let Some(file) = &self.json {
            written.push(save(file, &serde_json::to_string_pretty(&json())?)?);
        }
        if let Some(file) = &self.baseline {
            written.push(save(file, markdown().trim_end())?);
        }
        Ok(written)
    }
}

fn save<'a>(file: &'a Path, text: &str) -> Result<&'a Path> {
    fs::write(file, format!("{text}\n")).with_context(|| format!("could not write {}", file.display()))?;
    Ok(file)
}

/// Cargo starts benches in the folder of their package.
fn in_workspace(file: String) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}
