//! `cargo xtask bench`: runs the bench `overhead` and forwards everything to it.
//!
//! The bench itself prints the table and, with `--check`, fails where a goal is missed.

use crate::report::{Outcome, Report};
use crate::shell;
use anyhow::Result;

pub(crate) const HELP: &str = "
Usage: cargo xtask bench [--check] [arguments]

Runs `cargo bench -p stageflow-benches --bench overhead -- [--check] [arguments]`.
With --check the bench compares its figures with the goals and fails where one is missed.";

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
        "--bench",
        "overhead",
        "--",
    ]);
    shell::outcome(command.args(args))
}
