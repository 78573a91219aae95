//! Child processes: how they are built, echoed, timed and turned into outcomes.

use crate::report::Outcome;
use anyhow::{Context, Result, bail};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Measures how long a step takes.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "the rule is for code inside a run; this is a command line tool"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The cargo that runs this tool, so that a `+toolchain` on the command line reaches every step.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// Runs a command with its output on our own streams. Not being able to start it is an error; its failure is not.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus> {
    println!("$ {}", line(command));
    command.status().with_context(|| format!("could not start `{}`", line(command)))
}

/// Runs a command in place of this process where the system can do that, so that Ctrl-C and the exit code are the command's own.
/// Comes back elsewhere, or with the reason why the command could not be started.
pub(crate) fn become_(command: &mut Command) -> Result<bool> {
    #[cfg(unix)]
    {
        println!("$ {}", line(command));
        let error = std::os::unix::process::CommandExt::exec(command);
        Err(error).with_context(|| format!("could not start `{}`", line(command)))
    }
    #[cfg(not(unix))]
    Ok(run(command)?.success())
}

/// Like [`run`], as the outcome of a gate.
pub(crate) fn outcome(command: &mut Command) -> Result<Outcome> {
    Ok(match run(command)? {
        status if status.success() => Outcome::Pass,
        status => Outcome::Fail(format!("`{}` failed, {status}", line(command))),
    })
}

/// Runs a command and returns what it printed on its standard output; fails with its standard error.
pub(crate) fn stdout(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("could not start `{}`", line(command)))?;
    if !output.status.success() {
        bail!("`{}` failed:\n{}", line(command), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed something that is not UTF-8", line(command)))
}

/// Whether a command can be started and succeeds; its output is dropped.
pub(crate) fn responds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A command as one would type it: `RUSTDOCFLAGS="-D warnings" cargo doc`.
pub(crate) fn line(command: &Command) -> String {
    let mut words: Vec<String> = command
        .get_envs()
        .filter_map(|(name, value)| {
            Some(format!("{}={}", name.to_string_lossy(), quoted(&value?.to_string_lossy())))
        })
        .collect();
    let program = std::path::Path::new(command.get_program());
    words.push(program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned());
    words.extend(command.get_args().map(|arg| quoted(&arg.to_string_lossy())));
    words.join(" ")
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains([' ', '"', '*', '(']) { format!("{word:?}") } else { word.to_owned() }
}
