//! `cargo xtask stress`: builds the load tests in release mode, and hands everything over to them.

use crate::{shell, test::LOAD_TESTS};
use anyhow::Result;

pub(crate) const HELP: &str = include_str!("../../benches/stress/help.txt");

pub(crate) fn run(args: &[String]) -> Result<bool> {
    let mut command =
        shell::cargo(["run", "--release", "-q", "-p", "stageflow-benches", "--features", LOAD_TESTS]);
    command.args(["--bin", "stageflow-stress", "--"]).args(args);
    shell::become_(&mut command)
}
