//! What it costs a stage that somebody listens: sinks, logs and OpenTelemetry on runs of 10,000 stages, in one run.
//!
//! ```text
//! cargo xtask bench events              the tables
//! cargo xtask bench events --check      and the goals; fails where one is missed
//! cargo xtask bench --help
//! ```

mod campaign;
mod collector;
mod emit;
mod goals;
mod report;
mod rows;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use stageflow_benches::options;

use crate::campaign::Campaign;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Times,
    Verify,
}

/// The command line, read.
type Options = options::Options<Mode>;

/// Prints one line.
#[expect(clippy::print_stdout, reason = "the output of a bench is for its reader")]
fn say(line: impl std::fmt::Display) {
    println!("{line}");
}

fn main() -> Result<ExitCode> {
    let options = Options::read("cargo xtask bench events", Mode::Times, |arg, _| {
        Ok((arg == "--verify").then_some(Mode::Verify))
    })?;
    if options.mode == Mode::Verify || options.check {
        verify::all()?;
    }
    if options.mode == Mode::Verify {
        return Ok(ExitCode::SUCCESS);
    }
    let campaign = Campaign::measure(&options)?;
    report::print_times(&campaign);
    let goals = if options.check { goals::all(&campaign) } else { Vec::new() };
    let missed = report::print_goals(&goals);
    report::write(&options, &campaign, &goals)?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
