//! Prints the tables, and writes them as JSON and as a baseline in Markdown.

use anyhow::Result;
use serde_json::json;
use stageflow_benches::{
    machine,
    table::{aligned, markdown},
};

use crate::{
    campaign::{Campaign, Measured},
    goals::Goal,
    options::Options,
    rows::Policy,
    say,
};

const HEAD: [&str; 7] = ["row", "cost, ns", "min – max", "bare", "÷ bare", "÷ ours", "batches"];
const GOALS_HEAD: [&str; 5] = ["goal", "measured, ns", "limit", "fastest peer", "verdict"];

pub(crate) fn print_times(campaign: &Campaign) {
    for (policy, rows) in tables(campaign) {
        say(format_args!("\n{policy}"));
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
    aligned(&goal_rows(goals), &[0, 3, 4]).iter().for_each(say);
    let missed = goals.iter().filter(|goal| !goal.is_met()).count();
    say(format_args!("{} met, {missed} missed", goals.len() - missed));
    missed
}

/// One table per policy.
fn tables(campaign: &Campaign) -> Vec<(Policy, Vec<Vec<String>>)> {
    let mut tables = Vec::new();
    for policy in Policy::ALL {
        let of = || campaign.rows.iter().filter(|one| one.row.policy == *policy);
        let ours = of().find(|one| one.row.is_stage()).map(|one| one.figure.cost);
        let rows: Vec<_> = of().map(|one| row(one, ours)).collect();
        if !rows.is_empty() {
            tables.push((*policy, [vec![HEAD.map(str::to_owned).to_vec()], rows].concat()));
        }
    }
    tables
}

fn row(one: &Measured, ours: Option<f64>) -> Vec<String> {
    let Measured { row, figure } = one;
    let or_dash = |there: bool, text: String| if there { text } else { "-".to_owned() };
    vec![
        row.name.to_owned(),
        nanos(figure.cost),
        format!("{} – {}", nanos(figure.min), nanos(figure.max)),
        nanos(figure.bare),
        or_dash(row.is_stage(), format!("{:.2}", figure.with / figure.bare)),
        ours.filter(|_| !row.is_ours())
            .map_or_else(|| "-".to_owned(), |ours| format!("{:.2}", figure.cost / ours)),
        figure.batches.to_string(),
    ]
}

fn nanos(value: f64) -> String {
    format!("{value:.1}")
}

fn notes(campaign: &Campaign) -> Vec<String> {
    let mut notes = vec![
        format!(
            "Cost: a call with the policy less one without, batches of {} calls in turns; median of {} rounds. One worker, one task.",
            crate::case::CALLS,
            campaign.rounds
        ),
        "Bare: a stage for ours, a call that does nothing for the others. ÷ bare: the stage with the policy to the bare one. \
         ÷ ours: the other's cost to that of our first row."
            .to_owned(),
    ];
    notes.extend(
        sum(campaign)
            .map(|sum| format!("The policies of the default chain, one by one, add up to {sum:.0} ns.")),
    );
    notes
}

/// What the parts of the default chain cost one by one.
fn sum(campaign: &Campaign) -> Option<f64> {
    let parts = [
        (Policy::Own, "authenticate, admitted"),
        (Policy::Own, "tenant guard"),
        (Policy::Retry, "ours"),
        (Policy::Breaker, "ours, per tenant"),
        (Policy::Bulkhead, "ours, per tenant"),
        (Policy::Rate, "ours, per tenant"),
        (Policy::Timeout, "ours, of an attempt"),
    ];
    let cost = |(policy, name): (Policy, &str)| {
        let found = campaign.rows.iter().find(|one| one.row.policy == policy && one.row.name == name);
        found.map(|one| one.figure.cost)
    };
    parts.into_iter().map(cost).sum()
}

fn goal_rows(goals: &[Goal]) -> Vec<Vec<String>> {
    let head = GOALS_HEAD.map(str::to_owned).to_vec();
    let row = |goal: &Goal| {
        vec![
            goal.name.clone(),
            nanos(goal.measured),
            format!("< {}", nanos(goal.limit)),
            goal.peer.map_or_else(|| "-".to_owned(), |(cost, name)| format!("{} {name}", nanos(cost))),
            if goal.is_met() { "PASS" } else { "MISS" }.to_owned(),
        ]
    };
    [head].into_iter().chain(goals.iter().map(row)).collect()
}

pub(crate) fn write(options: &Options, campaign: &Campaign, goals: &[Goal]) -> Result<()> {
    let written =
        options.write(|| as_json(options, campaign, goals), || as_markdown(options, campaign, goals))?;
    written.into_iter().for_each(|file| say(format_args!("wrote {}", file.display())));
    Ok(())
}

/// On what the figures were measured.
fn facts(options: &Options) -> Vec<(&'static str, String)> {
    let peers = ["tower", "tower-resilience", "backon", "failsafe", "governor"];
    machine::facts(&options.command, "multi-thread, 1 worker", &peers)
}

fn as_markdown(options: &Options, campaign: &Campaign, goals: &[Goal]) -> String {
    let mut text = "# Baseline of the policies\n\n| | |\n|---|---|\n".to_owned();
    for (name, value) in facts(options) {
        text.push_str(&format!("| {name} | {value} |\n"));
    }
    if !goals.is_empty() {
        text.push_str(&format!("\n## Goals\n\n{}", markdown(&goal_rows(goals))));
    }
    for (policy, rows) in tables(campaign) {
        text.push_str(&format!("\n## {policy}\n\n{}", markdown(&rows)));
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
    let goal = |goal: &Goal| {
        json!({ "goal": goal.name, "ns": goal.measured, "limit": goal.limit, "met": goal.is_met(),
                "fastest_peer": goal.peer.map(|(_, name)| name), "fastest_peer_ns": goal.peer.map(|(cost, _)| cost) })
    };
    let row = |one: &Measured| json!({ "policy": one.row.policy.to_string(), "row": one.row.name, "ns": one.figure });
    json!({
        "machine": facts,
        "goals": goals.iter().map(goal).collect::<Vec<_>>(),
        "rows": campaign.rows.iter().map(row).collect::<Vec<_>>(),
    })
}
