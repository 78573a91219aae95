//! The report of a run: each gate with its outcome and duration, and the table at the end.

use crate::shell::Stopwatch;
use anyhow::Result;
use std::time::Duration;

/// How a gate ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pass,
    Fail(String),
    /// Known and accepted not to be checked here; does not turn the report red.
    NotChecked(String),
    /// Should have been checked and could not be, for want of a tool; turns the report red in CI.
    Missing(String),
}

/// Gates in the order they ran.
pub(crate) struct Report {
    rows: Vec<Row>,
    in_ci: bool,
}

struct Row {
    gate: String,
    outcome: Outcome,
    took: Duration,
}

impl Report {
    /// A report that is as strict as the environment asks: `CI=true` makes a missing tool a failure.
    pub(crate) fn from_env() -> Self {
        Self::new(std::env::var("CI").is_ok_and(|value| value == "true" || value == "1"))
    }

    fn new(in_ci: bool) -> Self {
        Self { rows: Vec::new(), in_ci }
    }

    /// Runs one gate between a headline and a closing line. A gate that cannot run has failed, and the others still run.
    pub(crate) fn gate(&mut self, gate: &str, check: impl FnOnce() -> Result<Outcome>) {
        println!("\n== {gate}");
        let watch = Stopwatch::start();
        let outcome = check().unwrap_or_else(|error| Outcome::Fail(format!("{error:#}")));
        let took = watch.elapsed();
        println!("== {gate}, {}: {}", seconds(took), self.verdict(&outcome));
        self.rows.push(Row { gate: gate.to_owned(), outcome, took });
    }

    /// Adds a gate that was left out on purpose, with the reason.
    pub(crate) fn not_checked(&mut self, gate: &str, reason: &str) {
        let outcome = Outcome::NotChecked(reason.to_owned());
        self.rows.push(Row { gate: gate.to_owned(), outcome, took: Duration::ZERO });
    }

    /// Prints the table; true if no gate failed.
    pub(crate) fn finish(self) -> bool {
        print!("\n{}", self.table());
        self.is_green()
    }

    fn is_green(&self) -> bool {
        self.rows.iter().all(|row| !self.is_red(&row.outcome))
    }

    fn is_red(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Pass | Outcome::NotChecked(_) => false,
            Outcome::Fail(_) => true,
            Outcome::Missing(_) => self.in_ci,
        }
    }

    fn verdict(&self, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Pass => "PASS".to_owned(),
            Outcome::Fail(reason) => format!("FAIL: {reason}"),
            Outcome::NotChecked(reason) => format!("NOT CHECKED: {reason}"),
            Outcome::Missing(reason) if self.in_ci => format!("FAIL: NOT CHECKED: {reason}"),
            Outcome::Missing(reason) => format!("NOT CHECKED: {reason}"),
        }
    }

    fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.gate.len()).max().unwrap_or(0);
        let mut text = String::new();
        for Row { gate, outcome, took } in &self.rows {
            // The first line of a reason says it; the rest was printed when the gate ended.
            let verdict = self.verdict(outcome);
            let verdict = verdict.lines().next().unwrap_or_default();
            text.push_str(&format!("{gate:<width$}  {:>8}  {verdict}\n", seconds(*took)));
        }
        let red = self.rows.iter().filter(|row| self.is_red(&row.outcome)).count();
        let passed = self.rows.iter().filter(|row| row.outcome == Outcome::Pass).count();
        let open = self.rows.len() - red - passed;
        let took = seconds(self.rows.iter().map(|row| row.took).sum());
        text.push_str(&format!("{passed} passed, {red} failed, {open} not checked, in {took}\n"));
        text
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1}s", took.as_secs_f64())
}

#[cfg(test)]
mod tests;
