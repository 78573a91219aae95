//! `cargo xtask bench`: runs the bench `overhead` and forwards everything to it.
//!
//! The bench itself prints the table and, with `--check`, fails where a goal is missed. Only this command compiles the
//! other engines that it measures beside ours.

use crate::report::{Outcome, Report};
use crate::shell;
use anyhow::Result;

pub(crate) const HELP: &str = "
Usage: cargo xtask bench [--check] [arguments]

Runs `cargo bench -p stageflow-benches --features peers --bench overhead -- [--check] [arguments]`.
With --check the bench compares its figures with the goals and fails where one is missed.
What it does not check, for want of valgrind, it says; with CI=true that fails, too.
`cargo xtask bench --help` after a build prints all its arguments.";

pub(crate) fn run(args: &[String]) -> Result<bool> {
    let mut report = Report::from_env();
    report.gate("bench", || gate(args));
    Ok(report.finish())
}

pub(crate) fn gate(args: &[String]) -> Result<Outcome> {
    let mut command = shell::cargo([
        "bench",
        "-p",
        "stageflow-benches",
        "--features",
        "peers",
        "--bench",
        "overhead",
        "--",
    ]);
    shell::outcome(command.args(args))
}
