//! Drained, ejected and returning routes.

use std::time::Duration;

use tokio::time::advance;

use crate::router::WeightedTable;

fn counts(table: &WeightedTable<&'static str>, turns: usize) -> [usize; 3] {
    let mut counts = [0; 3];
    for _ in 0..turns {
        let turn = table.next_turn().expect("there is a turn");
        let at = ["a", "b", "c"].iter().position(|route| route == turn).expect("it is known");
        counts[at] += 1;
    }
    counts
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn an_ejected_route_gets_nothing_says_why_and_comes_back_slowly() {
    let table = WeightedTable::new([("a", 1), ("b", 1), ("c", 1)]);
    assert!(table.eject(&"b", 10 * SECOND, "too slow"));
    assert_eq!(counts(&table, 30), [15, 0, 15]);
    let passed: Vec<_> =
        table.passed_over().into_iter().map(|skipped| (skipped.route, skipped.why)).collect();
    assert_eq!(passed, [("b", "ejected: too slow".into())]);

    // Back, with a tenth of its weight: 1 of 21.
    advance(10 * SECOND).await;
    assert_eq!(counts(&table, 21), [10, 1, 10]);
    assert!(table.passed_over().is_empty());
    // Half of the way: step 5 of 10.
    advance(15 * SECOND).await;
    assert_eq!(counts(&table, 25), [10, 5, 10]);
    advance(15 * SECOND).await;
    assert_eq!(counts(&table, 30), [10, 10, 10]);
}

#[tokio::test(start_paused = true)]
async fn slow_start_never_takes_a_step_back() {
    let table = WeightedTable::new([("a", 9), ("b", 0), ("c", 0)]).slow_start(9 * SECOND);
    table.set_weight(&"b", 9);
    let mut before = 0;
    for _ in 0..10 {
        let now = counts(&table, 2_000)[1];
        assert!(now > before, "{now} after {before}");
        before = now;
        advance(SECOND).await;
    }
    assert_eq!(before, 1_000);
}

#[test]
fn a_drained_route_gets_nothing_in_any_mode() {
    let table = WeightedTable::new([("a", 5), ("b", 5), ("c", 1)]);
    assert!(table.set_weight(&"b", 0));
    assert!(!table.set_weight(&"z", 1));
    for bits in 0..2_000_u64 {
        let random = bits.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let loaded = table.least_loaded(random).map(|(route, _ticket)| route);
        for route in [table.next_turn(), table.draw(random), table.of_key(random), loaded] {
            assert!(route.is_some_and(|route| *route != "b"));
        }
    }
    assert_eq!(table.passed_over().iter().map(|skipped| &*skipped.why).collect::<Vec<_>>(), ["drained"]);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_half_are_ejected() {
    let table = WeightedTable::new([("a", 1), ("b", 1), ("c", 1)]);
    assert!(table.eject(&"a", SECOND, "x"));
    assert!(table.eject(&"a", SECOND, "y"), "again is no second one");
    assert!(!table.eject(&"b", SECOND, "x"), "two of three are more than half");
    assert!(table.restore(&"a"));
    assert!(!table.restore(&"a"));
    assert!(table.eject(&"b", SECOND, "x"));
}

#[tokio::test(start_paused = true)]
async fn with_too_few_left_ejections_are_ignored() {
    let table = WeightedTable::new([("a", 1), ("b", 1), ("c", 1)]).max_ejected(1.0);
    assert!(table.eject(&"a", SECOND, "x"));
    assert_eq!(counts(&table, 30), [0, 15, 15]);
    // One of three is less than half.
    assert!(table.eject(&"b", SECOND, "x"));
    assert_eq!(counts(&table, 30), [10, 10, 10]);
}

#[test]
fn equal_routes_are_one() {
    let table = WeightedTable::new([("a", 1), ("b", 2), ("a", 1)]);
    assert_eq!(counts(&table, 40), [20, 20, 0]);
    let table = WeightedTable::new([("a", u32::MAX), ("a", u32::MAX)]);
    assert_eq!(table.next_turn(), Some(&"a"));
}
