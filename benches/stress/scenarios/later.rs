//! Scenarios that need policies which the engine does not have yet. They are listed, and never pass.

use crate::harness::scenario::{Scenario, Step};

/// The issue that brings routers.
const ROUTERS: u32 = 6;

const fn later(
    name: &'static str,
    suites: &'static [&'static str],
    answers: &'static [&'static str],
    about: &'static str,
    parameters: &'static str,
) -> Scenario {
    let body = Step::NotBuilt { issue: ROUTERS };
    Scenario { name, suites, answers, about, parameters, faults: &[], controls: &[], body }
}

pub(crate) const SCENARIOS: &[Scenario] = &[later(
    "routing.breaker",
    &["seeds"],
    &["SEED0-21", "SEED0-34"],
    "A route whose breaker is open is not taken, and is taken again after it has recovered.",
    "the four routes, one of them down",
)];
