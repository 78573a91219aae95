//! `stageflow`: pipelines that are files, with the ready-made stages.

use std::process::ExitCode;

fn main() -> ExitCode {
    stageflow_cli::Cli::new(stageflow_cli::stages()).main()
}
