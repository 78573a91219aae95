//! Scenarios that need policies which the engine does not have yet. They are listed, and never pass.

use crate::harness::scenario::{Scenario, Step};

/// The issue that brings retries, breakers and adaptive limits.
const POLICIES: u32 = 4;

const fn later(
    name: &'static str,
    suites: &'static [&'static str],
    answers: &'static [&'static str],
    about: &'static str,
    parameters: &'static str,
) -> Scenario {
    let body = Step::NotBuilt { issue: POLICIES };
    Scenario { name, suites, answers, about, parameters, faults: &[], controls: &[], body }
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    later(
        "retry.backoff",
        &["seeds", "wed"],
        &["SEED4-1", "SEED4-2", "SEED4-3", "SEED4-4", "SEED4-5", "SEED4-15"],
        "Delays follow the formulas of their jitter, and calculating one takes less than 1 µs.",
        "none, full, equal and decorrelated jitter",
    ),
    later(
        "retry.by_default",
        &["seeds", "wed"],
        &["SEED4-7", "SEED4-8", "SEED4-11", "SEED4-14", "SEED4-16"],
        "A stage that asks for a retry gets it by default; permanent failures are not tried again.",
        "transient, permanent and exhausted attempts",
    ),
    later(
        "retry.clients",
        &["seeds"],
        &["SEED4-6", "SEED4-12"],
        "Clients that retry at the same time all succeed.",
        "5, 50 and 1,000 clients",
    ),
    later(
        "retry.herd",
        &["seeds"],
        &["SEED4-6", "SEED4-13"],
        "Jitter spreads the attempts of many clients after a common failure.",
        "1,000 clients, peak and mean of the arrivals",
    ),
    later(
        "breaker.recovery",
        &["seeds", "chaos"],
        &["SEED0-21", "SEED0-28", "SEED4-24"],
        "A breaker opens after failures, lets probes through, and closes when they succeed.",
        "opens after 5 failures for 1,000 ms, closes after 3 successes",
    ),
    later(
        "routing.breaker",
        &["seeds"],
        &["SEED0-21", "SEED0-34"],
        "A route whose breaker is open is not taken, and is taken again after it has recovered.",
        "the four routes, one of them down",
    ),
];
