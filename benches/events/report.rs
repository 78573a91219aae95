//! Prints the tables, and writes them as JSON and as a baseline in Markdown.

use anyhow::Result;
use serde_json::json;
use stageflow_benches::{
    machine,
    table::{aligned, markdown},
};

use crate::{
    Options,
    campaign::{Campaign, Figure, SHAPES},
    emit::Way,
    goals::{Goal, per_event, to_bare},
    say,
};

const NOTES: [&str; 4] = [
    "One worker. Medians; what is on its way after a run is delivered before the next, outside of the measurement, and nothing may be lost.",
    "Worker: on the processor, by the thread that runs the stages; the threads of sinks do not count. Run: from the call to the result.",
    "Per event: beyond a sink that does nothing and is told by the worker, so beyond making the event.",
    "try_send: into a channel with room that nobody reads meanwhile.",
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
    let mut tables = Vec::new();
    if !campaign.emitting.is_empty() {
        let mut rows = vec![head(["", "ns/event", "min – max", "÷ try_send"])];
        let try_send = campaign.emitting(Way::TrySend).map_or(f64::NAN, |figure| figure.median);
        rows.extend(campaign.emitting.iter().map(|(way, figure)| {
            vec![
                way.name().to_owned(),
                nanos(figure.median),
                range(figure),
                format!("{:.2}", figure.median / try_send),
            ]
        }));
        tables.push(("Handing an event over".to_owned(), rows));
    }
    for shape in SHAPES {
        let mut rows =
            vec![head(["", "worker, ns/stage", "min – max", "÷ bare", "per event, ns", "run, ns/stage"])];
        rows.extend(campaign.runs.iter().filter(|cell| cell.shape == *shape).map(|cell| {
            let or_dash =
                |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
            vec![
                cell.row.name().to_owned(),
                nanos(cell.worker.median),
                range(&cell.worker),
                or_dash(to_bare(campaign, cell.row, *shape)),
                or_dash(per_event(campaign, cell.row, *shape)),
                nanos(cell.wall.median),
            ]
        }));
        if rows.len() > 1 {
            tables.push((format!("A run of 10,000 stages that do nothing: {shape}"), rows));
        }
    }
    tables
}

fn head<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

fn nanos(value: f64) -> String {
    format!("{value:.1}")
}

fn range(figure: &Figure) -> String {
    format!("{:.1} – {:.1}", figure.min, figure.max)
}

fn notes(campaign: &Campaign) -> Vec<String> {
    let rounds = format!("{} rounds, in each every row.", campaign.rounds);
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
    let mut text = "# Baseline of telemetry\n\n| | |\n|---|---|\n".to_owned();
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
    let emitting =
        campaign.emitting.iter().map(|(way, figure)| json!({ "way": way.name(), "ns_per_event": figure }));
    let runs = campaign.runs.iter().map(|cell| {
        json!({ "row": cell.row.name(), "shape": cell.shape.to_string(),
                "worker_ns_per_stage": cell.worker, "run_ns_per_stage": cell.wall })
    });
    json!({
        "machine": facts,
        "goals": goals.iter().map(goal).collect::<Vec<_>>(),
        "emitting": emitting.collect::<Vec<_>>(),
        "runs": runs.collect::<Vec<_>>(),
    })
}
