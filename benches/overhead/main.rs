//! Time, instructions and memory per stage: ours, hand-written tokio and other engines, on the same graphs in one run.
//!
//! ```text
//! cargo xtask bench                       the table of times
//! cargo xtask bench --check               and instructions, memory, and the goals; fails where one is missed
//! cargo xtask bench --filter fanout-500   only the shapes or rows whose name contains a word
//! cargo xtask bench --help
//! ```

mod blocking;
mod callgrind;
mod campaign;
mod cells;
mod goals;
mod memory;
mod options;
mod peers;
mod report;
mod rows;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use stageflow_benches::report::say;

use crate::{
    campaign::Campaign,
    goals::Facts,
    options::{Mode, Options},
};

fn main() -> Result<ExitCode> {
    let options = options::read()?;
    match &options.mode {
        Mode::CallgrindCell { row, shape, runs } => callgrind::cell(*row, *shape, *runs)?,
        Mode::Verify => verify::all()?,
        Mode::Memory => drop(memory::measure()?),
        Mode::Callgrind => drop(callgrind::measure()?),
        Mode::Blocking => drop(blocking::measure()?),
        Mode::Times => return times(&options),
    }
    Ok(ExitCode::SUCCESS)
}

fn times(options: &Options) -> Result<ExitCode> {
    if options.check {
        verify::all()?;
    }
    let campaign = Campaign::measure(options)?;
    report::print_times(&campaign);
    let mut facts = Facts { campaign, instructions: Err(NOT_ASKED), memory: None, blocking: None };
    if options.check {
        facts.blocking = Some(blocking::measure()?);
        facts.memory = Some(memory::measure()?);
        facts.instructions = callgrind::measure()?;
    }
    let goals = if options.check { goals::all(&facts) } else { Vec::new() };
    let missed = report::print_goals(&goals);
    report::write(options, &facts, &goals)?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why a fact is missing that only `--check` looks for.
const NOT_ASKED: &str = "measured with --check";
