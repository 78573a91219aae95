//! The table of keys: bounded, and forgetful only where nobody notices.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Idle, Keyed, LimitBuildError};

#[derive(Default)]
struct State(AtomicBool);

impl State {
    fn set_busy(&self, busy: bool) {
        self.0.store(busy, Ordering::Relaxed);
    }
}

impl Idle for State {
    fn is_idle(&self, _now: u64) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

fn same(a: &std::sync::Arc<State>, b: &std::sync::Arc<State>) -> bool {
    std::sync::Arc::ptr_eq(a, b)
}

#[test]
fn a_flood_of_idle_keys_stays_bounded_and_forgets_the_oldest() {
    let table = Keyed::new(3, State::default);
    for key in 0..1_000 {
        table.get(Some(&key.to_string()), 0);
        table.get(Some("steady"), 0).set_busy(true);
        assert!(table.len() <= 3);
    }
    assert!(!table.get(Some("steady"), 0).is_idle(0), "what is used often is not forgotten");
}

#[test]
fn busy_keys_stay_and_unknown_ones_share_the_rest_until_it_is_idle() {
    let table = Keyed::new(2, State::default);
    for key in ["a", "b"] {
        table.get(Some(key), 0).set_busy(true);
    }
    let rest = table.get(None, 0);
    assert!(same(&table.get(Some("c"), 0), &rest) && same(&table.get(Some("d"), 0), &rest));
    assert_eq!(table.len(), 2);
    rest.set_busy(true);
    drop(rest);
    // There is room again, but what `c` has used is in the rest.
    table.get(Some("a"), 0).set_busy(false);
    assert!(same(&table.get(Some("c"), 0), &table.get(None, 0)));
    table.get(None, 0).set_busy(false);
    assert!(!same(&table.get(Some("c"), 0), &table.get(None, 0)));
    assert_eq!(table.len(), 2);
}

#[test]
fn the_key_that_was_used_last_is_found_and_forgotten_like_the_others() {
    let table = Keyed::new(2, State::default);
    table.get(Some("a"), 0).set_busy(true);
    assert!(same(&table.get(Some("a"), 0), &table.get(Some("a"), 0)));
    // Room for `c` is made by forgetting `b`, for `a` is busy; so `a` is then older than `c`, and is found all the same.
    table.get(Some("b"), 0);
    let newest = table.get(Some("c"), 0);
    assert!(same(&newest, &table.get(Some("c"), 0)) && !same(&newest, &table.get(Some("a"), 0)));
    assert!(!table.get(Some("a"), 0).is_idle(0) && table.len() == 2);
    // It may go now, and with it what is known of the key that was used last.
    table.get(Some("c"), 0).set_busy(true);
    table.get(Some("a"), 0).set_busy(false);
    table.get(Some("d"), 0);
    table.get(Some("d"), 0).set_busy(true);
    table.get(Some("c"), 0).set_busy(false);
    drop(newest);
    assert!(table.get(Some("a"), 0).is_idle(0) && table.len() == 2);
}

#[test]
fn what_is_held_is_not_forgotten_and_does_not_keep_the_others() {
    let table = Keyed::new(20, State::default);
    let held: Vec<_> = (0..19).map(|key| table.get(Some(&key.to_string()), 0)).collect();
    table.get(Some("free"), 0);
    // More probes than one call makes: the held keys move out of the way.
    let found = (0..5).any(|_| !same(&table.get(Some("new"), 0), &table.get(None, 0)));
    assert!(found);
    for (key, state) in held.iter().enumerate() {
        assert!(same(&table.get(Some(&key.to_string()), 0), state));
    }
    assert_eq!(table.len(), 20);
}

#[test]
fn an_error_of_building_says_all_problems() {
    let limit = "db".into();
    assert!(LimitBuildError::check(&limit, Vec::new()).is_ok());
    let error = LimitBuildError::check(&limit, vec!["one".to_owned(), "two".to_owned()]).unwrap_err();
    assert_eq!(error.to_string(), "the limit `db` cannot be built: one; two");
    assert_eq!((error.limit(), error.problems().len(), error.code().as_str()), ("db", 2, "INVALID_POLICY"));
}
