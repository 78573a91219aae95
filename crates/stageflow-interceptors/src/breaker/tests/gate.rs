//! The way past the lock: which successes take it, and that none of them is lost.

use std::sync::Arc;

use super::{
    super::{
        BreakerOutcome, Forced,
        gate::Gate,
        rules::{Draft, Rules},
        state::{Machine, Mode, Ticket},
    },
    FAILURE, LEASE, SECOND,
};

fn rules(change: impl FnOnce(&mut Draft)) -> Arc<Rules> {
    let mut draft = Draft::new("test".to_owned());
    draft.jitter = 0.0;
    change(&mut draft);
    Arc::new(draft.check().unwrap())
}

fn gate(change: impl FnOnce(&mut Draft)) -> Gate {
    Gate::new(Machine::new(rules(change), None))
}

fn fails(gate: &Gate, now: u64) {
    let ticket = gate.lock().admit(now, LEASE).0.unwrap();
    gate.lock().record(now, ticket, FAILURE, 0);
}

fn ticket(gate: &Gate) -> Ticket {
    gate.admit_closed(0).expect("it is closed")
}

#[test]
fn successes_go_past_the_lock_and_are_known_to_who_takes_it() {
    let gate = gate(|_| {});
    for _ in 0..30 {
        let ticket = ticket(&gate);
        assert!(gate.count_success(ticket, SECOND));
    }
    let mut locked = gate.lock();
    let totals = locked.totals();
    assert_eq!((totals.admitted, totals.succeeded, locked.tally(SECOND).calls), (30, 30, 30));
}

#[test]
fn a_success_of_a_later_bucket_moves_the_window() {
    let gate = gate(|_| {});
    assert!(gate.count_success(ticket(&gate), 3 * SECOND - 1));
    assert!(!gate.count_success(ticket(&gate), 3 * SECOND));
}

#[test]
fn a_success_that_makes_enough_calls_to_judge_by_opens_it() {
    let gate = gate(|draft| draft.min_calls = Some(2));
    fails(&gate, 0);
    let last = ticket(&gate);
    assert!(!gate.count_success(last, 0), "half of two have failed");
    assert!(gate.lock().record(0, last, BreakerOutcome::Success, 0).is_some());
    assert_eq!(gate.admit_closed(0), None);
}

#[test]
fn with_enough_calls_to_judge_by_failures_do_not_keep_successes_from_it() {
    let gate = gate(|draft| draft.min_calls = Some(3));
    (0..3).for_each(|_| assert!(gate.count_success(ticket(&gate), 0)));
    fails(&gate, 0);
    assert!(gate.count_success(ticket(&gate), 0));
    // Of those that remain when the good ones have left the window, too many have failed.
    assert_eq!(gate.lock().tally(0).calls, 5);
}

#[test]
fn a_share_that_grew_as_others_left_opens_with_the_next_success() {
    let gate = gate(|draft| draft.min_calls = Some(1));
    (0..3).for_each(|_| assert!(gate.count_success(ticket(&gate), 0)));
    fails(&gate, 20 * SECOND);
    fails(&gate, 20 * SECOND);
    // Whoever only looks moves the window: two of two have failed.
    assert_eq!(gate.lock().tally(31 * SECOND).calls, 2);
    let next = ticket(&gate);
    assert!(!gate.count_success(next, 31 * SECOND));
    assert!(gate.lock().record(31 * SECOND, next, BreakerOutcome::Success, 0).is_some());
}

#[test]
fn slow_and_late_successes_do_not_go_past_the_lock() {
    let slow = gate(|draft| draft.slow = Some((std::time::Duration::from_secs(1), 0.5)));
    assert!(slow.count_success(ticket(&slow), SECOND - 1) && !slow.count_success(ticket(&slow), SECOND));

    let gate = gate(|draft| draft.consecutive = Some(1));
    let late = ticket(&gate);
    fails(&gate, 0);
    assert!(matches!(gate.lock().mode(), Mode::Open { .. }));
    assert!(!gate.count_success(late, 0));
    gate.lock().force(0, Some(Forced::Closed));
    gate.lock().force(0, None);
    assert!(!gate.count_success(late, 0), "it is closed once more, and knows nothing of before");
    assert!(gate.count_success(ticket(&gate), 0));
}

#[test]
fn a_success_ends_a_row_of_failures() {
    let gate =
        gate(|draft| (draft.consecutive, draft.failure_rate, draft.min_calls) = (Some(2), None, Some(1)));
    for _ in 0..5 {
        fails(&gate, 0);
        assert!(gate.count_success(ticket(&gate), 0));
    }
    assert_eq!(*gate.lock().mode(), Mode::Closed);
}

#[test]
fn a_count_window_forgets_its_oldest_for_successes_past_the_lock() {
    let gate = gate(|draft| {
        (draft.count_window, draft.min_calls, draft.failure_rate) = (Some(4), Some(1), Some(1.0));
    });
    assert!(gate.count_success(ticket(&gate), 0));
    fails(&gate, 0);
    (0..10).for_each(|_| assert!(gate.count_success(ticket(&gate), 0)));
    let tally = gate.lock().tally(0);
    assert_eq!((tally.calls, tally.failed), (4, 0));
}
