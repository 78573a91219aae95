//! S-24: callers that share accounts lose no retry and get none twice, and of several accounts all pay or none.

use loom::thread;

#[path = "../../crates/stageflow-interceptors/src/retry/budget.rs"]
#[allow(dead_code, unreachable_pub, reason = "what the model does not call, and others do")]
mod budget;

/// What `budget` uses.
mod sync {
    pub(super) use loom::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };
}

use self::budget::RetryBudget;

/// So many threads do what `work` says; gives how often it succeeded in all.
fn together(threads: usize, work: impl Fn() -> u64 + Clone + Send + 'static) -> u64 {
    let others: Vec<_> = (1..threads).map(|_| thread::spawn(work.clone())).collect();
    let own = work();
    own + others.into_iter().map(|other| other.join().expect("no panic")).sum::<u64>()
}

#[test]
fn s_24_of_three_callers_as_many_retry_as_there_are_retries() {
    crate::check(4, || {
        let budget = RetryBudget::new(0.0, 2);
        let own = budget.clone();
        assert_eq!(together(3, move || u64::from(own.withdraw())), 2);
        assert_eq!(budget.left(), 0);
    });
}

#[test]
fn s_24_what_is_paid_in_while_others_take_out_is_there() {
    crate::check(4, || {
        let budget = RetryBudget::new(0.5, 0);
        let own = budget.clone();
        let taken = together(2, move || {
            own.deposit();
            own.deposit();
            u64::from(own.withdraw())
        });
        assert_eq!(taken + budget.left(), 2);
    });
}

/// A retry that the run cannot pay costs the dependency nothing either.
#[test]
fn s_24_a_retry_that_another_account_refuses_is_refunded() {
    crate::check(4, || {
        let (run, dependency) = (RetryBudget::new(0.0, 1), RetryBudget::new(0.0, 2));
        let (own_run, own_dependency) = (run.clone(), dependency.clone());
        // As `Retry` pays: the dependency first, and what the run refuses comes back.
        let taken = together(2, move || {
            let paid = own_dependency.withdraw()
                && (own_run.withdraw() || {
                    own_dependency.refund();
                    false
                });
            u64::from(paid)
        });
        assert_eq!((taken, run.left(), dependency.left()), (1, 0, 1));
    });
}
