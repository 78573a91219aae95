//! Latencies and the choice of two.

use std::time::Duration;

use stageflow_core::{Randomness as _, time::SeededRandom};

use crate::router::{PeakEwma, WeightedTable};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_peak_counts_at_once_and_fades() {
    let mut latency = PeakEwma::new(Duration::from_secs(10));
    assert_eq!(latency.estimate(0), None);
    latency.observe(0, 10 * MS);
    latency.observe(1_000, 500 * MS);
    assert_eq!(latency.estimate(1_000), Some(500 * MS));
    // A short call right behind it changes next to nothing, one after a while does.
    latency.observe(2_000, MS);
    assert!(latency.estimate(2_000).is_some_and(|left| left > 499 * MS));
    latency.observe(30_000_000_000, MS);
    assert!(latency.estimate(30_000_000_000).is_some_and(|left| left < 30 * MS));
    // A clock that is behind is no reason to panic.
    latency.observe(5, 2 * MS);
}

#[test]
fn two_choices_keep_the_fullest_route_closer_to_the_others_than_chance() {
    // 64 routes with 640 calls that never end: ten each, ideally.
    let weights: Vec<_> = (0..64).map(|route| (route, 1)).collect();
    let random = SeededRandom::new(3);
    let table = WeightedTable::new(weights.clone());
    let tickets: Vec<_> =
        (0..640).map(|_| table.least_loaded(random.next_u64()).expect("there is one").1).collect();
    let fullest = (0..64).filter_map(|route| table.in_flight(&route)).max().expect("there are routes");

    let mut by_chance = [0_u32; 64];
    let table_by_chance = WeightedTable::new(weights);
    (0..640).for_each(|_| by_chance[*table_by_chance.draw(random.next_u64()).expect("there is one")] += 1);
    let fullest_by_chance = by_chance.into_iter().max().expect("there are routes");
    assert!(fullest <= 13 && fullest_by_chance > fullest + 3, "{fullest} and {fullest_by_chance} by chance");
    drop(tickets);
    assert!((0..64).all(|route| table.in_flight(&route) == Some(0)));
}

#[tokio::test(start_paused = true)]
async fn the_slow_the_busy_and_the_failing_are_avoided() {
    let table = WeightedTable::new([("quick", 1), ("slow", 1)]);
    let random = SeededRandom::new(4);
    let taken = |table: &WeightedTable<_>| {
        let picks = (0..100).filter_map(|_| table.least_loaded(random.next_u64()));
        picks.filter(|(route, _ticket)| **route == "quick").count()
    };
    let finish = |table: &WeightedTable<&'static str>, route, took, failed| {
        // Both orders of the two routes are drawn, sooner or later.
        let mut held = Vec::new();
        loop {
            let (picked, ticket) = table.least_loaded(random.next_u64()).expect("there is one");
            if *picked == route {
                return ticket.finish(took, failed);
            }
            held.push(ticket);
        }
    };
    finish(&table, "quick", 10 * MS, false);
    finish(&table, "slow", 300 * MS, false);
    assert_eq!(taken(&table), 100);

    // Failing at once is not being quick.
    let failing = WeightedTable::new([("quick", 1), ("slow", 1)]);
    finish(&failing, "slow", MS, true);
    finish(&failing, "quick", 10 * MS, false);
    assert_eq!(taken(&failing), 100);
}

#[test]
fn weights_count_among_the_loaded() {
    let table = WeightedTable::new([("large", 3), ("small", 1)]);
    let random = SeededRandom::new(5);
    let _tickets: Vec<_> =
        (0..400).map(|_| table.least_loaded(random.next_u64()).expect("there is one").1).collect();
    let large = table.in_flight(&"large").expect("it is known");
    assert!((295..=305).contains(&large), "{large} of 400");
}
