//! Prints the tables, and writes them as JSON and as a baseline in Markdown.

use anyhow::Result;
use serde_json::json;
use stageflow_benches::{
    machine,
    report::{self, Report, count_missed, head, say, verdict},
    table::aligned,
};

use crate::{
    campaign::{Campaign, Measured},
    goals::Goal,
    options::Options,
    rows::Policy,
};

const HEAD: [&str; 7] = ["row", "cost, ns", "min – max", "bare", "÷ bare", "÷ ours", "batches"];
const GOALS_HEAD: [&str; 5] = ["goal", "measured, ns", "limit", "fastest peer", "verdict"];

pub(crate) fn of(options: &Options, campaign: &Campaign) -> Report {
    let peers = ["tower", "tower-resilience", "backon", "failsafe", "governor"];
    Report {
        title: "Baseline of the policies",
        facts: machine::facts(&options.command, "multi-thread, 1 worker", &peers),
        tables: tables(campaign),
        notes: notes(campaign),
    }
}

/// Prints the goals; gives how many are missed.
pub(crate) fn print_goals(goals: &[Goal]) -> usize {
    if goals.is_empty() {
        return 0;
    }
    say("");
    aligned(&goal_rows(goals), &[0, 3, 4]).iter().for_each(say);
    count_missed(goals.iter().map(Goal::is_met))
}

/// One table per policy.
fn tables(campaign: &Campaign) -> Vec<(String, Vec<Vec<String>>)> {
    let mut tables = Vec::new();
    for policy in Policy::ALL {
        let of = || campaign.rows.iter().filter(|one| one.row.policy == *policy);
        let ours = of().find(|one| one.row.is_stage()).map(|one| one.figure.cost);
        let rows: Vec<_> = of().map(|one| row(one, ours)).collect();
        if !rows.is_empty() {
            tables.push((policy.to_string(), [vec![head(HEAD)], rows].concat()));
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
    let row = |goal: &Goal| {
        vec![
            goal.name.clone(),
            nanos(goal.measured),
            format!("< {}", nanos(goal.limit)),
            goal.peer.map_or_else(|| "-".to_owned(), |(cost, name)| format!("{} {name}", nanos(cost))),
            verdict(goal.is_met()),
        ]
    };
    [head(GOALS_HEAD)].into_iter().chain(goals.iter().map(row)).collect()
}

pub(crate) fn write(options: &Options, report: &Report, campaign: &Campaign, goals: &[Goal]) -> Result<()> {
    let goal = |goal: &Goal| {
        json!({ "goal": goal.name, "ns": goal.measured, "limit": goal.limit, "met": goal.is_met(),
                "fastest_peer": goal.peer.map(|(_, name)| name), "fastest_peer_ns": goal.peer.map(|(cost, _)| cost) })
    };
    let row = |one: &Measured| json!({ "policy": one.row.policy.to_string(), "row": one.row.name, "ns": one.figure });
    let json = || {
        json!({
            "machine": report.machine(),
            "goals": goals.iter().map(goal).collect::<Vec<_>>(),
            "rows": campaign.rows.iter().map(row).collect::<Vec<_>>(),
        })
    };
    report::write(options, json, || report.markdown(&goal_rows(goals)))
}
