//! The scenarios, one file for each thing under load, and the suites that they belong to.

mod canaries;
mod cancellation;
mod chaos;
mod common;
mod context;
mod correlation;
mod durability;
mod events;
mod failures;
mod fanout;
mod fanout_limits;
mod graphs;
mod interceptors;
mod neighbours;
mod retries;
mod routing;
mod simulator;
mod soak;
mod tenants;

use crate::harness::scenario::Scenario;

/// The suites, and what they are for.
pub(crate) const SUITES: &[(&str, &str)] = &[
    (
        "seeds",
        "what the earlier load tests measured or asked for, with their sizes, ten and a hundred times those",
    ),
    ("daily", "the regression suite of every day, in less than 300 seconds"),
    ("mon", "context and data flow"),
    ("tue", "dependency resolution"),
    ("wed", "interceptors and timeouts"),
    ("thu", "observability"),
    ("fri", "tenants, and runs and answers that outlive their process"),
    ("chaos", "random failures, jitter, clock skew and scarce memory"),
    ("soak", "what grows with repetition"),
];

/// All scenarios, in the order in which they run.
pub(crate) const ALL: &[&[Scenario]] = &[
    // First: memory that others gave back to the allocator would hide a leak.
    soak::SCENARIOS,
    fanout::SCENARIOS,
    fanout_limits::SCENARIOS,
    routing::SCENARIOS,
    routing::FAULTS,
    routing::BREAKER,
    events::SCENARIOS,
    correlation::SCENARIOS,
    cancellation::SCENARIOS,
    failures::SCENARIOS,
    context::SCENARIOS,
    graphs::SCENARIOS,
    interceptors::SCENARIOS,
    tenants::SCENARIOS,
    durability::SCENARIOS,
    neighbours::SCENARIOS,
    canaries::SCENARIOS,
    chaos::SCENARIOS,
    retries::SCENARIOS,
    simulator::SCENARIOS,
];
