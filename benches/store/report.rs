//! Prints the tables, and writes them as JSON and as a baseline in Markdown.

use anyhow::Result;
use serde_json::json;
use stageflow_benches::{
    graph::Shape,
    machine,
    report::{self, Goal, Report, Spread, head, or_dash},
};

use crate::{
    Options,
    answers::ASKERS,
    attached::Row,
    bare::Way,
    campaign::Campaign,
    durable::STAGES,
    goals::{to_bare, to_unattached},
    pipelines::BYTES,
    stores::Kind,
    what::{ATTACHED, RESUMED, RUNS, WIDE, What},
};

pub(crate) fn of(options: &Options, campaign: &Campaign, server: String) -> Report {
    let mut facts =
        machine::facts(&options.command, "multi-thread, 2 workers", &["rusqlite", "tokio-postgres"]);
    facts.push(("server", server));
    let notes = vec![
        format!("Medians over {} rounds; what is compared is measured by turns. A stage gives {BYTES} bytes.", campaign.rounds),
        format!("Durable stages: of chains of {STAGES}, with what it takes to begin and to end the runs: for each stage two entries, that it begins and how it ends. SQLite syncs each commit of its write-ahead log, PostgreSQL has fsync and synchronous_commit on; both write to the disk."),
        "One writer: a loop on one connection that commits a row each. Each commits: so many tasks that commit a row each, SQLite behind a lock, PostgreSQL on a connection each. The table has a key and the output, and no row-level security.".to_owned(),
        "Without a durable stage: on the processor, by the only worker; the thread that writes does not count.".to_owned(),
        "Resumed: from the call of `resume` to the end of the run, of which all stages but the last had ended.".to_owned(),
        format!("Answers: {ASKERS} ask at the same time, each for keys of its own. Kept: asked for, and given once; replayed: asked for again."),
    ];
    Report { title: "Baseline of stores", facts, tables: tables(campaign), notes }
}

fn tables(campaign: &Campaign) -> Vec<(String, Vec<Vec<String>>)> {
    let mut tables = Vec::new();
    for kind in Kind::ALL {
        tables.push((format!("Durable stages in a second: {}", kind.name()), durable(campaign, *kind)));
    }
    tables.push((
        "Durable stages of one run in a second: all between the first and the last".to_owned(),
        wide(campaign),
    ));
    for shape in ATTACHED {
        tables.push((
            format!("Stages that do nothing and are not durable: {shape}"),
            attached(campaign, *shape),
        ));
    }
    tables.push(("Runs of 10,000 durable stages that are resumed".to_owned(), resumed(campaign)));
    tables.push(("Answers in a second".to_owned(), answers(campaign)));
    tables.retain(|(_, rows)| rows.len() > 1);
    tables
}

fn durable(campaign: &Campaign, kind: Kind) -> Vec<Vec<String>> {
    let mut rows = vec![head([
        "",
        "durable",
        "min – max",
        "one writer",
        "min – max",
        "each commits",
        "min – max",
        "÷ the better",
    ])];
    for runs in RUNS {
        let Some(figure) = campaign.get(What::Durable(kind, *runs)) else { continue };
        let ratio = to_bare(campaign, kind, *runs).map(f64::recip);
        let mut row = vec![format!("{runs} {}", if *runs == 1 { "run" } else { "runs" })];
        let bare = Way::ALL.iter().map(|way| campaign.get(What::Bare(kind, *way, *runs)));
        for figure in [Some(figure)].into_iter().chain(bare) {
            row.push(per_second(figure.map(|figure| figure.median)));
            row.push(figure.map_or_else(|| "-".to_owned(), range));
        }
        row.push(or_dash(ratio));
        rows.push(row);
    }
    rows
}

fn wide(campaign: &Campaign) -> Vec<Vec<String>> {
    let mut rows = vec![head(["", "1,000", "10,000"])];
    for kind in Kind::ALL {
        let of = WIDE.iter().map(|stages| campaign.median(What::Wide(*kind, *stages)));
        let figures: Vec<_> = of.collect();
        if figures.iter().any(Option::is_some) {
            let cells = figures.into_iter().map(per_second);
            rows.push([kind.name().to_owned()].into_iter().chain(cells).collect());
        }
    }
    rows
}

fn attached(campaign: &Campaign, shape: Shape) -> Vec<Vec<String>> {
    let mut rows = vec![head(["", "ns/stage", "min – max", "÷ without"])];
    for row in Row::ALL {
        let Some(figure) = campaign.get(What::Attached(*row, shape)) else { continue };
        rows.push(vec![
            row.name().to_owned(),
            format!("{:.1}", figure.median),
            figure.range(),
            or_dash(to_unattached(campaign, *row, shape)),
        ]);
    }
    rows
}

fn resumed(campaign: &Campaign) -> Vec<Vec<String>> {
    let mut rows = vec![head(["", "ms", "min – max"])];
    for kind in Kind::ALL {
        for shape in RESUMED {
            let Some(figure) = campaign.get(What::Resume(*kind, *shape)) else { continue };
            let millis = Spread { median: figure.median / 1e6, min: figure.min / 1e6, max: figure.max / 1e6 };
            let name = format!("{}, {shape}", kind.name());
            rows.push(vec![name, format!("{:.1}", millis.median), millis.range()]);
        }
    }
    rows
}

fn answers(campaign: &Campaign) -> Vec<Vec<String>> {
    let mut rows = vec![head(["", "kept", "min – max", "replayed", "min – max"])];
    for kind in Kind::ALL {
        let figures = [What::Kept(*kind), What::Replayed(*kind)].map(|what| campaign.get(what));
        if figures.iter().all(Option::is_none) {
            continue;
        }
        let cells = figures.into_iter().flat_map(|figure| {
            let range = figure.map_or_else(|| "-".to_owned(), range);
            [per_second(figure.map(|figure| figure.median)), range]
        });
        rows.push([kind.name().to_owned()].into_iter().chain(cells).collect());
    }
    rows
}

/// How many there are in a second of what takes so many nanoseconds.
fn per_second(nanos: Option<f64>) -> String {
    nanos.map_or_else(|| "-".to_owned(), |nanos| format!("{:.0}", 1e9 / nanos))
}

fn range(figure: Spread) -> String {
    format!("{:.0} – {:.0}", 1e9 / figure.max, 1e9 / figure.min)
}

pub(crate) fn write(options: &Options, report: &Report, campaign: &Campaign, goals: &[Goal]) -> Result<()> {
    let json = || {
        let figures =
            campaign.figures.iter().map(|(what, figure)| json!({ "what": what.to_string(), "ns": figure }));
        json!({
            "machine": report.machine(),
            "goals": Goal::json(goals),
            "figures": figures.collect::<Vec<_>>(),
        })
    };
    report::write(options, json, || report.markdown(&Goal::rows(goals)))
}
