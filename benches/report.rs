//! What the benches print and write in the same way: tables, goals, and the baseline in Markdown.

use std::fmt::Display;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::{
    options::Options,
    table::{aligned, markdown},
};

/// Prints one line.
#[expect(clippy::print_stdout, reason = "the output of a bench is for its reader")]
pub fn say(line: impl Display) {
    println!("{line}");
}

/// A runtime as all rows have it: no I/O driver, because no stage needs it.
///
/// # Errors
///
/// The machine has no threads left.
pub fn runtime(workers: usize) -> Result<Runtime> {
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_time().build();
    runtime.context("a runtime starts")
}

/// The row of names above a table.
pub fn head<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

/// A number, or a dash where there is none.
pub fn or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

/// The middle of measurements, and how far they go.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of these values; of none it is no number.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
        Self { median: at(sorted.len() / 2), min: at(0), max: at(sorted.len().saturating_sub(1)) }
    }

    /// From the least to the largest.
    pub fn range(&self) -> String {
        format!("{:.1} – {:.1}", self.min, self.max)
    }
}

/// What was measured of something, and how much of it is allowed.
#[derive(Clone, Debug)]
pub struct Goal {
    /// Of what.
    pub name: String,
    /// In what.
    pub unit: &'static str,
    /// How much there is.
    pub measured: f64,
    /// How much there may be at most.
    pub limit: f64,
}

impl Goal {
    /// Whether it is no more than is allowed.
    pub fn is_met(&self) -> bool {
        self.measured <= self.limit
    }

    /// Prints the goals; gives how many are missed.
    pub fn print(goals: &[Self]) -> usize {
        if goals.is_empty() {
            return 0;
        }
        say("");
        aligned(&Self::rows(goals), &[0, 3]).iter().for_each(say);
        count_missed(goals.iter().map(Self::is_met))
    }

    /// A table of them; of none if there are none.
    pub fn rows(goals: &[Self]) -> Vec<Vec<String>> {
        let row = |goal: &Self| {
            vec![
                goal.name.clone(),
                format!("{:.2} {}", goal.measured, goal.unit),
                format!("≤ {:.2}", goal.limit),
                verdict(goal.is_met()),
            ]
        };
        [head(["goal", "measured", "limit", "verdict"])].into_iter().chain(goals.iter().map(row)).collect()
    }

    /// The same for programs.
    pub fn json(goals: &[Self]) -> Vec<Value> {
        let json = |goal: &Self| json!({ "goal": goal.name, "measured": goal.measured, "unit": goal.unit, "limit": goal.limit, "met": goal.is_met() });
        goals.iter().map(json).collect()
    }
}

/// One word for whether a goal is met.
pub fn verdict(is_met: bool) -> String {
    if is_met { "PASS" } else { "MISS" }.to_owned()
}

/// Prints how many goals are met and missed; gives those that are missed.
pub fn count_missed(met: impl Iterator<Item = bool>) -> usize {
    let (met, missed): (Vec<_>, Vec<_>) = met.partition(|is_met| *is_met);
    say(format_args!("{} met, {} missed", met.len(), missed.len()));
    missed.len()
}

/// What a bench has found out, but for its goals.
#[derive(Clone, Debug)]
pub struct Report {
    /// The title of its baseline.
    pub title: &'static str,
    /// On what it was measured: names and values.
    pub facts: Vec<(&'static str, String)>,
    /// Titles and tables, each with its head.
    pub tables: Vec<(String, Vec<Vec<String>>)>,
    /// What a reader of the tables has to know.
    pub notes: Vec<String>,
}

impl Report {
    /// Prints the tables, in which the columns of words are to the left, and the notes.
    pub fn print(&self, words: &[usize]) {
        for (title, rows) in &self.tables {
            say(format_args!("\n{title}"));
            aligned(rows, words).iter().for_each(say);
        }
        say("");
        self.notes.iter().for_each(say);
    }

    /// As Markdown; the first of the rows of goals is their head.
    pub fn markdown(&self, goals: &[Vec<String>]) -> String {
        let mut text = format!("# {}\n\n| | |\n|---|---|\n", self.title);
        for (name, value) in &self.facts {
            text.push_str(&format!("| {name} | {value} |\n"));
        }
        if goals.len() > 1 {
            text.push_str(&format!("\n## Goals\n\n{}", markdown(goals)));
        }
        for (title, rows) in &self.tables {
            text.push_str(&format!("\n## {title}\n\n{}", markdown(rows)));
        }
        text.push('\n');
        for note in &self.notes {
            text.push_str(&format!("- {note}\n"));
        }
        text
    }

    /// The facts for programs.
    pub fn machine(&self) -> Map<String, Value> {
        self.facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect()
    }
}

/// Writes what was found where it is asked for, and says where that is.
///
/// # Errors
///
/// A file cannot be written.
pub fn write<M>(
    options: &Options<M>,
    json: impl FnOnce() -> Value,
    markdown: impl FnOnce() -> String,
) -> Result<()> {
    let written = options.write(json, markdown)?;
    written.into_iter().for_each(|file| say(format_args!("wrote {}", file.display())));
    Ok(())
}
