//! `cargo xtask test`: every test of the workspace, every doctest, and the examples compile.
//!
//! Doctests are a gate of their own because nextest does not run them; `docs/*.md` are among them, through
//! `tests/support.rs`.

use crate::report::{Outcome, Report};
use crate::shell::{cargo, outcome, responds};
use crate::{provision, shell, workspace};
use anyhow::Result;

pub(crate) const HELP: &str = "
Usage: cargo xtask test [arguments]

Compiles the examples, runs all tests with `cargo nextest run` (or with
`cargo test` where cargo-nextest is not installed), then all doctests. Before
that it sees to the collector and the PostgreSQL that some tests need:
`cargo xtask provision`.

Arguments go to the test runner. Bare words select by name, doctests included:

    cargo xtask test retry
    cargo xtask test -p stageflow-exec --no-capture

With an option among them, doctests and examples are not run, and the summary says so.";

/// The feature of the load tests: without it nobody compiles them.
pub(crate) const LOAD_TESTS: &str = "stageflow-benches/stress";

/// How nextest exits when its filter matched nothing.
const NO_TESTS: i32 = 4;

pub(crate) fn run(args: &[String]) -> Result<bool> {
    let mut report = Report::from_env();
    gates(&mut report, args);
    Ok(report.finish())
}

/// Adds the gates of this command to a report. `ci` calls it without arguments.
pub(crate) fn gates(report: &mut Report, args: &[String]) {
    let selection = Selection::of(args);
    match selection {
        Selection::All => report.gate("examples", examples),
        Selection::Names | Selection::Options => {
            report.not_checked("examples", "a selection of tests was asked for");
        }
    }
    report.gate("collector", provision::collector);
    report.gate("postgres", provision::postgres);
    report.gate("tests", || tests(args));
    match selection {
        Selection::All | Selection::Names => report.gate("doctests", || doctests(args)),
        Selection::Options => {
            report.not_checked("doctests", "options of the test runner do not apply to them");
        }
    }
}

/// What the arguments select.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selection {
    All,
    Names,
    Options,
}

impl Selection {
    fn of(args: &[String]) -> Self {
        match args {
            [] => Self::All,
            _ if args.iter().any(|arg| arg.starts_with('-')) => Self::Options,
            _ => Self::Names,
        }
    }
}

fn examples() -> Result<Outcome> {
    if !workspace::has_examples()? {
        return Ok(Outcome::NotChecked("there are none yet".to_owned()));
    }
    outcome(&mut cargo(["build", "--workspace", "--examples"]))
}

fn tests(args: &[String]) -> Result<Outcome> {
    let nextest = responds(&mut cargo(["nextest", "--version"]));
    if !nextest {
        println!(
            "cargo-nextest is not installed, so `cargo test` runs the tests (`cargo install cargo-nextest --locked`)"
        );
    }
    let mut command = cargo(runner(nextest, args));
    let status = shell::run(command.args(args))?;
    Ok(match status.code() {
        Some(0) => Outcome::Pass,
        Some(NO_TESTS) if nextest && Selection::of(args) == Selection::Names => {
            Outcome::NotChecked("no test has such a name; doctests may have".to_owned())
        }
        _ => Outcome::Fail(format!("`{}` failed, {status}", shell::line(&command))),
    })
}

/// The test runner without the caller's arguments, which come last.
fn runner(nextest: bool, args: &[String]) -> Vec<&'static str> {
    let selection = Selection::of(args);
    let mut command = match nextest {
        true => vec!["nextest", "run"],
        // Not `--all-targets`: that would run the benches.
        false => vec!["test", "--lib", "--bins", "--tests", "--no-fail-fast"],
    };
    // To cargo, a package beside `--workspace` is no selection.
    if !args.iter().any(|arg| arg == "-p" || arg == "--package" || arg.starts_with("--package=")) {
        command.extend(["--workspace", "--features", LOAD_TESTS]);
    }
    match (nextest, selection) {
        (true, Selection::All) => command.extend(["--profile", "ci"]),
        (false, Selection::Names) => command.push("--"),
        _ => {}
    }
    command
}

fn doctests(names: &[String]) -> Result<Outcome> {
    let mut command = cargo(["test", "--doc", "--workspace", "--no-fail-fast"]);
    if !names.is_empty() {
        command.arg("--").args(names);
    }
    outcome(&mut command)
}

#[cfg(test)]
mod tests;
