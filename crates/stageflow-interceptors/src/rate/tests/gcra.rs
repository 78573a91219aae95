//! The decision: what it admits is never more than burst and rate allow, nor less.

use proptest::prelude::*;

use crate::rate::gcra::{Decision, Gauge, Quota};

const SECOND: u64 = 1_000_000_000;

/// A cost that was admitted at a time.
type Admitted = (u64, u64);

/// Whether any span of time has more than its burst and its share of the rate; says which.
fn conserves(quota: Quota, admitted: &[Admitted]) -> Result<(), String> {
    for (first, (from, _)) in admitted.iter().enumerate() {
        let mut sum = 0_u128;
        for (to, cost) in &admitted[first..] {
            sum += u128::from(*cost);
            let share = u128::from(quota.limit) * u128::from(to - from) / u128::from(quota.period);
            if sum > u128::from(quota.burst) + share {
                return Err(format!("{sum} within {} of {quota:?}", to - from));
            }
        }
    }
    Ok(())
}

/// Numbers of all sizes, the extremes more often than chance would have them.
fn any_size() -> impl Strategy<Value = u64> {
    prop_oneof![1..10_u64, 1..1_000_000_u64, 1..=u64::from(u32::MAX), 1..=u64::MAX, Just(u64::MAX), Just(1)]
}

fn any_quota() -> impl Strategy<Value = Quota> {
    let small = (1..100_u64, 1..1_000_u64, 1..100_u64);
    let extreme = (any_size(), any_size(), any_size());
    prop_oneof![small, extreme].prop_map(|(limit, period, burst)| Quota { limit, period, burst })
}

/// Gaps between calls and their costs.
fn any_calls() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let gap = prop_oneof![Just(0), 0..20_u64, 0..2_000_u64, any_size()];
    let cost = prop_oneof![0..10_u64, 0..120_u64, any_size()];
    prop::collection::vec((gap, cost), 1..60)
}

/// Admits what conforms.
fn admitted(quota: Quota, calls: &[(u64, u64)]) -> Vec<Admitted> {
    let (mut gauge, mut now, mut admitted) = (Gauge::default(), 0_u64, Vec::new());
    for (gap, cost) in calls {
        now = now.saturating_add(*gap);
        if quota.decide(&gauge, now, *cost) == Decision::Go {
            gauge = quota.take(&gauge, now, *cost).0;
            admitted.push((now, *cost));
        }
    }
    admitted
}

/// GCRA by its theoretical arrival time, in nanoseconds × limit: the other of the two equivalent forms, for small numbers.
fn by_arrival_time(quota: Quota, calls: &[(u64, u64)]) -> Vec<Admitted> {
    let (limit, period) = (u128::from(quota.limit), u128::from(quota.period));
    let (mut expected, mut now, mut admitted) = (0_u128, 0_u64, Vec::new());
    for (gap, cost) in calls {
        now += gap;
        let scaled = u128::from(now) * limit;
        let next = expected.max(scaled) + u128::from(*cost) * period;
        if *cost == 0 || next <= scaled + u128::from(quota.burst) * period {
            expected = next;
            admitted.push((now, *cost));
        }
    }
    admitted
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_span_of_time_has_more_than_burst_and_rate(quota in any_quota(), calls in any_calls()) {
        prop_assert_eq!(conserves(quota, &admitted(quota, &calls)), Ok(()));
    }

    #[test]
    fn it_admits_what_the_form_with_arrival_times_admits(
        (limit, period, burst) in (1..50_u64, 1..1_000_u64, 1..50_u64),
        calls in prop::collection::vec((0..500_u64, 0..60_u64), 1..60),
    ) {
        let quota = Quota { limit, period, burst };
        prop_assert_eq!(admitted(quota, &calls), by_arrival_time(quota, &calls));
    }

    /// A nanosecond earlier is too early, and later is not too late.
    #[test]
    fn a_wait_is_exact(quota in any_quota(), calls in any_calls()) {
        let (mut gauge, mut now) = (Gauge::default(), 0_u64);
        for (gap, cost) in calls {
            now = now.saturating_add(gap / 1_000);
            match quota.decide(&gauge, now, cost) {
                Decision::Never => prop_assert!(cost > quota.burst),
                Decision::Go => {}
                Decision::Wait(wait) => {
                    // Centuries that no number of nanoseconds counts.
                    let Some(then) = now.checked_add(wait).filter(|then| *then < u64::MAX) else { break };
                    prop_assert_eq!(quota.decide(&gauge, then - 1, cost), Decision::Wait(1));
                    prop_assert_eq!(quota.decide(&gauge, then, cost), Decision::Go);
                    now = then;
                }
            }
            if cost <= quota.burst {
                gauge = quota.take(&gauge, now, cost).0;
            }
        }
    }

    /// What is given back late was had by others meanwhile, and is not given back.
    #[test]
    fn what_is_in_use_is_conserved_when_costs_are_given_back(
        quota in any_quota(),
        calls in any_calls(),
        settles in prop::collection::vec((0..60_usize, any::<u64>(), 0..100_u64), 60),
    ) {
        let (mut gauge, mut now, mut open, mut used) = (Gauge::default(), 0_u64, Vec::new(), Vec::<Admitted>::new());
        for ((gap, cost), (which, part, percent)) in calls.into_iter().zip(settles) {
            now = now.saturating_add(gap);
            if quota.decide(&gauge, now, cost) == Decision::Go {
                let (after, receipt) = quota.take(&gauge, now, cost);
                gauge = after;
                open.push((used.len(), receipt));
                used.push((now, cost));
            }
            if percent < 50 && !open.is_empty() {
                let (index, receipt) = open.swap_remove(which % open.len());
                let back = part.min(used[index].1);
                gauge = quota.give_back(&gauge, now, back, &receipt).0;
                used[index].1 -= back;
            }
        }
        prop_assert_eq!(conserves(quota, &used), Ok(()));
    }

    /// Whatever a header says, it lets nothing through that was not allowed, and is forgotten after a period.
    #[test]
    fn headers_make_it_stricter_and_for_a_period_at_most(
        quota in any_quota(),
        calls in any_calls(),
        said in prop::collection::vec(prop::option::of((
            prop::option::of(prop_oneof![Just(0), any_size()]),
            prop::option::of(prop_oneof![Just(0), any_size()]),
            prop::option::of(prop_oneof![Just(0), any_size()]),
        )), 60),
    ) {
        let (mut gauge, mut now, mut admitted) = (Gauge::default(), 0_u64, Vec::new());
        for ((gap, cost), said) in calls.into_iter().zip(said) {
            now = now.saturating_add(gap);
            if let Some(said) = said {
                gauge = quota.learn(&gauge, now, said);
                let later = now.saturating_add(quota.period);
                let mut drained = Gauge::default();
                if let Some(much_later) = later.checked_add(u64::MAX / 4) {
                    drained = quota.take(&drained, much_later, 0).0;
                    // A level of one burst sinks within `burst × period / limit`.
                    if u128::from(quota.burst) * u128::from(quota.period) / u128::from(quota.limit) < u128::from(u64::MAX / 4) {
                        prop_assert!(quota.is_idle(&gauge, much_later));
                        prop_assert_eq!(quota.available(&gauge, much_later), quota.available(&drained, much_later));
                    }
                }
            }
            let conforms = quota.decide(&gauge, now, cost) == Decision::Go;
            let mut at_once = gauge;
            prop_assert_eq!(quota.take_if_it_conforms(&mut at_once, now, cost).is_some(), conforms);
            if conforms {
                gauge = quota.take(&gauge, now, cost).0;
                admitted.push((now, cost));
            }
            prop_assert_eq!(at_once, gauge);
        }
        prop_assert_eq!(conserves(quota, &admitted), Ok(()));
    }
}

/// The check itself: a limiter that limits nothing, and one that has its burst twice, are found out.
#[test]
fn the_check_finds_limiters_that_let_too_much_through() {
    let quota = Quota { limit: 10, period: SECOND, burst: 5 };
    let all: Vec<_> = (0..6).map(|_| (0, 1)).collect();
    assert!(conserves(quota, &all[..5]).is_ok());
    assert!(conserves(quota, &all).is_err());
    // A fixed window, with its double burst at the edge.
    let edge: Vec<_> = (0..10).map(|i| if i < 5 { (SECOND - 1, 1) } else { (SECOND, 1) }).collect();
    assert!(conserves(quota, &edge).is_err());
    // Twice the rate.
    let fast: Vec<_> = (0..40).map(|i| (i * SECOND / 20, 1)).collect();
    assert!(conserves(quota, &fast).is_err());
}

#[test]
fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
    let quota = Quota { limit: 500, period: 60 * SECOND, burst: 10 };
    let (mut gauge, mut now, mut times) = (Gauge::default(), 0, Vec::new());
    for _ in 0..14 {
        if let Decision::Wait(wait) = quota.decide(&gauge, now, 1) {
            now += wait;
        }
        gauge = quota.take(&gauge, now, 1).0;
        times.push(now / 1_000_000);
    }
    assert_eq!(times, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 120, 240, 360, 480]);
}

/// Three per second is a third of a second each, which no nanosecond divides: the error does not add up.
#[test]
fn nothing_is_lost_by_rounding() {
    let quota = Quota { limit: 3, period: SECOND, burst: 1 };
    let (mut gauge, mut now) = (Gauge::default(), 0);
    for _ in 0..=3_000 {
        if let Decision::Wait(wait) = quota.decide(&gauge, now, 1) {
            now += wait;
        }
        gauge = quota.take(&gauge, now, 1).0;
    }
    // Each wait is a whole number of nanoseconds, rounded up; never more than one for each.
    assert!((1_000 * SECOND..=1_000 * SECOND + 3_000).contains(&now), "{now}");
}

#[test]
fn a_debt_is_paid_at_the_rate_and_time_that_goes_back_stands_still() {
    let quota = Quota { limit: 10, period: SECOND, burst: 10 };
    let gauge = quota.take(&Gauge::default(), SECOND, 30).0;
    assert_eq!(quota.available(&gauge, SECOND), 0);
    assert_eq!(quota.decide(&gauge, SECOND, 1), Decision::Wait(2_100_000_000));
    assert_eq!(quota.decide(&gauge, 0, 1), Decision::Wait(2_100_000_000));
    assert_eq!(quota.decide(&gauge, SECOND, 0), Decision::Go);
    let endless = (0..3).fold(gauge, |gauge, _| quota.take(&gauge, SECOND, u64::MAX).0);
    assert!(matches!(quota.decide(&endless, SECOND, 1), Decision::Wait(_)));
}

/// What others took of what had become free is not free a second time.
#[test]
fn what_has_sunk_is_not_given_back() {
    let quota = Quota { limit: 100, period: 100, burst: 100 };
    let (gauge, a) = quota.take(&Gauge::default(), 0, 100);
    let (gauge, _) = quota.take(&gauge, 50, 50);
    let gauge = quota.give_back(&gauge, 50, 100, &a).0;
    assert_eq!(quota.available(&gauge, 50), 50);
    // The same at once: all of it comes back.
    let (gauge, a) = quota.take(&Gauge::default(), 0, 100);
    assert_eq!(quota.available(&quota.give_back(&gauge, 0, 100, &a).0, 0), 100);
}

/// What somebody before has given back had moved this one to the front, and it has sunk earlier than it seems.
#[test]
fn what_others_gave_back_counts_as_sunk() {
    let quota = Quota { limit: 100, period: 100, burst: 200 };
    let (gauge, a) = quota.take(&Gauge::default(), 0, 100);
    let (gauge, b) = quota.take(&gauge, 0, 50);
    let gauge = quota.give_back(&gauge, 0, 100, &a).0;
    let gauge = quota.take(&gauge, 60, 30).0;
    let (gauge, back) = quota.give_back(&gauge, 60, 50, &b);
    assert_eq!((quota.available(&gauge, 60), back), (170, 0));
}

#[test]
fn what_a_header_says_counts_until_the_reset() {
    let quota = Quota { limit: 60, period: 60 * SECOND, burst: 60 };
    let learn = |said| quota.learn(&Gauge::default(), 0, said);
    let left = learn((None, Some(2), Some(30 * SECOND)));
    assert_eq!(quota.decide(&left, 0, 2), Decision::Go);
    assert_eq!(quota.decide(&left, 0, 3), Decision::Wait(30 * SECOND));
    let used = quota.take(&left, 0, 2).0;
    assert_eq!(quota.decide(&used, 10 * SECOND, 1), Decision::Wait(20 * SECOND));
    assert_eq!(quota.decide(&used, 30 * SECOND, 60), Decision::Go);
    let later = quota.learn(&Gauge::default(), 5 * SECOND, (None, Some(0), Some(SECOND)));
    assert_eq!(quota.decide(&later, 0, 1), Decision::Wait(SECOND), "time that goes back stands still");
    // A lower limit: one in ten seconds instead of one in a second, for 30 s.
    let full = quota.take(&learn((Some(6), None, Some(30 * SECOND))), 0, 60).0;
    assert_eq!(quota.decide(&full, 0, 1), Decision::Wait(10 * SECOND));
    assert_eq!(quota.decide(&full, 0, 5), Decision::Wait(32 * SECOND));
    // What makes no sense says nothing.
    for said in
        [(Some(0), None, None), (Some(u64::MAX), None, None), (None, Some(0), None), (None, None, Some(1))]
    {
        assert_eq!(learn(said), Gauge::default(), "{said:?}");
    }
    assert_eq!(quota.decide(&learn((None, Some(0), Some(u64::MAX))), 0, 1), Decision::Wait(60 * SECOND));
}
