//! What each policy costs a call that succeeds at once: ours around a stage, and those of other crates around a call, in one run.
//!
//! ```text
//! cargo xtask bench policies              the table of costs
//! cargo xtask bench policies --check      and the goals; fails where one is missed
//! cargo xtask bench --help
//! ```

mod callgrind;
mod campaign;
mod case;
mod goals;
mod options;
mod ours;
mod peers;
mod plain;
mod report;
mod rows;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use stageflow_benches::report::say;

use crate::{
    campaign::Campaign,
    options::{Mode, Options},
};

fn main() -> Result<ExitCode> {
    let options = options::read()?;
    match &options.mode {
        Mode::CallgrindCell { row, bare, batches } => callgrind::cell(row, *bare, *batches)?,
        Mode::Verify => verify::all()?,
        Mode::Callgrind => callgrind::print(&options)?,
        Mode::Times => return times(&options),
    }
    Ok(ExitCode::SUCCESS)
}

fn times(options: &Options) -> Result<ExitCode> {
    if options.check {
        verify::all()?;
    }
    let campaign = Campaign::measure(options)?;
    let report = report::of(options, &campaign);
    report.print(&[0]);
    let goals = if options.check { goals::all(&campaign) } else { Vec::new() };
    let missed = report::print_goals(&goals);
    report::write(options, &report, &campaign, &goals)?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
