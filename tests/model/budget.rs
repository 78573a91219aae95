//! S-24: no retry is granted twice and no cost spent twice, and what one account gives back another may have.

use loom::thread;
use std::sync::Arc;

use crate::account::{Account, ONE, UNLIMITED};

/// A limit of so many retries and of so much cost.
fn account(outer: Option<&Arc<Account>>, retries: u64, cost: u64) -> Arc<Account> {
    Arc::new(Account::new(outer.cloned(), (0, retries * ONE), cost))
}

#[test]
fn s_24_retries_are_granted_up_to_the_limit_and_not_above() {
    crate::check(4, || {
        let account = Arc::new(Account::new(None, (ONE, 0), UNLIMITED));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let account = Arc::clone(&account);
                thread::spawn(move || {
                    account.add_stages(1, None);
                    // It brings one, and would like two.
                    (0..2).map(|_| u64::from(account.take_retry().is_ok())).sum::<u64>()
                })
            })
            .collect();
        let taken: u64 = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        assert!((1..=2).contains(&taken), "{taken} of two");
        assert_eq!(account.retries_left(), 2 - taken, "none is lost");
    });
}

#[test]
fn s_24_all_accounts_pay_or_none() {
    crate::check(3, || {
        let outer = account(None, 1, 10);
        let inner = account(Some(&outer), 1, 10);
        let other = {
            let outer = Arc::clone(&outer);
            thread::spawn(move || u64::from(outer.take_retry().is_ok()))
        };
        let own = u64::from(inner.take_retry().is_ok());
        let other = other.join().expect("no panic");
        assert_eq!(own + other, 1, "there is one");
        assert_eq!((inner.retries_left(), inner.retries().0, outer.retries().0), (0, own, 1));
    });
}

#[test]
fn s_24_cost_is_conserved() {
    crate::check(3, || {
        let outer = account(None, 0, 10);
        let inner = account(Some(&outer), 0, 8);
        let spend = |account: Arc<Account>, actual: u64| {
            move || {
                let paid = account.reserve(6).is_ok();
                let seen = account.costs();
                assert_eq!(seen.spent + seen.reserved + seen.left, account.limit());
                if paid {
                    account.settle(6, actual);
                }
                if paid { actual } else { 0 }
            }
        };
        let other = thread::spawn(spend(Arc::clone(&outer), 2));
        let own = spend(Arc::clone(&inner), 4)();
        let other = other.join().expect("no panic");
        assert!(own + other > 0, "there is enough for one of them");
        let (inner, outer) = (inner.costs(), outer.costs());
        assert_eq!((inner.spent, inner.reserved, inner.left), (own, 0, 8 - own));
        assert_eq!((outer.spent, outer.reserved, outer.left), (own + other, 0, 10 - own - other));
    });
}
