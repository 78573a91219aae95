//! The command line, as `cargo xtask stress --help` says it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mode {
    Run,
    Help,
    List,
    Controls,
    /// Only makes the report of a record again.
    From(PathBuf),
}

/// The command line, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) scenarios: Vec<String>,
    pub(crate) suites: Vec<String>,
    pub(crate) seed: u64,
    pub(crate) scale: u64,
    pub(crate) duration: Option<Duration>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) report: Option<PathBuf>,
    /// The command that does the same again.
    pub(crate) command: String,
}

impl Options {
    pub(crate) fn read(args: impl Iterator<Item = String>) -> Result<Self> {
        let args: Vec<String> = args.collect();
        let mut options = Self {
            mode: Mode::Run,
            scenarios: Vec::new(),
            suites: Vec::new(),
            seed: 1,
            scale: 1,
            duration: None,
            json: None,
            report: None,
            command: format!("cargo xtask stress {}", args.join(" ")).trim_end().to_owned(),
        };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("`{arg}` needs a value"));
            match arg.as_str() {
                "--help" | "-h" => options.mode = Mode::Help,
                "--list" => options.mode = Mode::List,
                "--controls" => options.mode = Mode::Controls,
                "--from" => options.mode = Mode::From(value()?.into()),
                "--scenario" => options.scenarios.push(value()?),
                "--suite" => options.suites.push(value()?),
                "--seed" => options.seed = number(&value()?, "a seed")?,
                "--scale" => options.scale = number(&value()?, "a scale").and_then(not_zero)?,
                "--duration" => {
                    let seconds = number(&value()?, "a number of seconds").and_then(not_zero)?;
                    options.duration = Some(Duration::from_secs(seconds));
                }
                "--json" => options.json = Some(value()?.into()),
                "--report" => options.report = Some(value()?.into()),
                _ => bail!("unknown argument `{arg}`: see `cargo xtask stress --help`"),
            }
        }
        if matches!(options.mode, Mode::From(_)) && options.report.is_none() {
            bail!("`--from` needs `--report FOLDER`: where the report goes");
        }
        Ok(options)
    }

    /// Fails now where something could not be written at the end.
    pub(crate) fn check_places(&self) -> Result<()> {
        if let Some(folder) = &self.report {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("the report folder `{}` cannot be made", folder.display()))?;
            try_write(folder)
                .with_context(|| format!("the report folder `{}` cannot be written", folder.display()))?;
        }
        if let Some(file) = &self.json {
            let folder = match file.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            if file.is_dir() {
                bail!("`{}` is a folder, and `--json` needs a file", file.display());
            }
            try_write(folder).with_context(|| format!("`{}` cannot be written", file.display()))?;
        }
        Ok(())
    }
}

fn try_write(folder: &Path) -> Result<()> {
    let probe = folder.join(format!(".stress-{}", std::process::id()));
    std::fs::write(&probe, "")?;
    Ok(std::fs::remove_file(&probe)?)
}

fn number(text: &str, what: &str) -> Result<u64> {
    text.parse().with_context(|| format!("`{text}` is not {what}: it takes a whole number, not below zero"))
}

fn not_zero(number: u64) -> Result<u64> {
    if number == 0 { bail!("zero is too small here") } else { Ok(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options> {
        Options::read(line.split_whitespace().map(ToOwned::to_owned))
    }

    #[test]
    fn everything_can_be_said() {
        let options =
            read("--scenario a --scenario b --suite c --seed 7 --scale 10 --duration 60 --json f --report r");
        let options = options.unwrap();
        assert_eq!((options.scenarios.len(), options.suites), (2, vec!["c".to_owned()]));
        assert_eq!((options.seed, options.scale, options.mode), (7, 10, Mode::Run));
        assert_eq!(options.duration, Some(Duration::from_secs(60)));
        assert_eq!((options.json, options.report), (Some("f".into()), Some("r".into())));
    }

    #[test]
    fn mistakes_are_explained() {
        let error = |line| format!("{:#}", read(line).unwrap_err());
        assert!(error("--seed seven").starts_with("`seven` is not a seed"));
        assert!(error("--scale 0").contains("too small"));
        assert!(error("--seed").contains("needs a value"));
        assert!(error("--speed 3").contains("unknown argument `--speed`"));
        assert!(error("--from a.json").contains("--report"));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_noticed_before_anything_runs() {
        let options = read("--report Cargo.toml/below").unwrap();
        assert!(format!("{:#}", options.check_places().unwrap_err()).contains("cannot be made"));
        let options = read("--json no-such-folder/out.json").unwrap();
        assert!(format!("{:#}", options.check_places().unwrap_err()).contains("cannot be written"));
    }
}
