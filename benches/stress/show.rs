//! What the command says on the terminal.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks on its streams")]

use crate::{
    harness::{
        controls::{Outcome, Row},
        record::{Record, ScenarioRecord},
        scenario::{Scenario, Step},
        verdict::Verdict,
    },
    scenarios,
};

const HELP: &str = include_str!("help.txt");

pub(crate) fn help() {
    print!("{HELP}");
}

pub(crate) fn complain(what: &str) {
    eprintln!("{what}");
}

/// The scenarios, with their suites.
pub(crate) fn list(wanted: &[&'static Scenario]) {
    for (suite, about) in scenarios::SUITES {
        println!("{suite:<7} {about}");
    }
    for scenario in wanted {
        let suites = scenario.suites.join(", ");
        println!("\n{} ({suites})", scenario.name);
        println!("    {}", scenario.about);
        if !scenario.parameters.is_empty() {
            println!("    parameters: {}", scenario.parameters);
        }
        if !scenario.answers.is_empty() {
            println!("    answers: {}", scenario.answers.join(", "));
        }
        match scenario.body {
            Step::Run(_) => println!("    controls: {}", scenario.controls.len() + scenario.faults.len()),
            Step::NotBuilt { issue } => println!("    not built yet: needs issue {issue}"),
        }
    }
}

/// The table of verdicts, what is red, and the summary.
pub(crate) fn verdicts(record: &Record) {
    let width = record.scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    println!("{:<width$}  {:<12}  {:>9}  {:>8}", "scenario", "verdict", "checks", "seconds");
    for scenario in &record.scenarios {
        let held = scenario.checks.iter().filter(|check| check.pass).count();
        let checks = format!("{held}/{}", scenario.checks.len());
        let reason = scenario.reason.as_deref().unwrap_or_default();
        let (name, verdict, seconds) = (&scenario.name, scenario.verdict, scenario.seconds);
        println!("{name:<width$}  {verdict:<12}  {checks:>9}  {seconds:>8.2}  {reason}");
    }
    record.scenarios.iter().filter(|scenario| scenario.verdict.is_red()).for_each(red);
    println!("\n{} in {:.1} s, seed {}, run {}", record.summary, record.seconds, record.seed, record.run_id);
    if let Some(reason) = &record.partial {
        println!("PARTIAL: {reason}; not run: {}", record.not_run.join(", "));
    }
    if !record.machine.optimised {
        println!("This build is not optimised: its figures mean nothing.");
    }
}

fn red(scenario: &ScenarioRecord) {
    println!("\n{} {}", scenario.verdict, scenario.name);
    for check in scenario.checks.iter().filter(|check| !check.pass) {
        println!("    {} {}: expected {}, seen {}", check.name, check.case, check.expected, check.seen);
    }
    if scenario.verdict == Verdict::NotInjected {
        for fault in scenario.faults.iter().filter(|fault| fault.count == 0) {
            println!("    the fault `{}` never fired", fault.name);
        }
    }
}

/// One control, as soon as it has ended.
pub(crate) fn control(row: &Row) {
    println!("{:<26} {:<34} {:<40} {}", row.scenario, row.control, row.expected, row.result);
}

/// The summary of the controls; whether all of them were right.
pub(crate) fn controls(rows: Option<&[Row]>) -> bool {
    let Some(rows) = rows else {
        println!("\nPARTIAL: stopped before the last control");
        return false;
    };
    let wrong = rows.iter().filter(|row| matches!(row.result, Outcome::Wrong(_))).count();
    let red = rows.iter().filter(|row| row.result == Outcome::Red).count();
    let green = rows.iter().filter(|row| row.result == Outcome::Green).count();
    println!("\n{green} scenarios hold with nothing broken, {red} controls turned red, {wrong} wrong");
    wrong == 0 && !rows.is_empty()
}
