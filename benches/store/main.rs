//! What it costs that runs are written down, on each store, beside what one would write by hand, in one run.
//!
//! ```text
//! cargo xtask bench store              the tables
//! cargo xtask bench store --check      and the goals; fails where one is missed
//! cargo xtask bench --help
//! ```

mod answers;
mod attached;
mod bare;
mod campaign;
mod durable;
mod goals;
mod lab;
mod pipelines;
mod report;
mod resume;
mod stores;
mod verify;
mod what;

use std::process::ExitCode;

use anyhow::Result;
use stageflow_benches::{
    options::{self, Mode},
    report::{Goal, say},
};

use crate::{campaign::Campaign, lab::Lab};

/// The command line, read.
type Options = options::Options<Mode>;

fn main() -> Result<ExitCode> {
    let options = Options::read_simple("cargo xtask bench store")?;
    let lab = Lab::open(options.quick)?;
    if options.mode == Mode::Verify || options.check {
        verify::all(&lab)?;
    }
    if options.mode == Mode::Verify {
        return Ok(ExitCode::SUCCESS);
    }
    let campaign = Campaign::measure(&options, &lab)?;
    let report = report::of(&options, &campaign, lab.server());
    report.print(&[0]);
    let goals = if options.check { goals::all(&campaign) } else { Vec::new() };
    let missed = Goal::print(&goals);
    report::write(&options, &report, &campaign, &goals)?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
