//! Prints the tables, and writes them as JSON and as a baseline in Markdown.

use anyhow::Result;
use serde_json::json;
use stageflow_benches::{
    machine,
    report::{self, Goal, Report, head, or_dash},
};

use crate::{
    Options,
    campaign::{Campaign, SHAPES},
    emit::Way,
    goals::{per_event, to_bare},
};

const NOTES: [&str; 4] = [
    "One worker. Medians; what is on its way after a run is delivered before the next, outside of the measurement, and nothing may be lost.",
    "Worker: on the processor, by the thread that runs the stages; the threads of sinks do not count. Run: from the call to the result.",
    "Per event: beyond a sink that does nothing and is told by the worker, so beyond making the event.",
    "try_send: into a channel with room that nobody reads meanwhile.",
];

pub(crate) fn of(options: &Options, campaign: &Campaign) -> Report {
    let rounds = format!("{} rounds, in each every row.", campaign.rounds);
    Report {
        title: "Baseline of telemetry",
        facts: machine::facts(&options.command, "multi-thread, 1 worker", &[]),
        tables: tables(campaign),
        notes: NOTES.map(str::to_owned).into_iter().chain([rounds]).collect(),
    }
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
                figure.range(),
                format!("{:.2}", figure.median / try_send),
            ]
        }));
        tables.push(("Handing an event over".to_owned(), rows));
    }
    for shape in SHAPES {
        let mut rows =
            vec![head(["", "worker, ns/stage", "min – max", "÷ bare", "per event, ns", "run, ns/stage"])];
        rows.extend(campaign.runs.iter().filter(|cell| cell.shape == *shape).map(|cell| {
            vec![
                cell.row.name().to_owned(),
                nanos(cell.worker.median),
                cell.worker.range(),
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

fn nanos(value: f64) -> String {
    format!("{value:.1}")
}

pub(crate) fn write(options: &Options, report: &Report, campaign: &Campaign, goals: &[Goal]) -> Result<()> {
    let json = || {
        let emitting = campaign
            .emitting
            .iter()
            .map(|(way, figure)| json!({ "way": way.name(), "ns_per_event": figure }));
        let runs = campaign.runs.iter().map(|cell| {
            json!({ "row": cell.row.name(), "shape": cell.shape.to_string(),
                    "worker_ns_per_stage": cell.worker, "run_ns_per_stage": cell.wall })
        });
        json!({
            "machine": report.machine(),
            "goals": Goal::json(goals),
            "emitting": emitting.collect::<Vec<_>>(),
            "runs": runs.collect::<Vec<_>>(),
        })
    };
    report::write(options, json, || report.markdown(&Goal::rows(goals)))
}
