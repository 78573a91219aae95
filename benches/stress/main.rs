//! Load tests with verdicts that cannot lie: `cargo xtask stress`.
//!
//! A verdict follows from what a scenario recorded, and nobody can set one: every check has been seen red under a
//! deliberately broken double (`--controls`), a fault that never fired is red, an exception is an error, and a report is
//! made from the JSON record alone.
//!
//! `harness` runs scenarios and keeps what they see, `scenarios` has them, `report` turns a record into pages.

mod harness;
mod options;
mod report;
mod scenarios;
mod show;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};

use crate::{
    harness::{bench::Settings, controls, panics, record::Record, runner::Campaign, scenario, stop::Stop},
    options::{Mode, Options},
};

/// What the exit code says.
enum Ending {
    Green,
    Red,
}

fn main() -> ExitCode {
    match Options::read(std::env::args().skip(1)).and_then(|options| carry_out(&options)) {
        Ok(Ending::Green) => ExitCode::SUCCESS,
        Ok(Ending::Red) => ExitCode::FAILURE,
        Err(error) => {
            show::complain(&format!("stress: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn carry_out(options: &Options) -> Result<Ending> {
    let scenarios = scenario::select(scenarios::ALL, scenarios::SUITES, &options.scenarios, &options.suites)?;
    match &options.mode {
        Mode::Help => {
            show::help();
            return Ok(Ending::Green);
        }
        Mode::List => {
            show::list(&scenarios);
            return Ok(Ending::Green);
        }
        Mode::Run | Mode::Controls | Mode::From(_) => options.check_places()?,
    }
    let settings = Settings { seed: options.seed, scale: options.scale, ..Settings::default() };
    panics::quiet();
    match &options.mode {
        Mode::From(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("`{}` cannot be read", file.display()))?;
            write_report(options, &text)?;
            Ok(Ending::Green)
        }
        Mode::Controls => {
            let stop = Stop::listen(options.duration)?;
            let rows = controls::run(&scenarios, settings, &stop, show::control)?;
            Ok(if show::controls(rows.as_deref()) { Ending::Green } else { Ending::Red })
        }
        Mode::Run | Mode::Help | Mode::List => {
            let stop = Stop::listen(options.duration)?;
            let campaign = Campaign { scenarios, settings, command: options.command.clone() };
            let record = campaign.run(&stop)?;
            finish(options, &record)
        }
    }
}

/// Writes what was asked for, and shows the verdicts.
fn finish(options: &Options, record: &Record) -> Result<Ending> {
    let text = serde_json::to_string_pretty(record)? + "\n";
    if let Some(file) = &options.json {
        write(file, &text)?;
    }
    if let Some(folder) = &options.report {
        write(&folder.join("stress.json"), &text)?;
        // From the text, so that a report cannot know more than the record says.
        write_report(options, &text)?;
    }
    show::verdicts(record);
    let is_red = record.scenarios.iter().any(|scenario| scenario.verdict.is_red());
    Ok(if is_red || record.partial.is_some() { Ending::Red } else { Ending::Green })
}

fn write_report(options: &Options, json: &str) -> Result<()> {
    let pages = report::from_json(json)?;
    let Some(folder) = &options.report else { return Ok(()) };
    write(&folder.join("stress.md"), &pages.markdown)?;
    write(&folder.join("stress.html"), &pages.html)
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("`{}` cannot be written", file.display()))
}
