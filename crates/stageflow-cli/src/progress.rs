//! How far a run is: one line of a terminal that changes, or one line for each stage that has ended.

use std::{collections::BTreeSet, time::Duration};

use stageflow::{Event, EventKind};

use crate::screen;

const BAR: usize = 20;
/// Between two drawings.
const PAUSE: Duration = Duration::from_millis(50);

/// How far a run is.
#[derive(Debug)]
pub(crate) struct Progress {
    is_quiet: bool,
    is_terminal: bool,
    width: usize,
    total: usize,
    ended: usize,
    failed: usize,
    retries: usize,
    running: BTreeSet<String>,
    drawn: Option<tokio::time::Instant>,
}

impl Progress {
    pub(crate) fn new(total: usize, is_quiet: bool) -> Self {
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        Self {
            is_quiet,
            is_terminal: screen::is_watched(),
            width: columns.unwrap_or(80).clamp(40, 400),
            total,
            ended: 0,
            failed: 0,
            retries: 0,
            running: BTreeSet::new(),
            drawn: None,
        }
    }

    /// Takes an event of the run into account.
    pub(crate) fn see(&mut self, event: &Event) {
        let Some(stage) = event.stage() else { return };
        if event.kind().is_terminal() {
            self.ended += 1;
            self.failed += usize::from(matches!(event.kind(), EventKind::StageFailed(_)));
            self.running.remove(stage);
            self.line(&event.name(), stage);
        } else if event.name() == "stage.started" {
            self.running.insert(stage.to_owned());
        } else if event.name() == "stage.retry_scheduled" {
            self.retries += 1;
            self.line(&event.name(), stage);
        }
        self.draw(false);
    }

    /// For a log: nothing is drawn over.
    fn line(&self, event: &str, stage: &str) {
        if !self.is_quiet && !self.is_terminal {
            let what = event.rsplit('.').next().unwrap_or(event).replace('_', " ");
            let digits = self.total.to_string().len();
            screen::complain(format_args!("[{:>digits$}/{}] {stage}: {what}", self.ended, self.total));
        }
    }

    pub(crate) fn draw(&mut self, at_once: bool) {
        let now = tokio::time::Instant::now();
        let is_soon = self.drawn.is_some_and(|drawn| now - drawn < PAUSE);
        if self.is_quiet || !self.is_terminal || (is_soon && !at_once) {
            return;
        }
        self.drawn = Some(now);
        screen::draw(&format!("\r\x1b[2K{}", self.bar()));
    }

    fn bar(&self) -> String {
        let done = (BAR * self.ended / self.total.max(1)).min(BAR);
        let mut line =
            format!("{}{} {}/{}", "█".repeat(done), "░".repeat(BAR - done), self.ended, self.total);
        if self.failed > 0 {
            line += &format!(", {} failed", self.failed);
        }
        if self.retries > 0 {
            line += &format!(", {} {}", self.retries, if self.retries == 1 { "retry" } else { "retries" });
        }
        if !self.running.is_empty() {
            line += "  ";
            // No line has room for more.
            let names: Vec<&str> = self.running.iter().take(20).map(String::as_str).collect();
            line += &names.join(", ");
        }
        match line.char_indices().nth(self.width - 1) {
            Some((cut, _)) => format!("{}…", &line[..cut]),
            None => line,
        }
    }

    /// Leaves the line empty.
    pub(crate) fn clear(&self) {
        if self.is_terminal && self.drawn.is_some() {
            screen::draw("\r\x1b[2K");
        }
    }
}
