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
    let (two, items) = lane.take(2, Duration::ZERO).expect("there is a batch");
    assert_eq!((items, lane.account().in_flight), (vec![0, 1], 5));
    let (one, items) = lane.take(1, Duration::ZERO).expect("there is a batch");
    assert_eq!(items, [2]);
    // What is under way takes room, or a slow collector would have any number of requests.
    lane.push([9], 100);
    assert_eq!(lane.account().dropped_full, 4);
    lane.arrived(two, 1);
    lane.lost(one, LossReason::Unreachable);
    adds_up(&lane);
    let account = lane.account();
    assert_eq!(
        (account.exported, account.rejected, account.dropped_unreachable, account.in_flight),
        (1, 1, 1, 2)
    );
    let (late, _) = lane.take(2, Duration::ZERO).expect("there is a batch");
    assert_eq!(lane.write_off(), 2);
    assert_eq!(lane.push([7, 8], 100), 2);
    // An answer that comes after all was written off changes nothing.
    lane.arrived(late, 0);
    adds_up(&lane);
    assert_eq!((lane.account().dropped_shutdown, lane.account().in_flight), (4, 0));
}

#[test]
fn a_batch_leaves_when_it_is_full_or_old_or_urgent() {
    let lane = Lane::new(100);
    let take = || lane.take(3, LONG).map(|(_, items)| items);
    assert_eq!(take(), Err(None));
    lane.push([1, 2], 3);
    assert!(take().is_err_and(|wait| wait.is_some_and(|wait| wait <= LONG)));
    assert_eq!(lane.take(3, Duration::ZERO).map(|(_, items)| items), Ok(vec![1, 2]), "old");
    lane.push([3, 4, 5, 6], 3);
    assert_eq!(take(), Ok(vec![3, 4, 5]), "full");
    assert!(take().is_err());
    lane.hurry(true);
    assert_eq!(take(), Ok(vec![6]), "urgent");
}

/// The law holds for the sums that metrics show, too.
#[test]
fn the_results_of_an_account_are_all_that_has_left() {
    let lane = Lane::new(3);
    lane.push(0..9, 100);
    let (two, _) = lane.take(2, Duration::ZERO).expect("there is a batch");
    let (one, _) = lane.take(1, Duration::ZERO).expect("there is a batch");
    lane.arrived(two, 1);
    lane.lost(one, LossReason::Refused);
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

/// Who waits for what was offered before waits for all of that, in whatever order it leaves, and for nothing that came later.
#[test]
fn what_comes_later_is_no_reason_to_wait() {
    let lane = Lane::new(100);
    lane.push(0..4, 2);
    let (first, _) = lane.take(2, LONG).expect("there is a batch");
    let mut settled = std::pin::pin!(lane.settled());
    let mut is_settled = || {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        settled.as_mut().poll(&mut cx).is_ready()
    };
    assert!(!is_settled());
    lane.push(4..8, 2);
    let (second, _) = lane.take(2, LONG).expect("there is a batch");
    let (third, _) = lane.take(2, LONG).expect("there is a batch");
    lane.arrived(third, 0);
    lane.lost(second, LossReason::Refused);
    assert!(!is_settled(), "the first is under way");
    lane.arrived(first, 0);
    assert!(is_settled());
    assert_eq!(lane.account().in_flight, 2);
}
