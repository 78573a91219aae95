//! What the user sees.

use std::{
    error::Error,
    fmt,
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
/// More files than this are not listed one by one.
const MOST: usize = 20;
/// The widths of a bar and of a line of text.
const WIDTH: usize = 24;
const LINE: usize = 90;

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
        say(format_args!("\r\x1b[2K{bar} {}/{}{failed}  {what}", self.ended, self.total));
    }

    pub(crate) fn clear(&self) {
        if self.is_terminal {
            say(format_args!("\r\x1b[2K"));
        }
    }
}

/// The pipelines, before they run.
pub(crate) fn plan<I, O, J, P>(folder: &Folder, one: &Pipeline<I, O>, all: &Pipeline<J, P>) {
    let more = if folder.is_cut { " (there are more)" } else { "" };
    say(format_args!("{}: {}{more}\n\n", folder.name, count(folder.files.len(), "file")));
    say(format_args!("{}\n", one.to_tree()));
    say(format_args!("{}\n", fold(&all.to_tree(), |line| line.contains(" file-").then(String::new))));
}

pub(crate) fn answer(answer: &Answer) {
    say(format_args!("{}\n", answer.question));
    if answer.found.is_empty() {
        say(format_args!("  nothing was found in {}\n", count(answer.files, "file")));
    }
    for (found, number) in answer.found.iter().zip(1..) {
        let is_own = found.heading.is_empty() || found.heading == found.title;
        let heading = if is_own { String::new() } else { format!(" › {}", found.heading) };
        say(format_args!("  {number}. {}{heading}  ({})\n", found.title, found.file));
        wrapped(&found.excerpt).iter().for_each(|line| say(format_args!("     {line}\n")));
    }
    say(format_args!("\n"));
}

/// A text in lines that fit into most terminals.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + word.chars().count() < LINE => *line += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
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
    say(format_args!("left out: {}\n", count(lines.len(), "file")));
    lines.iter().take(MOST).for_each(|(name, reason)| say(format_args!("  {name:width$}  {reason}\n")));
    if lines.len() > MOST {
        say(format_args!("  … and {}\n", count(lines.len() - MOST, "more file")));
    }
    say(format_args!("\n"));
}

pub(crate) fn report(report: &RunReport) {
    let kind = |line: &str| {
        let is_failure = line.starts_with("  failure:") || line.starts_with("    help:");
        let status = || line.strip_prefix("  file-")?.split_whitespace().nth(2).map(str::to_owned);
        if is_failure { Some("failure".to_owned()) } else { status() }
    };
    say(format_args!("{}\n", fold(&report.to_string(), kind)));
}

pub(crate) fn index_file(file: &Path) {
    say(format_args!("index: {}\n", file.display()));
}

/// An error with everything behind it, and what helps.
pub(crate) fn error(error: &RunError) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(behind) = cause {
        text += &format!(": {behind}");
        cause = behind.source();
    }
    let hint = error.hint().map_or_else(String::new, |hint| format!("\n  help: {hint}"));
    complain(format_args!("{text} [{}]{hint}", error.code()));
}

/// The message of the error behind all others.
fn root(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(behind) = last.source() {
        last = behind;
    }
    last.to_string()
}

/// Shows only the ends of long rows of lines that are of one kind; lines without a kind are all shown.
fn fold(text: &str, kind: impl Fn(&str) -> Option<String>) -> String {
    let lines: Vec<_> = text.lines().map(|line| (kind(line), line)).collect();
    let mut folded = String::new();
    for rows in lines.chunk_by(|(a, _), (b, _)| a.is_some() && a == b) {
        let hidden = if rows.len() > ALIKE { rows.len() - 3 } else { 0 };
        for (place, (_, row)) in rows.iter().enumerate() {
            if hidden == 0 || place < 2 || place + 1 == rows.len() {
                folded += &format!("{row}\n");
            } else if place == 2 {
                folded += &format!("  … {hidden} more like these\n");
            }
        }
    }
    folded
}

/// Prints. Somebody who stops listening, such as `head`, is no reason to panic.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    let mut out = std::io::stdout();
    let _gone = out.write_fmt(text).and_then(|()| out.flush());
}

pub(crate) fn complain(text: fmt::Arguments<'_>) {
    let _gone = std::io::stderr().write_fmt(format_args!("quickstart: {text}\n"));
}
