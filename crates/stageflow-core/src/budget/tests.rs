//! The account on its own: what its numbers are, and that none is lost under threads.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Budget, BudgetReport, account::Account};
use crate::{ContextSnapshot, StageContext, StageExit, code, exit::ErrorClass};

fn take_all(account: &Account) -> u64 {
    std::iter::repeat_with(|| account.take_retry().is_ok()).take(100_000).take_while(|taken| *taken).count()
        as u64
}

#[test]
fn s_24_retries_are_a_share_of_the_stages_and_a_floor() {
    assert_eq!(take_all(&Budget::new().open(1)), 10, "a fifth of a stage is none");
    assert_eq!(take_all(&Budget::new().open(100)), 30);
    assert_eq!(take_all(&Budget::new().retries(0.0, 0).open(100)), 0);
    assert_eq!(take_all(&Budget::new().retries(f64::NAN, 3).open(100)), 3);
    assert_eq!(take_all(&Budget::new().retries(-1.0, 3).open(100)), 3);
    assert_eq!(take_all(&Budget::new().retries(0.0005, 0).open(1_000)), 1, "thousandths");
    assert_eq!(take_all(&Budget::new().unlimited_retries().open(1)), 100_000);
    assert_eq!(take_all(&Budget::new().retries(f64::INFINITY, u32::MAX).open(usize::MAX)), 100_000);
}

#[test]
fn s_24_a_child_brings_stages_and_all_accounts_pay_or_none() {
    let outer = Budget::new().retries(0.0, 5).open(1);
    let inner = Budget::new().retries(1.0, 0).open_within(Arc::clone(&outer));
    inner.add_stages(3, None);
    assert_eq!(inner.retries_left(), 3);
    assert_eq!(take_all(&inner), 3);
    assert_eq!((outer.retries_left(), outer.retries()), (2, (3, 1, 5)));
    inner.add_stages(10, Some(&outer));
    assert_eq!(inner.retries_left(), 2, "the outer has no more");
    assert_eq!(take_all(&inner), 2);
    assert_eq!(inner.retries().0, 5, "what only the inner could pay was given back");
}

#[test]
fn a_cost_is_reserved_settled_and_given_back() {
    let ctx = StageContext::for_test_with(ContextSnapshot::builder().budget(Budget::new().cost(100)));
    let budget = ctx.budget();
    let first = budget.reserve(60).expect("there is enough");
    assert_eq!((budget.report().cost_reserved, budget.cost_left()), (60, Some(40)));
    let refused = budget.reserve(41).expect_err("there is not");
    assert_eq!(refused.to_string(), "a cost of 41 is above the 40 that are left of the run's budget");
    let exit = StageExit::from(refused);
    assert_eq!(
        (exit.error_code(), exit.error_class()),
        (Some(code::BUDGET_EXHAUSTED), Some(ErrorClass::Permanent))
    );
    first.settle(10);
    assert_eq!((budget.report().cost_spent, budget.cost_left()), (10, Some(90)));
    budget.reserve(30).expect("there is enough").release();
    assert_eq!(budget.cost_left(), Some(90), "it has cost nothing");
    drop(budget.reserve(30));
    assert_eq!(budget.cost_left(), Some(60), "it may have cost all of it");
    budget.reserve(50).expect("there is enough").settle(70);
    assert_eq!(
        (budget.report().cost_spent, budget.cost_left()),
        (110, Some(0)),
        "an estimate was 20 too low"
    );
    assert!(budget.charge(1).is_err());
    assert_eq!(budget.report().to_string(), "retries 0 of 10, cost 110 of 100 (2 refused)");
}

#[test]
fn what_is_not_limited_is_counted_and_nothing_overflows() {
    let ctx = StageContext::for_test();
    let budget = ctx.budget();
    for _ in 0..3 {
        budget.reserve(u64::MAX).expect("there is no limit").settle(u64::MAX);
    }
    assert_eq!((budget.cost_left(), budget.report().cost_spent), (None, u64::MAX));
    let poor =
        StageContext::for_test_with(ContextSnapshot::builder().budget(Budget::new().cost(u64::MAX - 1)));
    assert!(poor.budget().charge(u64::MAX).is_err());
    poor.budget().reserve(1).expect("there is enough").settle(u64::MAX);
    assert_eq!(poor.budget().cost_left(), Some(0));
}

#[test]
fn the_nearest_budget_goes_first_for_each_kind_alone() {
    let nearest =
        Budget::new().cost(5).or(Budget::new().cost(9).retries(0.0, 2)).or(Budget::new().retries(0.0, 7));
    assert_eq!(nearest, Budget::new().cost(5).retries(0.0, 2));
    let snapshot = ContextSnapshot::builder()
        .budget(Budget::new().cost(5))
        .budget(Budget::new().retries(0.0, 2))
        .build();
    assert_eq!(*snapshot.budget(), nearest);
    let text = serde_json::to_string(&snapshot).expect("it can be written");
    let read: ContextSnapshot = serde_json::from_str(&text).expect("it can be read");
    assert_eq!(*read.budget(), nearest);
}

#[test]
fn s_24_the_account_is_right_under_threads() {
    let outer = Budget::new().retries(0.5, 100).cost(50_000).open(0);
    let inner = Budget::new().cost(40_000).open_within(Arc::clone(&outer));
    let (retries, spent) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4_u64)
            .map(|worker| {
                let account = if worker % 2 == 0 { &inner } else { &outer };
                scope.spawn(move || {
                    let (mut retries, mut spent) = (0, 0);
                    for turn in 0..10_000_u64 {
                        account.add_stages(1, None);
                        retries += u64::from(account.take_retry().is_ok());
                        if account.reserve(7).is_ok() {
                            account.settle(7, turn % 8);
                            spent += turn % 8;
                        }
                        let costs = account.costs();
                        assert_eq!(
                            costs.spent + costs.reserved + costs.left,
                            account.limit() + costs.overdrawn
                        );
                        assert_eq!(costs.overdrawn, 0, "no estimate was too low");
                    }
                    (retries, spent)
                })
            })
            .collect();
        let sum = |(a, b): (u64, u64), (x, y): (u64, u64)| (a + x, b + y);
        workers.into_iter().map(|worker| worker.join().expect("no panic")).fold((0, 0), sum)
    });
    assert_eq!(retries + take_all(&outer), 20_100, "none is lost and none is given twice");
    assert_eq!(BudgetReport::of(&outer).cost_spent, spent);
    assert_eq!((outer.costs().reserved, inner.costs().reserved), (0, 0));
}

proptest! {
    /// Whatever is reserved, settled, released and dropped, in whatever order: nothing appears and nothing is lost.
    #[test]
    fn cost_is_conserved(limit in 0_u64..500, steps in prop::collection::vec((0_u8..5, 0_u64..80, 0_u64..100), 0..60)) {
        let ctx = StageContext::for_test_with(ContextSnapshot::builder().budget(Budget::new().cost(limit)));
        let budget = ctx.budget();
        let (mut held, mut spent, mut error) = (Vec::<crate::Reservation>::new(), 0, 0);
        for (what, amount, actual) in steps {
            match (what, held.pop()) {
                (0, Some(one)) => {
                    spent += one.amount();
                    drop(one);
                }
                (1, Some(one)) => one.release(),
                (2, Some(one)) => {
                    error += actual.saturating_sub(one.amount());
                    spent += actual;
                    one.settle(actual);
                }
                (_, back) => {
                    held.extend(back);
                    let used = spent + held.iter().map(one_amount).sum::<u64>();
                    let got = budget.reserve(amount);
                    prop_assert_eq!(got.is_ok(), used + amount <= limit);
                    held.extend(got);
                }
            }
            let report = budget.report();
            let reserved: u64 = held.iter().map(one_amount).sum();
            prop_assert_eq!((report.cost_spent, report.cost_reserved), (spent, reserved));
            prop_assert!(spent + reserved <= limit + error);
            prop_assert_eq!(budget.cost_left(), Some(limit.saturating_sub(spent + reserved)));
        }
    }
}

fn one_amount(one: &crate::Reservation) -> u64 {
    one.amount()
}
