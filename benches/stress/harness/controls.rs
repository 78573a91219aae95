//! Negative controls: each check is seen red under a deliberately broken double, each fault is kept from firing once.
//!
//! A check that no control turns red proves nothing, and fails the command like a control that stays green.

use std::{collections::BTreeSet, fmt};

use anyhow::Result;

use super::{
    bench::Settings,
    record::ScenarioRecord,
    runner,
    scenario::{Scenario, Step},
    stop::Stop,
    verdict::Verdict,
};

/// What became of one control.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) control: String,
    /// The checks, or the verdict, that it has to bring about.
    pub(crate) expected: String,
    pub(crate) result: Outcome,
}

/// Whether a control did what it is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Everything that had to go red did.
    Red,
    /// Without a double, everything holds.
    Green,
    /// Neither, and why.
    Wrong(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Red => f.write_str("red, as it has to be"),
            Self::Green => f.write_str("green, as it has to be"),
            Self::Wrong(why) => write!(f, "WRONG: {why}"),
        }
    }
}

/// Runs all controls of scenarios; `None` if it was stopped before the last one.
pub(crate) fn run(
    scenarios: &[&'static Scenario],
    settings: Settings,
    stop: &Stop,
    mut tell: impl FnMut(&Row),
) -> Result<Option<Vec<Row>>> {
    let settings = Settings { small: true, scale: 1, ..settings };
    let mut rows = Vec::new();
    for scenario in scenarios.iter().filter(|scenario| matches!(scenario.body, Step::Run(_))) {
        let mut planned = vec![(String::new(), settings)];
        planned.extend(
            scenario.controls.iter().map(|control| {
                (control.name.to_owned(), Settings { sabotage: Some(control.name), ..settings })
            }),
        );
        planned.extend(
            scenario.faults.iter().map(|fault| {
                (format!("`{fault}` never fires"), Settings { disarmed: Some(fault), ..settings })
            }),
        );
        for (name, settings) in planned {
            if stop.reason().is_some() {
                return Ok(None);
            }
            runner::progress(&format!("{} {name}", scenario.name));
            let record = runner::run(scenario, settings, stop)?;
            let row = judge(scenario, name, settings, &record);
            runner::progress("");
            tell(&row);
            rows.push(row);
        }
    }
    Ok(Some(rows))
}

fn judge(scenario: &'static Scenario, name: String, settings: Settings, record: &ScenarioRecord) -> Row {
    let row = |control: String, expected: String, result| Row {
        scenario: scenario.name,
        control,
        expected,
        result,
    };
    if settings.disarmed.is_some() {
        let result = match record.verdict {
            Verdict::NotInjected => Outcome::Red,
            other => Outcome::Wrong(format!("the verdict is {other}{}", why(record))),
        };
        return row(name, Verdict::NotInjected.to_string(), result);
    }
    let Some(control) = scenario.controls.iter().find(|control| Some(control.name) == settings.sabotage)
    else {
        let result = without_double(scenario, record);
        return row("nothing broken".to_owned(), Verdict::Pass.to_string(), result);
    };
    let still_green: Vec<&str> =
        control.turns_red.iter().copied().filter(|check| !is_red(record, check)).collect();
    let result = if record.verdict == Verdict::Error {
        // A double that ends the scenario proves nothing about a check.
        Outcome::Wrong(format!("it ended with an error{}", why(record)))
    } else if still_green.is_empty() {
        Outcome::Red
    } else {
        Outcome::Wrong(format!("stayed green: {}", still_green.join(", ")))
    };
    row(name, control.turns_red.join(", "), result)
}

/// Without a double the scenario has to pass, and each of its checks needs a control.
fn without_double(scenario: &Scenario, record: &ScenarioRecord) -> Outcome {
    if record.verdict != Verdict::Pass {
        return Outcome::Wrong(format!("the verdict is {}{}", record.verdict, why(record)));
    }
    let controlled: BTreeSet<&str> =
        scenario.controls.iter().flat_map(|control| control.turns_red.iter().copied()).collect();
    let checks: BTreeSet<&str> = record.checks.iter().map(|check| check.name.as_str()).collect();
    let without: Vec<&str> = checks.difference(&controlled).copied().collect();
    if without.is_empty() {
        Outcome::Green
    } else {
        Outcome::Wrong(format!("no control for: {}", without.join(", ")))
    }
}

fn is_red(record: &ScenarioRecord, check: &str) -> bool {
    record.checks.iter().any(|seen| seen.name == check && !seen.pass)
}

/// The reason, or the first check that does not hold.
fn why(record: &ScenarioRecord) -> String {
    let failed = record.checks.iter().find(|check| !check.pass);
    let failed = failed.map(|check| format!("{} {}: {} seen", check.name, check.case, check.seen));
    record.reason.clone().or(failed).map_or_else(String::new, |why| format!(" ({why})"))
}

#[cfg(test)]
mod tests;
