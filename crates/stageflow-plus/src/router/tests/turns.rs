//! Turns by weight, and chance by weight.

use std::sync::Arc;

use proptest::prelude::*;
use stageflow_core::{Randomness as _, time::SeededRandom};

use super::{ONE_IN_A_HUNDRED, ONE_IN_A_MILLION, chi_square, chi_square_limit};
use crate::router::{AliasTable, Eevdf, WeightedTable};

fn within_one_turn(weights: &[u32], turns: impl Iterator<Item = usize>) {
    let total: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
    let mut counts = vec![0_i128; weights.len()];
    for (done, turn) in turns.enumerate() {
        counts[turn] += 1;
        for (count, weight) in counts.iter().zip(weights) {
            // |count - k·w/W| < 1, in whole numbers.
            let off = count * total - (done as i128 + 1) * i128::from(*weight);
            assert!(off.abs() < total, "{counts:?} of {weights:?} after {} turns", done + 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn after_every_turn_each_has_had_its_share_give_or_take_less_than_one(
        weights in proptest::collection::vec(0_u32..200, 1..65)
    ) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let mut order = Eevdf::new(weights.iter().copied());
        let turns = std::iter::from_fn(|| order.next_turn()).take(3_000);
        within_one_turn(&weights, turns);
    }

    #[test]
    fn huge_weights_neither_overflow_nor_lose_the_bound(
        weights in proptest::collection::vec(u32::MAX - 1_000..=u32::MAX, 1..20)
    ) {
        let mut order = Eevdf::new(weights.iter().copied());
        let turns = std::iter::from_fn(|| order.next_turn()).take(2_000);
        within_one_turn(&weights, turns);
    }

    #[test]
    fn a_cycle_is_exact_and_begins_anew(weights in proptest::collection::vec(0_u32..60, 1..12)) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let table = WeightedTable::new(weights.iter().copied().enumerate());
        let total: u32 = weights.iter().sum();
        let turn = || table.next_turn().copied();
        let first: Vec<_> = std::iter::from_fn(turn).take(total as usize).collect();
        let mut counts = vec![0; weights.len()];
        first.iter().for_each(|turn| counts[*turn] += 1);
        prop_assert_eq!(counts, weights);
        let second: Vec<_> = std::iter::from_fn(turn).take(total as usize).collect();
        prop_assert_eq!(first, second);
    }
}

#[test]
fn what_is_written_down_and_what_is_worked_out_is_the_same_order() {
    // Just below and just above the length that is written down.
    for weights in [[4_000, 90, 5], [4_000, 91, 6]] {
        let table = WeightedTable::new(weights.into_iter().enumerate());
        let mut order = Eevdf::new(weights);
        for _ in 0..9_000 {
            assert_eq!(table.next_turn().copied(), order.next_turn());
        }
    }
}

#[test]
fn without_weights_there_is_no_turn() {
    assert_eq!(Eevdf::new([]).next_turn(), None);
    assert_eq!(Eevdf::new([0, 0]).next_turn(), None);
    assert!(AliasTable::new([0, 0]).is_none());
    let table = WeightedTable::new([("a", 0)]);
    assert_eq!((table.next_turn(), table.draw(7), table.of_key(7)), (None, None, None));
    assert!(table.least_loaded(7).is_none());
}

#[test]
fn those_who_choose_at_the_same_time_get_what_one_after_the_other_would() {
    for weights in [vec![5, 3, 2], vec![7_001, 4_999, 3]] {
        let table = Arc::new(WeightedTable::new(weights.iter().copied().enumerate()));
        let mut counts = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let (table, mut counts) = (table.clone(), vec![0_u64; weights.len()]);
                    scope.spawn(move || {
                        for _ in 0..2_500 {
                            counts[*table.next_turn().expect("there is a turn")] += 1;
                        }
                        counts
                    })
                })
                .collect();
            let all = threads.into_iter().map(|thread| thread.join().expect("it ends"));
            all.reduce(|a, b| a.iter().zip(&b).map(|(a, b)| a + b).collect()).expect("there are threads")
        });
        let mut order = Eevdf::new(weights.iter().copied());
        for _ in 0..10_000 {
            counts[order.next_turn().expect("there is a turn")] -= 1;
        }
        assert!(counts.iter().all(|count| *count == 0), "{counts:?}");
    }
}

fn drawn(weights: &[u32], seed: u64, times: u64) -> Vec<u64> {
    let table = AliasTable::new(weights.iter().copied()).expect("not all are 0");
    let random = SeededRandom::new(seed);
    let mut counts = vec![0; weights.len()];
    for _ in 0..times {
        counts[table.draw(random.next_u64())] += 1;
    }
    counts
}

/// False alarms: one in a million for each of the four, were the seeds new each time.
#[test]
fn chance_keeps_to_the_weights() {
    let sets: [&[u32]; 4] = [&[9, 1], &[1, 2, 3, 4, 5], &[1_000, 1, 1, 1], &[7, 0, 3, 0, 90]];
    for (seed, weights) in (1..).zip(sets) {
        let counts = drawn(weights, seed, 200_000);
        let degrees = weights.iter().filter(|weight| **weight > 0).count() - 1;
        let (found, limit) = (chi_square(&counts, weights), chi_square_limit(degrees, ONE_IN_A_MILLION));
        assert!(found < limit, "{counts:?} of {weights:?}: {found} is not below {limit}");
        assert!(counts.iter().zip(weights).all(|(count, weight)| *weight > 0 || *count == 0));
    }
}

/// False alarms: one in a hundred, were the seed new each time.
#[test]
fn seed0_9_equal_weights_are_uniform_at_p_above_a_hundredth() {
    let weights = [1; 16];
    let counts = drawn(&weights, 2026, 160_000);
    assert!(chi_square(&counts, &weights) < chi_square_limit(15, ONE_IN_A_HUNDRED), "{counts:?}");
}

/// Every column of the table is filled exactly: what is drawn over all random numbers in even steps is the weight itself.
#[test]
fn the_alias_table_is_exact() {
    let weights = [3, 0, 5, 8, 1, 7];
    let table = AliasTable::new(weights).expect("not all are 0");
    let (total, members) = (24_u64, 6_u64);
    let mut counts = [0_u32; 6];
    let cells = total * members;
    for cell in 0..cells {
        // The middle of each cell of columns and heights.
        let random = (u128::from(2 * cell + 1) << 64) / u128::from(2 * cells);
        counts[table.draw(u64::try_from(random).expect("it is below 2^64"))] += 1;
    }
    assert_eq!(counts, weights.map(|weight| weight * 6));
}
