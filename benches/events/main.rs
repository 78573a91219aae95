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
use stageflow_benches::{
    options::{self, Mode},
    report::{Goal, say},
};

use crate::campaign::Campaign;

/// The command line, read.
type Options = options::Options<Mode>;

fn main() -> Result<ExitCode> {
    let options = Options::read_simple("cargo xtask bench events")?;
    if options.mode == Mode::Verify || options.check {
        verify::all()?;
    }
    if options.mode == Mode::Verify {
        return Ok(ExitCode::SUCCESS);
    }
    let campaign = Campaign::measure(&options)?;
    let report = report::of(&options, &campaign);
    report.print(&[0]);
    let goals = if options.check { goals::all(&campaign) } else { Vec::new() };
    let missed = Goal::print(&goals);
    report::write(&options, &report, &campaign, &goals)?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
