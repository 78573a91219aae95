//! Prints the tables, and writes them as JSON and as a baseline in Markdown.

use anyhow::Result;
use serde_json::json;
use stageflow_benches::{
    machine,
    table::{aligned, markdown},
};

use crate::{
    Options,
    campaign::{Campaign, Goal, Measured},
    say,
};

const NOTES: [&str; 2] = [
    "One worker. Medians over the rounds; bytes are the growth of the heap at its peak, counted by an allocator in a program of its own.",
    "Beside: in times of the first row of the table that has the same unit.",
];

pub(crate) fn print_times(campaign: &Campaign) {
    for (title, rows) in tables(campaign) {
        say(format_args!("\n{title}"));
        aligned(&rows, &[0]).iter().for_each(say);
    }
    say("");
    notes(campaign).iter().for_each(say);
}

/// Prints the goals; gives how many are missed.
pub(crate) fn print_goals(goals: &[Goal]) -> usize {
    if goals.is_empty() {
        return 0;
    }
    say("");
    aligned(&goal_rows(goals), &[0, 3]).iter().for_each(say);
    let missed = goals.iter().filter(|goal| !goal.is_met()).count();
    say(format_args!("{} met, {missed} missed", goals.len() - missed));
    missed
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
            let first =
                cases.iter().find(|other| other.unit == case.unit).map_or(f64::NAN, |case| case.median);
            vec![
                case.name.clone(),
                format!("{:.1} {}", case.median, case.unit),
                format!("{:.1} – {:.1}", case.min, case.max),
                format!("{:.2}", case.median / first),
            ]
        };
        let rows = [head(["", "median", "min – max", "beside"])].into_iter();
        (title, rows.chain(cases.iter().map(row)).collect())
    };
    tables.into_iter().map(table).collect()
}

fn head<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

fn notes(campaign: &Campaign) -> Vec<String> {
    let rounds = format!("{} rounds, in each every case.", campaign.rounds);
    NOTES.iter().map(|note| (*note).to_owned()).chain([rounds]).collect()
}

fn goal_rows(goals: &[Goal]) -> Vec<Vec<String>> {
    let row = |goal: &Goal| {
        vec![
            goal.name.clone(),
            format!("{:.2} {}", goal.measured, goal.unit),
            format!("≤ {:.2}", goal.limit),
            if goal.is_met() { "PASS" } else { "MISS" }.to_owned(),
        ]
    };
    [head(["goal", "measured", "limit", "verdict"])].into_iter().chain(goals.iter().map(row)).collect()
}

pub(crate) fn write(options: &Options, campaign: &Campaign, goals: &[Goal]) -> Result<()> {
    let written =
        options.write(|| as_json(options, campaign, goals), || as_markdown(options, campaign, goals))?;
    written.into_iter().for_each(|file| say(format_args!("wrote {}", file.display())));
    Ok(())
}

/// On what the figures were measured.
fn facts(options: &Options) -> Vec<(&'static str, String)> {
    machine::facts(&options.command, "multi-thread, 1 worker", &[])
}

fn as_markdown(options: &Options, campaign: &Campaign, goals: &[Goal]) -> String {
    let mut text = "# Baseline of the ready-made stages\n\n| | |\n|---|---|\n".to_owned();
    for (name, value) in facts(options) {
        text.push_str(&format!("| {name} | {value} |\n"));
    }
    if !goals.is_empty() {
        text.push_str(&format!("\n## Goals\n\n{}", markdown(&goal_rows(goals))));
    }
    for (title, rows) in tables(campaign) {
        text.push_str(&format!("\n## {title}\n\n{}", markdown(&rows)));
    }
    text.push('\n');
    for note in notes(campaign) {
        text.push_str(&format!("- {note}\n"));
    }
    text
}

fn as_json(options: &Options, campaign: &Campaign, goals: &[Goal]) -> serde_json::Value {
    let facts: serde_json::Map<_, _> =
        facts(options).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let goal = |goal: &Goal| json!({ "goal": goal.name, "measured": goal.measured, "unit": goal.unit, "limit": goal.limit, "met": goal.is_met() });
    json!({
        "machine": facts,
        "goals": goals.iter().map(goal).collect::<Vec<_>>(),
        "cases": campaign.cases,
    })
}
