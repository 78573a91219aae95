//! What the user sees.

use std::{
    error::Error,
    io::{IsTerminal, Write},
    path::Path,
};

use stageflow::{Event, EventKind, Pipeline, RunError, RunReport, StageOutcome};

use crate::{
    folder::{Folder, count},
    index::Answer,
};

/// More lines of one kind than this are not all shown.
const ALIKE: usize = 6;
const WIDTH: usize = 24;

/// How far a run is, in one line of a terminal.
pub(crate) struct Progress {
    is_terminal: bool,
    total: usize,
    ended: usize,
    failed: usize,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        Self { is_terminal: std::io::stdout().is_terminal(), total, ended: 0, failed: 0 }
    }

    pub(crate) fn show(&mut self, event: &Event) {
        self.ended += usize::from(event.kind().is_terminal() && event.stage().is_some());
        self.failed += usize::from(matches!(event.kind(), EventKind::StageFailed(_)));
        if !self.is_terminal {
            return;
        }
        let done = WIDTH * self.ended / self.total.max(1);
        let bar = format!("{}{}", "█".repeat(done), "░".repeat(WIDTH - done.min(WIDTH)));
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        let what = format!("{} {}", event.name(), event.stage().unwrap_or_default());
        print!("\r\x1b[2K{bar} {}/{}{failed}  {what}", self.ended, self.total);
        flush();
    }

    pub(crate) fn clear(&self) {
        if self.is_terminal {
            print!("\r\x1b[2K");
            flush();
        }
    }
}

/// The pipelines, before they run.
pub(crate) fn plan<I, O, J, P>(folder: &Folder, one: &Pipeline<I, O>, all: &Pipeline<J, P>) {
    let more = if folder.is_cut { " (there are more)" } else { "" };
    println!("{}: {}{more}\n", folder.name, count(folder.files.len(), "file"));
    println!("{}", one.to_tree());
    println!("{}", fold(&all.to_tree(), |line| line.contains(" file-")));
}

pub(crate) fn answer(answer: &Answer) {
    println!("{}", answer.question);
    if answer.found.is_empty() {
        println!("  nothing was found in {}", count(answer.files, "file"));
    }
    for (found, number) in answer.found.iter().zip(1..) {
        let is_own = found.heading.is_empty() || found.heading == found.title;
        let heading = if is_own { String::new() } else { format!(" › {}", found.heading) };
        println!("  {number}. {}{heading}  ({})\n     {}", found.title, found.file, found.excerpt);
    }
    println!();
}

/// The files that are not in the index, each with the reason.
pub(crate) fn left_out(folder: &Folder, report: &RunReport) {
    // The stages of the files are the first ones, in the order of the files.
    let unread = folder.files.iter().zip(report.stages()).filter_map(|(file, stage)| {
        let reason = match &stage.outcome {
            StageOutcome::Failed(failure) => root(failure),
            StageOutcome::Skipped(cause) => cause.to_string(),
            StageOutcome::Cancelled(_) | StageOutcome::Completed => return None,
            other => other.to_string(),
        };
        Some((file.name.clone(), reason))
    });
    let lines: Vec<_> = folder.unlisted.iter().cloned().chain(unread).collect();
    if lines.is_empty() {
        return;
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    println!("left out: {}", count(lines.len(), "file"));
    lines.iter().for_each(|(name, reason)| println!("  {name:width$}  {reason}"));
    println!();
}

pub(crate) fn report(report: &RunReport) {
    let is_fine = |line: &str| line.starts_with("  file-") && line.contains(" completed ");
    let is_failure = |line: &str| line.starts_with("  failure:") || line.starts_with("    help:");
    println!("{}", fold(&fold(&report.to_string(), is_fine), is_failure));
}

pub(crate) fn index_file(file: &Path) {
    println!("index: {}", file.display());
}

/// An error with everything behind it, and what helps.
pub(crate) fn error(error: &RunError) {
    eprint!("quickstart: {error}");
    let mut cause = error.source();
    while let Some(behind) = cause {
        eprint!(": {behind}");
        cause = behind.source();
    }
    eprintln!(" [{}]", error.code());
    if let Some(hint) = error.hint() {
        eprintln!("  help: {hint}");
    }
}

/// The message of the error behind all others.
fn root(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(behind) = last.source() {
        last = behind;
    }
    last.to_string()
}

/// Shows only the ends of long rows of lines that are alike.
fn fold(text: &str, is_alike: impl Fn(&str) -> bool) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut folded = String::new();
    for rows in lines.chunk_by(|a, b| is_alike(a) == is_alike(b)) {
        let hidden = if rows.len() > ALIKE && is_alike(rows[0]) { rows.len() - 3 } else { 0 };
        for (place, row) in rows.iter().enumerate() {
            match place {
                2 if hidden > 0 => folded += &format!("  … {hidden} more like these\n"),
                place if hidden == 0 || place < 2 || place + 1 == rows.len() => folded += &format!("{row}\n"),
                _ => {}
            }
        }
    }
    folded
}

fn flush() {
    // A terminal that is gone is no reason to stop.
    let _gone = std::io::stdout().flush();
}
