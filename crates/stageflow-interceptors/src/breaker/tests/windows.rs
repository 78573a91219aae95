//! What opens it: each rule alone, and for how long.

use super::{
    super::{
        BreakerOutcome, BreakerReason, Forced,
        rules::{Draft, Rules},
        state::{Change, Machine, Mode, To},
        window::{CountWindow, TimeWindow},
    },
    FAILURE, SECOND, admitted,
};
use proptest::prelude::*;
use stageflow_core::DurationExt;
use std::sync::Arc;

/// The usual rules with some changed, and without jitter.
fn usual(change: impl FnOnce(&mut Draft)) -> Machine {
    let mut draft = Draft::new("test".to_owned());
    draft.jitter = 0.0;
    change(&mut draft);
    Machine::new(Arc::new(draft.check().unwrap()), None)
}

/// One call that takes a while; gives what it changed.
fn call(machine: &mut Machine, at: u64, took: u64, outcome: BreakerOutcome) -> Option<Change> {
    let ticket = admitted(machine, at);
    machine.record(at + took, ticket, outcome, 0)
}

fn reason(change: Option<Change>) -> Option<BreakerReason> {
    change.map(|change| change.reason)
}

#[test]
fn half_of_twenty_calls_within_thirty_seconds_open_it() {
    let mut machine = usual(|_| {});
    for second in 0..19 {
        let outcome = if second % 2 == 0 { FAILURE } else { BreakerOutcome::Success };
        assert_eq!(call(&mut machine, second * SECOND, 0, outcome), None, "{second}: nineteen are too few");
    }
    let open = call(&mut machine, 19 * SECOND, 0, BreakerOutcome::Success).unwrap();
    assert_eq!(open, Change { to: To::Open { until: 29 * SECOND }, reason: BreakerReason::FailureRate });
}

#[test]
fn what_is_older_than_the_window_does_not_count() {
    let mut machine = usual(|_| {});
    for _ in 0..19 {
        assert_eq!(call(&mut machine, 0, 0, FAILURE), None);
    }
    assert_eq!(call(&mut machine, 30 * SECOND, 0, FAILURE), None);
    assert_eq!(machine.tally(30 * SECOND).calls, 1);
}

/// A clock that goes back stands still: what was counted at the later time stays in the window, and comes into it once.
#[test]
fn time_that_goes_back_neither_loses_calls_nor_counts_them_twice() {
    let mut window = TimeWindow::new(10 * SECOND);
    window.add(15 * SECOND, true, false);
    window.add(3 * SECOND, true, false);
    assert_eq!((window.tally(3 * SECOND).calls, window.tally(15 * SECOND).calls), (2, 2));
    window.add(24 * SECOND, true, false);
    assert_eq!(window.tally(24 * SECOND).calls, 3);
    assert_eq!((window.tally(25 * SECOND).calls, window.tally(34 * SECOND).calls), (1, 0));
}

#[test]
fn a_count_window_replaces_the_usual_one_and_forgets_the_oldest_call() {
    let mut machine = usual(|draft| draft.count_window = Some(4));
    for (hour, outcome) in [FAILURE, BreakerOutcome::Success, BreakerOutcome::Success].into_iter().enumerate()
    {
        assert_eq!(call(&mut machine, hour as u64 * 3_600 * SECOND, 0, outcome), None);
    }
    assert_eq!(call(&mut machine, 4 * 3_600 * SECOND, 0, BreakerOutcome::Success), None, "one of four");
    assert_eq!(
        call(&mut machine, 5 * 3_600 * SECOND, 0, FAILURE),
        None,
        "one of four: the first is forgotten"
    );
    let open = call(&mut machine, 6 * 3_600 * SECOND, 0, FAILURE);
    assert_eq!(reason(open), Some(BreakerReason::FailureRate), "two of four");
}

#[test]
fn failures_in_a_row_open_it_and_a_success_in_between_does_not_let_them() {
    let mut machine = usual(|draft| draft.consecutive = Some(3));
    for outcome in [FAILURE, FAILURE, BreakerOutcome::Success, FAILURE, BreakerOutcome::Neutral, FAILURE] {
        assert_eq!(call(&mut machine, 0, 0, outcome), None);
    }
    assert_eq!(reason(call(&mut machine, 0, 0, FAILURE)), Some(BreakerReason::Consecutive));
}

#[test]
fn slow_calls_open_it_and_slow_probes_do_not_close_it() {
    let slow = |draft: &mut Draft| (draft.slow, draft.min_calls) = (Some((2.secs(), 0.5)), Some(4));
    let mut machine = usual(slow);
    for took in [1, 2, 1] {
        assert_eq!(call(&mut machine, 0, took * SECOND, BreakerOutcome::Success), None);
    }
    let open = call(&mut machine, 0, 2 * SECOND, BreakerOutcome::Success);
    assert_eq!(reason(open), Some(BreakerReason::SlowCalls));
    for took in [1, 2] {
        assert_eq!(call(&mut machine, 20 * SECOND, took * SECOND, BreakerOutcome::Success), None);
    }
    let open = call(&mut machine, 20 * SECOND, 2 * SECOND, BreakerOutcome::Success);
    assert_eq!(reason(open), Some(BreakerReason::SlowCalls));
    let closed =
        [1, 1, 2].map(|took| call(&mut machine, 60 * SECOND, took * SECOND, BreakerOutcome::Success));
    assert_eq!(reason(closed[2]), Some(BreakerReason::ProbesSucceeded), "a third is not a half");
}

#[test]
fn a_hint_opens_until_then_but_no_longer_than_the_longest() {
    let hint = |after| BreakerOutcome::Failure { retry_after: Some(after) };
    for (after, until) in [(7.secs(), 7), (3_600.secs(), 300)] {
        let open = call(&mut usual(|_| {}), 0, 0, hint(after)).unwrap();
        assert_eq!(open, Change { to: To::Open { until: until * SECOND }, reason: BreakerReason::Hint });
    }
    assert_eq!(call(&mut usual(|_| {}), 0, 0, hint(0.secs())), None, "now is no time to wait for");
    assert_eq!(call(&mut usual(|draft| draft.follows_hints = false), 0, 0, hint(7.secs())), None);
}

/// Opens for 10 s, 20 s, 40 s … while the probes fail or it relapses, and for 10 s once it has been well for that long.
#[test]
fn the_open_time_doubles_up_to_the_longest_and_begins_anew_once_it_is_well() {
    let mut machine = usual(|draft| draft.consecutive = Some(1));
    let mut now = 0;
    let open = |machine: &mut Machine, now: &mut u64| {
        assert!(call(machine, *now, 0, FAILURE).is_some());
        let Mode::Open { until } = machine.mode() else { panic!("it is open") };
        let span = (until - *now) / SECOND;
        *now = *until;
        span
    };
    let spans = [(); 7].map(|()| open(&mut machine, &mut now));
    assert_eq!(spans, [10, 20, 40, 80, 160, 300, 300]);
    for (well, span) in [(299, 300), (300, 10), (0, 20)] {
        let _closed = [(); 3].map(|()| call(&mut machine, now, 0, BreakerOutcome::Success));
        assert_eq!(*machine.mode(), Mode::Closed);
        now += well * SECOND;
        assert_eq!(open(&mut machine, &mut now), span, "after {well} s");
    }
}

#[test]
fn disabled_it_counts_and_closed_by_force_it_does_not() {
    for (forced, calls) in [(Forced::Disabled, 30), (Forced::Closed, 0)] {
        let mut machine = usual(|draft| draft.consecutive = Some(1));
        machine.force(0, Some(forced));
        for _ in 0..30 {
            assert_eq!(call(&mut machine, 0, 0, FAILURE), None);
        }
        assert_eq!((machine.tally(0).failed, machine.totals().failed), (calls, 30), "{forced:?}");
    }
}

fn spans(jitter: f64) -> Rules {
    let mut draft = Draft::new("test".to_owned());
    draft.jitter = jitter;
    draft.check().unwrap()
}

proptest! {
    #[test]
    fn the_jitter_keeps_within_its_share_and_the_longest(trips in 1_u32..80, random: u64) {
        let exact = spans(0.0).open_span(trips, random) as f64;
        let span = spans(0.2).open_span(trips, random) as f64;
        prop_assert!(span >= exact * 0.8 - 1.0 && span <= exact * 1.2 + 1.0);
        prop_assert!(span <= 300.0 * SECOND as f64);
        prop_assert!(exact >= 10.0 * SECOND as f64);
    }

    #[test]
    fn windows_hold_what_a_list_of_all_calls_holds(
        size in 1_u32..12,
        calls in prop::collection::vec((0_u64..40, any::<bool>(), any::<bool>()), 0..60),
    ) {
        let (mut by_count, mut by_time) = (CountWindow::new(size), TimeWindow::new(100));
        let (mut all, mut now) = (Vec::new(), 0);
        for (passed, failed, slow) in calls {
            now += passed;
            all.push((now, failed, slow));
            by_count.add(failed, slow);
            by_time.add(now, failed, slow);
            let of = |calls: Vec<&(u64, bool, bool)>| {
                let count = |which: fn(&(u64, bool, bool)) -> bool| calls.iter().filter(|call| which(call)).count();
                (calls.len(), count(|call| call.1), count(|call| call.2))
            };
            let last = of(all.iter().rev().take(size as usize).collect());
            let recent = of(all.iter().filter(|call| call.0 / 10 + 10 > now / 10).collect());
            for (held, expected) in [(by_count.tally(), last), (by_time.tally(now), recent)] {
                prop_assert_eq!((held.calls as usize, held.failed as usize, held.slow as usize), expected);
            }
        }
    }
}
