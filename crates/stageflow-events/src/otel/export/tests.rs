//! The lane: its account at every step, and what leaves when.

use std::time::Duration;

use super::*;
use crate::otel::account::LossReason;

const LONG: Duration = Duration::from_secs(3_600);

fn adds_up<T>(lane: &Lane<T>) {
    let account = lane.account();
    assert_eq!(account.offered, account.exported + account.lost() + account.in_flight, "{account:?}");
}

#[test]
fn a_lane_counts_what_it_takes_and_what_it_drops() {
    let lane = Lane::new(5);
    assert_eq!(lane.push(0..8, 100), 0);
    assert_eq!((lane.account().in_flight, lane.account().dropped_full), (5, 3));
    let batch = lane.take(2, Duration::ZERO).expect("there is a batch");
    assert_eq!((batch, lane.account().in_flight), (vec![0, 1], 5));
    // What is under way takes room, or a slow collector would have any number of requests.
    lane.push([9], 100);
    assert_eq!(lane.account().dropped_full, 4);
    lane.arrived(2, 1);
    lane.lost(1, LossReason::Unreachable);
    adds_up(&lane);
    let account = lane.account();
    assert_eq!(
        (account.exported, account.rejected, account.dropped_unreachable, account.in_flight),
        (1, 1, 1, 2)
    );
    assert_eq!(lane.write_off(), 2);
    assert_eq!(lane.push([7, 8], 100), 2);
    // An answer that comes after all was written off changes nothing.
    lane.arrived(2, 0);
    adds_up(&lane);
    assert_eq!((lane.account().dropped_shutdown, lane.account().in_flight), (4, 0));
}

#[test]
fn a_batch_leaves_when_it_is_full_or_old_or_urgent() {
    let lane = Lane::new(100);
    assert_eq!(lane.take(3, LONG), Err(None));
    lane.push([1, 2], 3);
    assert!(lane.take(3, LONG).is_err_and(|wait| wait.is_some_and(|wait| wait <= LONG)));
    assert_eq!(lane.take(3, Duration::ZERO), Ok(vec![1, 2]), "old");
    lane.push([3, 4, 5, 6], 3);
    assert_eq!(lane.take(3, LONG), Ok(vec![3, 4, 5]), "full");
    assert!(lane.take(3, LONG).is_err());
    lane.hurry(true);
    assert_eq!(lane.take(3, LONG), Ok(vec![6]), "urgent");
}

/// The law holds for the sums that metrics show, too.
#[test]
fn the_results_of_an_account_are_all_that_has_left() {
    let lane = Lane::new(3);
    lane.push(0..9, 100);
    lane.arrived(2, 1);
    lane.lost(1, LossReason::Refused);
    let account = lane.account();
    assert_eq!(
        account.results().iter().map(|(_, count)| count).sum::<u64>() + account.in_flight,
        account.offered
    );
}

#[test]
fn a_loss_is_told_at_once_and_then_in_sums() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let mut reporter =
        Reporter::new(Arc::new(move |loss: &Loss| seen.lock().expect("it does not panic").push(loss.count)));
    let loss =
        |count| Loss { signal: Signal::Traces, reason: LossReason::QueueFull, count, detail: String::new() };
    for count in [3, 4, 5] {
        report::tell(reporter.note(loss(count)));
    }
    report::tell(reporter.note(Loss { reason: LossReason::Refused, ..loss(1) }));
    assert_eq!(*told.lock().expect("it does not panic"), [3, 1]);
    report::tell(reporter.rest());
    report::tell(reporter.rest());
    assert_eq!(*told.lock().expect("it does not panic"), [3, 1, 9]);
}
