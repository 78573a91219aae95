//! Prints the tables, and writes them as JSON and as a baseline in Markdown.

use anyhow::Result;
use serde_json::json;
use stageflow_benches::{
    machine,
    report::{self, Report, say},
    table::{aligned, markdown},
    work::Body,
};

use crate::{
    callgrind::Count,
    campaign::{Campaign, Cell},
    cells::Key,
    goals::{Facts, Goal, Limit, Verdict},
    options::Options,
    rows::Row,
};

const HEAD: [&str; 7] = ["shape", "row", "ns/stage", "min – max", "÷ joinset", "teardown", "samples"];
const GOALS_HEAD: [&str; 4] = ["goal", "measured", "limit", "verdict"];
const BODIES: [(Body, &str); 4] = [
    (Body::Noop, "Stages that are ready at the first poll"),
    (Body::Yield, "Stages that yield once"),
    (Body::Sleep, "Stages that sleep for 1 ms"),
    (Body::Cpu, "Stages that compute for 19 µs"),
];

pub(crate) fn print_times(campaign: &Campaign) {
    for (title, rows) in times(campaign) {
        say(format_args!("\n{title}"));
        for line in aligned(&rows, &[0, 1]) {
            say(line);
        }
    }
    for note in footnotes(campaign) {
        say(note);
    }
}

/// Prints the goals; gives how many are missed. What was not checked is missed only in CI.
pub(crate) fn print_goals(goals: &[Goal]) -> usize {
    if goals.is_empty() {
        return 0;
    }
    say("");
    for line in aligned(&goal_rows(goals), &[0, 1, 3]) {
        say(line);
    }
    let count = |verdict| goals.iter().filter(|goal| goal.verdict() == verdict).count();
    let (missed, open) = (count(Verdict::Miss), count(Verdict::NotChecked));
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let strict = if open > 0 && in_ci { ", which fails with CI=true" } else { "" };
    say(format_args!("{} met, {missed} missed, {open} not checked{strict}", count(Verdict::Pass)));
    if in_ci { missed + open } else { missed }
}

pub(crate) fn write(options: &Options, facts: &Facts, goals: &[Goal]) -> Result<()> {
    let peers = ["async_dag", "dagx", "dagrs", "graph-flow"];
    let report = Report {
        title: "Baseline",
        facts: machine::facts(&options.command, "multi-thread, 2 workers", &peers),
        tables: times(&facts.campaign),
        notes: footnotes(&facts.campaign)
            .iter()
            .map(|note| note.trim_start_matches("-  ").to_owned())
            .collect(),
    };
    report::write(options, || as_json(&report, facts, goals), || as_markdown(&report, facts, goals))
}

/// One table per body.
fn times(campaign: &Campaign) -> Vec<(String, Vec<Vec<String>>)> {
    let mut tables = Vec::new();
    for (body, title) in BODIES {
        let cells: Vec<&Cell> = campaign.cells.iter().filter(|cell| cell.key.body == body).collect();
        if cells.is_empty() {
            continue;
        }
        let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
        rows.extend(cells.into_iter().map(|cell| row(campaign, cell)));
        tables.push((title.to_owned(), rows));
    }
    tables
}

fn row(campaign: &Campaign, cell: &Cell) -> Vec<String> {
    let key = cell.key;
    let mut fields = vec![key.shape.to_string(), key.row.to_string()];
    let Ok(figure) = cell.figure else {
        fields.extend(["-"; 5].map(str::to_owned));
        return fields;
    };
    let anchor = campaign.figure(Key { row: Row::JoinSet, ..key });
    fields.push(time(figure.median));
    fields.push(format!("{} – {}", time(figure.min), time(figure.max)));
    fields.push(
        anchor.map_or_else(|| "-".to_owned(), |anchor| format!("{:.3}", figure.median / anchor.median)),
    );
    fields.push(time(figure.teardown));
    fields.push(figure.samples.to_string());
    fields
}

fn time(nanos: f64) -> String {
    if nanos < 100.0 { format!("{nanos:.1}") } else { format!("{nanos:.0}") }
}

/// Why cells are empty, and what the columns mean.
fn footnotes(campaign: &Campaign) -> Vec<String> {
    let mut notes = vec![format!(
        "Medians of {} rounds. Two workers; a run is awaited in a spawned task. ns/stage is from the call to the result; \
         teardown, dropping the result, comes on top.",
        campaign.rounds
    )];
    notes.push("async_dag and dagx take few dependencies per task: their fan-outs have no sink.".to_owned());
    for cell in &campaign.cells {
        if let Err(why) = cell.figure {
            let note = format!("-  {}: {why}", cell.key.row);
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    notes
}

fn goal_rows(goals: &[Goal]) -> Vec<Vec<String>> {
    let mut rows = vec![GOALS_HEAD.map(str::to_owned).to_vec()];
    for goal in goals {
        let unit = goal.unit;
        let measured = match &goal.measured {
            Ok((value, place)) => format!("{}{unit} {place}", short(*value)).trim_end().to_owned(),
            Err(_) => "-".to_owned(),
        };
        let limit = match goal.limit {
            Limit::AtMost(limit) => format!("≤ {}{unit}", short(limit)),
            Limit::AtLeast(limit) => format!("≥ {}{unit}", short(limit)),
        };
        let verdict = match (goal.verdict(), &goal.measured) {
            (Verdict::Pass, _) => "PASS".to_owned(),
            (Verdict::Miss, _) => "MISS".to_owned(),
            (Verdict::NotChecked, why) => format!("NOT CHECKED: {}", why.as_ref().err().unwrap_or(&"")),
        };
        rows.push(vec![goal.name.clone(), measured, limit, verdict]);
    }
    rows
}

fn short(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn as_markdown(report: &Report, facts: &Facts, goals: &[Goal]) -> String {
    let mut text = report.markdown(&goal_rows(goals));
    if let Ok(counts) = &facts.instructions {
        let mut rows = vec![["shape", "row", "instructions per stage"].map(str::to_owned).to_vec()];
        rows.extend(counts.iter().map(|count| {
            vec![count.shape.to_string(), count.row.to_string(), format!("{:.0}", count.per_stage)]
        }));
        text.push_str(&format!("\n## Instructions\n\n{}", markdown(&rows)));
    }
    if let Some(memory) = &facts.memory {
        let mut rows = vec![["what", "bytes"].map(str::to_owned).to_vec()];
        rows.extend(memory.iter().map(|figure| vec![figure.name.clone(), format!("{:.1}", figure.bytes)]));
        text.push_str(&format!("\n## Memory of a run beyond its plan\n\n{}", markdown(&rows)));
    }
    text
}

fn as_json(report: &Report, facts: &Facts, goals: &[Goal]) -> serde_json::Value {
    let cell = |cell: &Cell| {
        let Key { row, shape, body } = cell.key;
        json!({
            "row": row.to_string(), "shape": shape.to_string(), "body": body.to_string(),
            "ns_per_stage": cell.figure.ok(), "left_out": cell.figure.err(),
        })
    };
    let goal =
        |row: Vec<String>| json!({ "goal": row[0], "measured": row[1], "limit": row[2], "verdict": row[3] });
    let count = |count: &Count| json!({ "row": count.row.to_string(), "shape": count.shape.to_string(), "per_stage": count.per_stage });
    json!({
        "machine": report.machine(),
        "goals": goal_rows(goals).into_iter().skip(1).map(goal).collect::<Vec<_>>(),
        "times": facts.campaign.cells.iter().map(cell).collect::<Vec<_>>(),
        "instructions": facts.instructions.as_ref().ok().map(|all| all.iter().map(count).collect::<Vec<_>>()),
        "memory": facts.memory,
        "blocking": facts.blocking,
    })
}
