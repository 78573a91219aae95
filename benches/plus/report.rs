//! Prints the tables, and writes them as JSON and as a baseline in Markdown.

use anyhow::Result;
use serde_json::json;
use stageflow_benches::{
    machine,
    report::{self, Goal, Report, head},
};

use crate::{
    Options,
    campaign::{Campaign, Measured},
};

const NOTES: [&str; 2] = [
    "One worker. Medians over the rounds; bytes are the growth of the heap at its peak, counted by an allocator in a program of its own.",
    "Beside: in times of the first row of the table that has the same unit.",
];

pub(crate) fn of(options: &Options, campaign: &Campaign) -> Report {
    let rounds = format!("{} rounds, in each every case.", campaign.rounds);
    Report {
        title: "Baseline of the ready-made stages",
        facts: machine::facts(&options.command, "multi-thread, 1 worker", &[]),
        tables: tables(campaign),
        notes: NOTES.map(str::to_owned).into_iter().chain([rounds]).collect(),
    }
}

fn tables(campaign: &Campaign) -> Vec<(String, Vec<Vec<String>>)> {
    let mut tables: Vec<(String, Vec<&Measured>)> = Vec::new();
    for case in &campaign.cases {
        match tables.iter_mut().find(|(title, _)| *title == case.table) {
            Some((_, cases)) => cases.push(case),
            None => tables.push((case.table.clone(), vec![case])),
        }
    }
    let table = |(title, cases): (String, Vec<&Measured>)| {
        let row = |case: &&Measured| {
            let first = cases
                .iter()
                .find(|other| other.unit == case.unit)
                .map_or(f64::NAN, |case| case.spread.median);
            vec![
                case.name.clone(),
                format!("{:.1} {}", case.spread.median, case.unit),
                case.spread.range(),
                format!("{:.2}", case.spread.median / first),
            ]
        };
        let rows = [head(["", "median", "min – max", "beside"])].into_iter();
        (title, rows.chain(cases.iter().map(row)).collect())
    };
    tables.into_iter().map(table).collect()
}

pub(crate) fn write(options: &Options, report: &Report, campaign: &Campaign, goals: &[Goal]) -> Result<()> {
    let json = || json!({ "machine": report.machine(), "goals": Goal::json(goals), "cases": campaign.cases });
    report::write(options, json, || report.markdown(&Goal::rows(goals)))
}
