//! `cargo xtask stress`: builds the load tests in release mode, and forwards everything to them.

use crate::shell;
use anyhow::{Result, bail};

pub(crate) const HELP: &str = include_str!("../../benches/stress/help.txt");

pub(crate) fn run(args: &[String]) -> Result<bool> {
    let mut command = shell::cargo([
        "run",
        "--release",
        "-q",
        "-p",
        "stageflow-benches",
        "--bin",
        "stageflow-stress",
        "--",
    ]);
    let status = shell::run(command.args(args))?;
    if status.code() == Some(2) {
        bail!("the load tests could not run: their message is above");
    }
    Ok(status.success())
}
