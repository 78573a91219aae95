//! Keys that stay with their route.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{ONE_IN_A_MILLION, chi_square, chi_square_limit};
use crate::router::{Split, rendezvous, stable_hash};

const KEYS: u64 = 100_000;

fn assigned(weights: &[(u64, u64)]) -> Vec<usize> {
    let of = |key: u64| rendezvous(stable_hash(0, &key), weights.iter().copied()).expect("there is a route");
    (0..KEYS).map(of).collect()
}

fn routes<const N: usize>(weights: [u64; N]) -> [(u64, u64); N] {
    let mut number = 0;
    weights.map(|weight| {
        number += 1;
        (stable_hash(0, &format!("route-{number}")), weight)
    })
}

/// False alarms: one in a million each.
#[test]
fn a_split_hits_its_shares_and_one_percent_at_a_hundred_thousand_keys() {
    for weights in [[50, 50], [80, 20], [90, 10]] {
        let mut counts = [0_u64; 2];
        assigned(&routes(weights)).iter().for_each(|route| counts[*route] += 1);
        let set = weights.map(|weight| u32::try_from(weight).expect("it is small"));
        assert!(chi_square(&counts, &set) < chi_square_limit(1, ONE_IN_A_MILLION), "{counts:?}");
        let percent = counts[0] as f64 * 100.0 / KEYS as f64;
        assert!((percent - weights[0] as f64).abs() < 1.0, "{percent} %");
    }
}

/// Five standard deviations of the number of keys that must move: false alarms below one in a million.
#[test]
fn a_changed_weight_moves_no_more_keys_than_it_must_and_all_of_them_to_that_route() {
    let before = assigned(&routes([40, 30, 20, 10]));
    for (changed, after) in [(0, [50, 30, 20, 10]), (3, [40, 30, 20, 30]), (1, [40, 31, 20, 10])] {
        let raised = assigned(&routes(after));
        let moved = before.iter().zip(&raised).filter(|(a, b)| a != b).count() as f64;
        assert!(before.iter().zip(&raised).all(|(a, b)| a == b || *b == changed));
        let total: u64 = after.iter().sum();
        let share = (total - 100) as f64 / total as f64;
        let slack = 5.0 * (KEYS as f64 * share * (1.0 - share)).sqrt();
        assert!(moved <= KEYS as f64 * share + slack, "{moved} keys moved, {share} of them had to");
    }
}

#[test]
fn a_route_that_goes_moves_its_own_keys_alone() {
    let before = assigned(&routes([5, 3, 2]));
    let after = assigned(&routes([5, 0, 2]));
    assert!(before.iter().zip(&after).all(|(a, b)| a == b || *a == 1));
    assert!(after.iter().all(|route| *route != 1));
    // And all of them come back.
    assert_eq!(before, assigned(&routes([5, 3, 2])));
}

/// These are part of the promise: whoever was assigned by another version stays where he is.
#[test]
fn hashes_are_the_same_in_every_process_and_version() {
    let known = [stable_hash(0, "ada"), stable_hash(7, "ada"), stable_hash(0, &42_u64)];
    assert_eq!(known, PINNED);
    let split = Split::new("greeting", [("old", 50), ("new", 50)], |user: &u64| *user);
    let first: String =
        (0..16).map(|user| split.assign(None, &user).map_or('?', |v| v.as_bytes()[0] as char)).collect();
    assert_eq!(first, FIRST);
}

const PINNED: [u64; 3] = [17_633_442_183_299_363_790, 8_822_648_450_928_317_479, 11_608_920_855_626_666_506];
const FIRST: &str = "onnonnoooonoonon";

#[test]
fn tests_tenants_and_users_are_divided_independently() {
    let same = |a: &Split<bool, u64>, b: &Split<bool, u64>, tenants: [Option<&str>; 2]| {
        let of = |split: &Split<bool, u64>, tenant: Option<&str>, user| {
            split.assign(tenant.map(Into::into).as_ref(), &user).copied()
        };
        (0..10_000).filter(|user| of(a, tenants[0], *user) == of(b, tenants[1], *user)).count()
    };
    let split = |name: &str| Split::new(name, [(true, 1), (false, 1)], |user: &u64| *user);
    let (one, other) = (split("one"), split("other"));
    assert_eq!(same(&one, &one, [Some("acme"); 2]), 10_000);
    // Half of them agree by chance: five standard deviations are 250.
    for agree in [same(&one, &other, [None; 2]), same(&one, &one, [Some("acme"), Some("globex")])] {
        assert!((4_750..5_250).contains(&agree), "{agree} of 10000");
    }
}

#[test]
fn the_key_is_asked_for_once() {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let split = Split::new("once", [("a", 1), ("b", 1)], |user: &u64| {
        ASKED.fetch_add(1, Ordering::Relaxed);
        *user
    });
    split.assign(None, &1);
    assert_eq!(ASKED.load(Ordering::Relaxed), 1);
}
