//! The breaker, as its users have it, against a reference state machine that was written from its documentation alone.

mod machine;
mod transitions;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestRunner},
};
use proptest_state_machine::{ReferenceStateMachine as _, StateMachineTest};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, advance},
};

use self::machine::{Answer, End, Phase, Reference, Settings, Transition};
use super::super::{
    BreakerKey, BreakerOutcome, BreakerPermit, BreakerReason, BreakerState, CircuitBreaker, Forced,
};

/// The breaker, its clock, and the calls under way, in the order in which they were admitted.
struct Running {
    /// Its clock is paused.
    runtime: Runtime,
    began: Instant,
    breaker: CircuitBreaker,
    key: BreakerKey,
    calls: BTreeMap<usize, BreakerPermit>,
}

fn built(settings: &Settings) -> CircuitBreaker {
    let mut builder = CircuitBreaker::builder("search").jitter(0.0).probes(settings.probes);
    builder = match settings.failure_share {
        Some(share) => builder.failure_rate(share),
        None => builder.no_failure_rate(),
    };
    if let Some((time, share)) = settings.slow {
        builder = builder.slow_calls(millis(time), share);
    }
    if let Some(failures) = settings.in_a_row {
        builder = builder.consecutive(failures);
    }
    if let Some(calls) = settings.last_calls {
        builder = builder.count_window(calls);
    }
    if let Some(time) = settings.last_time {
        builder = builder.time_window(millis(time));
    }
    if !settings.hints {
        builder = builder.ignore_hints();
    }
    let builder = builder.min_calls(settings.least).probe_lease(millis(settings.lease));
    builder.open_for(millis(settings.open)).max_open(millis(settings.longest)).build().unwrap()
}

fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

type Wrong = fn(&mut Settings);

/// How often what happened.
type Seen = Arc<Mutex<BTreeMap<&'static str, u32>>>;

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
    /// What a control changes in the breaker and not in the reference.
    static WRONG: RefCell<Option<Wrong>> = const { RefCell::new(None) };
}

fn saw(what: &'static str) {
    SEEN.with_borrow(|seen| *seen.lock().unwrap().entry(what).or_default() += 1);
}

struct Compare;

impl StateMachineTest for Compare {
    type SystemUnderTest = Running;
    type Reference = Reference;

    fn init_test(reference: &Reference) -> Running {
        let mut settings = reference.settings.clone();
        if let Some(wrong) = WRONG.with_borrow(|wrong| *wrong) {
            wrong(&mut settings);
        }
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (began, breaker) = runtime.block_on(async { (Instant::now(), built(&settings)) });
        let key = breaker.key(None);
        Running { runtime, began, breaker, key, calls: BTreeMap::new() }
    }

    fn apply(mut running: Running, reference: &Reference, transition: Transition) -> Running {
        let _clock = running.runtime.enter();
        match transition {
            Transition::Pass(time) => running.runtime.block_on(advance(millis(time))),
            Transition::Ask => match running.breaker.try_acquire(&running.key, Instant::now()) {
                Ok(permit) => {
                    assert_eq!(reference.answer, Some(Answer::Admitted { probe: permit.is_probe() }));
                    running.calls.insert(reference.calls.len() - 1, permit);
                }
                Err(open) => {
                    let after = open.retry_after();
                    assert_eq!(reference.answer, Some(Answer::Refused(after.map(|after| after.as_millis()))));
                }
            },
            Transition::End(call, end) => {
                let permit = running.calls.remove(&call).unwrap();
                let outcome = match end {
                    End::Answered => BreakerOutcome::Success,
                    End::Failed => BreakerOutcome::Failure { retry_after: None },
                    End::FailedFor(time) => BreakerOutcome::Failure { retry_after: Some(millis(time)) },
                    End::SaidNothing => BreakerOutcome::Neutral,
                    End::Dropped => {
                        drop(permit);
                        return running;
                    }
                };
                let change = permit.record(outcome).map(|change| change.reason);
                assert_eq!(change.is_some(), !reference.reasons.is_empty(), "{change:?}");
                assert!(change.is_none_or(|reason| reference.reasons.contains(&reason)), "{change:?}");
            }
            Transition::Force(forced) => drop(match forced {
                Some(forced) => running.breaker.force(&running.key, forced),
                None => running.breaker.release(&running.key),
            }),
        }
        running
    }

    fn check_invariants(running: &Running, reference: &Reference) {
        let _clock = running.runtime.enter();
        let expected = match reference.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { until } => BreakerState::Open { until: running.began + millis(until) },
            Phase::HalfOpen => BreakerState::HalfOpen,
            Phase::Told(forced) => BreakerState::Forced(forced),
        };
        assert_eq!(running.breaker.state(&running.key), expected);
        assert_eq!(running.began.elapsed(), millis(reference.now));
        if let Some(known) = running.breaker.snapshot().first() {
            let counts =
                (known.totals.admitted, known.totals.rejected, known.totals.late, known.totals.opened);
            assert_eq!(
                counts,
                (reference.calls.len() as u64, reference.refused, reference.late, reference.opened)
            );
        }
        for event in reference.happened() {
            saw(event);
        }
    }
}

/// Runs so many random stories; the seed is fixed.
fn stories(cases: u32) -> Result<(), String> {
    let is_control = WRONG.with_borrow(Option::is_some);
    let mut config =
        Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(25), ..Config::default() };
    if is_control {
        config.max_shrink_iters = 0;
    }
    let mut runner = TestRunner::new(config.clone());
    let run = runner.run(&Reference::sequential_strategy(1..150), |(reference, transitions, seen)| {
        // What nobody will shrink need not be counted.
        let seen = seen.filter(|_| !is_control);
        let run = || Compare::test_sequential(config.clone(), reference, transitions, seen);
        catch_unwind(AssertUnwindSafe(run)).map_err(|_| TestCaseError::fail("they differ"))
    });
    run.map_err(|error| error.to_string())
}

/// S-25.
#[test]
fn s_25_the_breaker_does_what_the_reference_does() {
    stories(600).unwrap();
    // None of what the stories are about is missing in them.
    let seen = SEEN.with_borrow(|seen| seen.lock().unwrap().clone());
    let events = [
        "opened",
        "half-open",
        "closed again",
        "opened again by a probe",
        "a late result",
        "a late success while open",
        "a probe was dropped",
        "a probe hangs beyond its lease",
        "a hung probe counts",
        "told",
        "released",
        "opened by slow calls",
        "opened by a hint",
        "refused half-open",
        "opened for longer",
    ];
    for event in events {
        assert!(seen.get(event).is_some_and(|count| *count >= 20), "{event}: {:?}", seen.get(event));
    }
}

/// The check itself: a breaker that is off by one anywhere is found out.
#[test]
fn control_a_breaker_that_is_off_by_one_is_found_out() {
    let wrongs: [(&str, Wrong); 8] = [
        ("probes", |settings| settings.probes += 1),
        ("consecutive", |settings| settings.in_a_row = settings.in_a_row.map(|most| most + 1)),
        ("open", |settings| settings.open += 1),
        ("longest", |settings| settings.longest = settings.open),
        ("least", |settings| settings.least += 1),
        ("lease", |settings| settings.lease += 1),
        ("slow", |settings| settings.slow = settings.slow.map(|(time, share)| (time + 1, share))),
        ("hints", |settings| settings.hints = !settings.hints),
    ];
    for (what, wrong) in wrongs {
        WRONG.set(Some(wrong));
        assert!(stories(400).is_err(), "{what}");
    }
    WRONG.set(None);
    assert_eq!(stories(50), Ok(()));
}

/// Used by the transitions.
fn forced() -> impl Strategy<Value = Option<Forced>> {
    let forced = prop_oneof![Just(Forced::Open), Just(Forced::Closed), Just(Forced::Disabled)];
    prop_oneof![forced.prop_map(Some), Just(None)]
}

/// For the reference, which gives the reasons that hold.
type Reasons = Vec<BreakerReason>;
