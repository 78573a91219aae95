//! The record of a campaign, as it stands in the JSON file. Reports know nothing else.

use serde::{Deserialize, Serialize};
use stageflow_benches::machine;

use super::{lag::Histogram, stats::Summary, verdict::Verdict};

/// Counts up when a field changes its meaning.
pub(crate) const SCHEMA: u32 = 1;

/// A campaign: one call of the command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) schema: u32,
    pub(crate) run_id: String,
    pub(crate) command: String,
    pub(crate) seed: u64,
    pub(crate) scale: u64,
    pub(crate) commit: String,
    pub(crate) machine: Machine,
    /// In universal time.
    pub(crate) started: String,
    pub(crate) seconds: f64,
    /// Why it ended before its end, if it did.
    pub(crate) partial: Option<String>,
    /// Scenarios that were asked for and never began.
    pub(crate) not_run: Vec<String>,
    pub(crate) summary: Counts,
    pub(crate) scenarios: Vec<ScenarioRecord>,
}

/// On what it ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    pub(crate) optimised: bool,
}

impl Machine {
    pub(crate) fn look() -> Self {
        Self {
            processor: machine::processor(),
            cores: machine::cores(),
            kernel: machine::kernel(),
            rustc: machine::compiler(),
            optimised: !cfg!(debug_assertions),
        }
    }
}

/// How many scenarios have each verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) pass: usize,
    pub(crate) fail: usize,
    pub(crate) not_injected: usize,
    pub(crate) error: usize,
    pub(crate) not_built: usize,
}

impl Counts {
    pub(crate) fn of(scenarios: &[ScenarioRecord]) -> Self {
        let count = |verdict| scenarios.iter().filter(|scenario| scenario.verdict == verdict).count();
        Self {
            pass: count(Verdict::Pass),
            fail: count(Verdict::Fail),
            not_injected: count(Verdict::NotInjected),
            error: count(Verdict::Error),
            not_built: count(Verdict::NotBuilt),
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pass, fail, not_injected, error, not_built } = self;
        write!(f, "{pass} passed, {fail} failed, {not_injected} not injected, {error} errors, ")?;
        write!(f, "{not_built} not built yet")
    }
}

/// One scenario of a campaign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScenarioRecord {
    pub(crate) name: String,
    pub(crate) suites: Vec<String>,
    /// The findings that it answers.
    pub(crate) answers: Vec<String>,
    pub(crate) about: String,
    pub(crate) parameters: String,
    pub(crate) verdict: Verdict,
    /// Why it did not come to its end, or which issue brings what it needs.
    pub(crate) reason: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) checks: Vec<Check>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) lag: Option<Histogram>,
}

/// Something that had to be so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    /// Of which size, seed or kind; empty if there is only one.
    pub(crate) case: String,
    pub(crate) expected: String,
    pub(crate) seen: String,
    pub(crate) pass: bool,
}

/// A fault, and how often it fired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) name: String,
    pub(crate) count: u64,
}

/// Figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) name: String,
    pub(crate) case: String,
    pub(crate) unit: String,
    /// Where it stands in a plot: a number of stages, or of runs at a time.
    pub(crate) x: Option<f64>,
    pub(crate) plot: Option<Plot>,
    /// The figures themselves. Of a time, only the part that the framework took.
    pub(crate) framework: Summary,
    /// The part of each time that the scenario itself injected.
    pub(crate) injected: f64,
}

/// The plots of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Plot {
    Throughput,
    Latency,
    Memory,
}

/// What became of the events meant for a sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) case: String,
    pub(crate) emitted: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
    pub(crate) in_flight: u64,
}
