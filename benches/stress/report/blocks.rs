//! What a report says, block by block, in no form yet. Every figure in it stands in the record.

use super::svg;
use crate::harness::{
    lag::Histogram,
    record::{Measurement, Plot, Record, ScenarioRecord},
};

/// A part of a report.
#[derive(Debug)]
pub(crate) enum Block {
    Heading(u8, String),
    Text(String),
    /// What has to be noticed.
    Warning(String),
    Table(Table),
    /// A drawing; its figures are in a table, too.
    Drawing(String),
}

/// Columns and rows.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// The report of a record.
pub(crate) fn of(record: &Record) -> Vec<Block> {
    let mut blocks = vec![Block::Heading(1, "Load tests".to_owned())];
    if let Some(reason) = &record.partial {
        let not_run = if record.not_run.is_empty() { "none".to_owned() } else { record.not_run.join(", ") };
        blocks.push(Block::Warning(format!("PARTIAL: {reason}. Not run: {not_run}.")));
    }
    if !record.machine.optimised {
        blocks.push(Block::Warning("The build was not optimised: the figures mean nothing.".to_owned()));
    }
    blocks.push(Block::Text(format!("{}.", record.summary)));
    blocks.push(Block::Table(facts(record)));
    blocks.push(Block::Heading(2, "Verdicts".to_owned()));
    blocks.push(Block::Table(verdicts(record)));
    drawings(record, &mut blocks);
    for scenario in &record.scenarios {
        of_scenario(scenario, &mut blocks);
    }
    blocks
}

fn facts(record: &Record) -> Table {
    let machine = &record.machine;
    let rows = [
        ("run", record.run_id.clone()),
        ("command", record.command.clone()),
        ("seed, scale", format!("{}, {}", record.seed, record.scale)),
        ("commit", record.commit.clone()),
        ("started", record.started.clone()),
        ("seconds", figure(record.seconds)),
        ("processor", format!("{}, {} cores", machine.processor, machine.cores)),
        ("kernel", machine.kernel.clone()),
        ("compiler", machine.rustc.clone()),
    ];
    Table { head: vec!["what", ""], rows: rows.map(|(what, value)| vec![what.to_owned(), value]).to_vec() }
}

fn verdicts(record: &Record) -> Table {
    let row = |scenario: &ScenarioRecord| {
        let held = scenario.checks.iter().filter(|check| check.pass).count();
        vec![
            scenario.name.clone(),
            scenario.verdict.to_string(),
            format!("{held} of {}", scenario.checks.len()),
            figure(scenario.seconds),
            scenario.reason.clone().unwrap_or_default(),
        ]
    };
    Table {
        head: vec!["scenario", "verdict", "checks that held", "seconds", "reason"],
        rows: record.scenarios.iter().map(row).collect(),
    }
}

/// The plots over all scenarios.
fn drawings(record: &Record, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading(2, "Plots".to_owned()));
    let plots = [
        (Plot::Throughput, "Throughput by size", "stages", "stages/s"),
        (Plot::Latency, "Latency by concurrency: the framework's part", "runs at a time", "ms"),
        (Plot::Memory, "Memory by stages", "stages", "bytes"),
    ];
    for (plot, title, x, y) in plots {
        let series = series(record, plot);
        if !series.is_empty() {
            blocks.push(Block::Drawing(svg::lines(title, x, y, &series)));
        }
    }
    let mut accounts = Vec::new();
    for scenario in &record.scenarios {
        for account in &scenario.accounts {
            let name = format!("{}: {}", scenario.name, account.case);
            accounts.push((name, vec![account.delivered, account.dropped, account.in_flight]));
        }
    }
    if !accounts.is_empty() {
        let parts = ["delivered", "dropped", "in flight"];
        blocks.push(Block::Drawing(svg::stacks("What became of events", &parts, &accounts)));
    }
    let mut all = Histogram::new();
    record.scenarios.iter().filter_map(|scenario| scenario.lag.as_ref()).for_each(|lag| all.merge(lag));
    if all.n > 0 {
        let bars: Vec<(String, u64)> = all.labels().into_iter().zip(all.counts.iter().copied()).collect();
        blocks
            .push(Block::Drawing(svg::bars("Scheduler lag in all scenarios: how late a timer fired", &bars)));
    }
}

fn series(record: &Record, plot: Plot) -> Vec<svg::Series> {
    let mut series = Vec::new();
    for scenario in &record.scenarios {
        let points: Vec<&Measurement> =
            scenario.measurements.iter().filter(|measured| measured.plot == Some(plot)).collect();
        let mut add = |name: String, y: fn(&Measurement) -> Option<f64>| {
            let points: Vec<(f64, f64)> =
                points.iter().filter_map(|point| Some((point.x?, y(point)?))).collect();
            if !points.is_empty() {
                series.push(svg::Series { name, points });
            }
        };
        if plot == Plot::Latency {
            add(format!("{} p50", scenario.name), |point| point.framework.p50);
            add(format!("{} p95", scenario.name), |point| point.framework.p95);
        } else {
            add(scenario.name.clone(), |point| point.framework.p50.or(Some(point.framework.mean)));
        }
    }
    series
}

fn of_scenario(scenario: &ScenarioRecord, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading(2, format!("{}: {}", scenario.name, scenario.verdict)));
    blocks.push(Block::Text(scenario.about.clone()));
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            facts.push(format!("{name}: {value}"));
        }
    };
    fact("Parameters", &scenario.parameters);
    fact("Suites", &scenario.suites.join(", "));
    fact("Answers", &scenario.answers.join(", "));
    blocks.push(Block::Text(format!("{}.", facts.join(". "))));
    if let Some(reason) = &scenario.reason {
        blocks.push(Block::Warning(reason.clone()));
    }
    let faults = scenario.faults.iter().map(|fault| vec![fault.name.clone(), fault.count.to_string()]);
    push(blocks, &["fault", "times injected"], faults.collect());
    let checks = scenario.checks.iter().map(|check| {
        let held = if check.pass { "held" } else { "DID NOT HOLD" };
        let (name, case) = (check.name.clone(), check.case.clone());
        vec![name, case, check.expected.clone(), check.seen.clone(), held.to_owned()]
    });
    push(blocks, &["check", "case", "expected", "seen", ""], checks.collect());
    push(blocks, FIGURES, scenario.measurements.iter().map(figures).collect());
    let accounts = scenario.accounts.iter().map(|account| {
        let figures = [account.emitted, account.delivered, account.dropped, account.in_flight];
        std::iter::once(account.case.clone()).chain(figures.map(|figure| figure.to_string())).collect()
    });
    push(blocks, &["account", "emitted", "delivered", "dropped", "in flight"], accounts.collect());
    if let Some(lag) = &scenario.lag {
        let rows = lag.labels().into_iter().zip(&lag.counts).filter(|(_, count)| **count > 0);
        let mut rows: Vec<Vec<String>> = rows.map(|(label, count)| vec![label, count.to_string()]).collect();
        rows.push(vec!["latest, in ms".to_owned(), figure(lag.max_ms)]);
        push(blocks, &["scheduler lag", "times"], rows);
    }
}

const FIGURES: &[&str] =
    &["figure", "case", "unit", "n", "min", "mean", "p50", "p95", "p99", "max", "injected on top"];

fn figures(measured: &Measurement) -> Vec<String> {
    let summary = &measured.framework;
    let refused =
        |figure_or_none: Option<f64>| figure_or_none.map_or_else(|| "n too small".to_owned(), figure);
    vec![
        measured.name.clone(),
        measured.case.clone(),
        measured.unit.clone(),
        summary.n.to_string(),
        figure(summary.min),
        figure(summary.mean),
        refused(summary.p50),
        refused(summary.p95),
        refused(summary.p99),
        figure(summary.max),
        figure(measured.injected),
    ]
}

fn push(blocks: &mut Vec<Block>, head: &[&'static str], rows: Vec<Vec<String>>) {
    if !rows.is_empty() {
        blocks.push(Block::Table(Table { head: head.to_vec(), rows }));
    }
}

/// A number with about three digits.
pub(crate) fn figure(number: f64) -> String {
    let size = number.abs();
    if size >= 100.0 || number == 0.0 {
        grouped(number)
    } else if size >= 1.0 {
        format!("{number:.2}")
    } else {
        format!("{number:.4}")
    }
}

/// A whole number with commas between its thousands.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
    let mut out = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
