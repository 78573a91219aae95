//! What the ready-made stages cost, beside what one would write or take instead, in one run.
//!
//! ```text
//! cargo xtask bench plus              the tables
//! cargo xtask bench plus --check      and the goals; fails where one is missed
//! cargo xtask bench --help
//! ```
//!
//! Each topic is a module: it lists its cases, and says what its goals are.

mod campaign;
mod fan_out;
mod report;
mod spec;

use std::process::ExitCode;

use anyhow::Result;
use stageflow_benches::{
    options::{self, Mode},
    report::{Goal, say},
};

use crate::campaign::Campaign;

/// The command line, read.
type Options = options::Options<Mode>;

/// What is measured.
const TOPICS: &[fn() -> Vec<campaign::Case>] = &[fan_out::cases, spec::cases];
/// What is expected of it.
const GOALS: &[fn(&Campaign) -> Vec<Goal>] = &[fan_out::goals, spec::goals];
/// That it does what it is measured for.
const PROOFS: &[fn() -> Result<()>] = &[fan_out::verify, spec::verify];

fn main() -> Result<ExitCode> {
    let options = Options::read_simple("cargo xtask bench plus")?;
    if options.mode == Mode::Verify || options.check {
        PROOFS.iter().try_for_each(|proof| proof())?;
    }
    if options.mode == Mode::Verify {
        return Ok(ExitCode::SUCCESS);
    }
    let campaign = Campaign::measure(&options, TOPICS.iter().flat_map(|topic| topic()).collect())?;
    let report = report::of(&options, &campaign);
    report.print(&[0]);
    let goals: Vec<_> = match options.check {
        true => GOALS.iter().flat_map(|goals| goals(&campaign)).collect(),
        false => Vec::new(),
    };
    let missed = Goal::print(&goals);
    report::write(&options, &report, &campaign, &goals)?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
