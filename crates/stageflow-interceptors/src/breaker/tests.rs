//! The breaker as a table, against a model, under threads, and around the stages of running pipelines.

use std::{sync::Arc, time::Duration};

use stageflow_core::{DurationExt, ErrorClass, StageExit, StageResult};

use super::{
    BreakerOutcome, CircuitBreaker, CircuitBreakerBuilder,
    rules::{Draft, Rules},
    state::{Machine, Ticket},
};

mod gate;
mod keys;
mod model;
mod reference;
mod rules;
mod running;
mod stages;
mod table;
mod waiting;
mod windows;

const SECOND: u64 = 1_000_000_000;
const LEASE: Duration = Duration::from_secs(60);
const FAILURE: BreakerOutcome = BreakerOutcome::Failure { retry_after: None };

/// What the drafts of tests begin with: one failure opens for exactly 10 s, two probes close.
fn strict(change: impl FnOnce(&mut Draft)) -> Arc<Rules> {
    let mut draft = Draft::new("test".to_owned());
    (draft.consecutive, draft.jitter, draft.probes) = (Some(1), 0.0, 2);
    change(&mut draft);
    Arc::new(draft.check().unwrap())
}

/// A breaker that one failure opens for exactly 10 s, and two probes close.
fn touchy() -> CircuitBreakerBuilder {
    CircuitBreaker::builder("search").consecutive(1).jitter(0.0).probes(2)
}

/// Admits a call or fails the test.
#[track_caller]
fn admitted(machine: &mut Machine, now: u64) -> Ticket {
    machine.admit(now, LEASE).0.expect("it is admitted")
}

fn failed(class: ErrorClass) -> StageResult<()> {
    Err(StageExit::fail("down").class(class))
}

/// Rule S-25.
#[test]
fn outcomes_count_as_what_they_say_about_the_dependency() {
    let later = Some(2.secs());
    let table: [(StageResult<()>, BreakerOutcome); 12] = [
        (Ok(()), BreakerOutcome::Success),
        (failed(ErrorClass::Permanent), BreakerOutcome::Success),
        (failed(ErrorClass::Invalid), BreakerOutcome::Success),
        (failed(ErrorClass::Transient), FAILURE),
        (failed(ErrorClass::Unclassified), FAILURE),
        (failed(ErrorClass::Timeout), FAILURE),
        (failed(ErrorClass::Panic), FAILURE),
        (Err(StageExit::retry("busy")), FAILURE),
        (Err(StageExit::retry("busy").after(2.secs())), BreakerOutcome::Failure { retry_after: later }),
        (Err(StageExit::cancel("enough")), BreakerOutcome::Neutral),
        (Err(StageExit::skip("cached")), BreakerOutcome::Neutral),
        (Err(StageExit::deny("not yours")), BreakerOutcome::Neutral),
    ];
    for (end, outcome) in table {
        assert_eq!(BreakerOutcome::of(&end), outcome, "{end:?}");
    }
}
