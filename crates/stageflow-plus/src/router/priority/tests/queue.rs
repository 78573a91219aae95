//! Shares of classes, starvation, promotion.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use stageflow_core::{
    Priority, Randomness as _,
    time::{SeededRandom, below},
};

use crate::router::{ClassWeights, PriorityQueue};

const ALL: [Priority; 5] =
    [Priority::Critical, Priority::High, Priority::Normal, Priority::Low, Priority::Background];

/// Serves `turns` jobs of a queue that never runs out of any class, and gives the classes.
fn backlogged(mut queue: PriorityQueue<()>, turns: usize) -> Vec<Priority> {
    for class in ALL {
        for _ in 0..2 {
            queue.push(0, class, None, 1, ());
        }
    }
    let serve = |_| {
        let next = queue.pop(0).expect("it is never empty");
        queue.push(0, next.class, None, 1, ());
        next.class
    };
    (0..turns).map(serve).collect()
}

/// The most others that went between two jobs of a class, or before the first.
fn worst_wait(served: &[Priority], class: Priority) -> usize {
    served.split(|next| *next == class).map(<[_]>::len).max().unwrap_or(0)
}

#[test]
fn classes_share_sixteen_eight_four_two_one() {
    let served = backlogged(PriorityQueue::new(), 310);
    let mut counts = BTreeMap::new();
    served.iter().for_each(|class| *counts.entry(*class).or_insert(0) += 1);
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 20, 40, 80, 160]);
}

#[test]
fn a_flood_of_any_class_starves_no_other_beyond_the_bound() {
    let weights = ClassWeights::default();
    for flooding in ALL {
        for class in ALL.into_iter().filter(|class| *class != flooding) {
            let mut queue = PriorityQueue::new();
            for _ in 0..10_000 {
                queue.push(0, flooding, None, 1, ());
            }
            for _ in 0..50 {
                queue.push(0, class, None, 1, ());
            }
            let served: Vec<_> = (0..5_000).map(|_| queue.pop(0).expect("enough wait").class).collect();
            let last = served.iter().rposition(|next| *next == class).expect("it is served");
            assert_eq!(served.iter().filter(|next| **next == class).count(), 50);
            let worst = worst_wait(&served[..=last], class) as u64;
            assert!(worst < weights.starvation_bound(class), "{class:?} waits for {worst} of {flooding:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_head_of_a_class_waits_for_fewer_than_twice_its_share(weights in proptest::array::uniform5(1_u32..100)) {
        let [a, b, c, d, e] = weights;
        let weights = ClassWeights::new(a, b, c, d, e);
        let served = backlogged(PriorityQueue::new().weights(weights), 2_000);
        for class in ALL {
            let worst = worst_wait(&served, class) as u64;
            prop_assert!(worst < weights.starvation_bound(class), "{class:?}: {worst} of {weights:?}");
        }
    }

    /// The oracle for classes that come and go: at every moment, for every job at the head of its class.
    #[test]
    fn the_bound_holds_as_well_for_classes_that_come_and_go(
        weights in proptest::array::uniform5(1_u32..40),
        seed in any::<u64>()
    ) {
        let [a, b, c, d, e] = weights;
        let weights = ClassWeights::new(a, b, c, d, e);
        let mut queue = PriorityQueue::new().weights(weights);
        let random = SeededRandom::new(seed);
        // How many others went since the head of the class is its head.
        let mut waits = [0_u64; 5];
        for _ in 0..2_000 {
            for (at, class) in ALL.into_iter().enumerate() {
                // Bursts and silences of random lengths.
                if below(random.next_u64(), 6) == 0 {
                    if queue.len_of(class) == 0 {
                        waits[at] = 0;
                    }
                    for _ in 0..below(random.next_u64(), 6) {
                        queue.push(0, class, None, 1, ());
                    }
                }
            }
            let Some(next) = queue.pop(0) else { continue };
            for (at, class) in ALL.into_iter().enumerate() {
                waits[at] = if class == next.class { 0 } else { waits[at] + u64::from(queue.len_of(class) > 0) };
                let bound = weights.starvation_bound(class);
                prop_assert!(waits[at] < bound, "{class:?} waits for {} of {weights:?}", waits[at]);
            }
        }
    }
}

#[test]
fn whoever_was_away_comes_back_without_credit() {
    let mut queue = PriorityQueue::new();
    for _ in 0..10_000 {
        queue.push(0, Priority::Background, None, 1, ());
    }
    (0..5_000).for_each(|_| assert!(queue.pop(0).is_some()));
    for _ in 0..1_000 {
        queue.push(0, Priority::Low, None, 1, ());
    }
    // Low has twice the weight of background: in any three turns two of it, from the beginning.
    let served: Vec<_> = (0..300).map(|_| queue.pop(0).expect("enough wait").class).collect();
    let low = served.iter().filter(|class| **class == Priority::Low).count();
    assert!((199..=201).contains(&low), "{low}");
    assert!(worst_wait(&served, Priority::Background) <= 3);
}

#[test]
fn strict_critical_goes_first_up_to_its_cap() {
    let served = backlogged(PriorityQueue::new().strict_critical(3), 400);
    for four in served.chunks(4) {
        assert_eq!(four.iter().filter(|class| **class == Priority::Critical).count(), 3);
    }
    // The others share what is left by weight: 8, 4, 2, 1 of 15.
    let others: Vec<_> = served.into_iter().filter(|class| *class != Priority::Critical).take(90).collect();
    let of = |class| others.iter().filter(|next| **next == class).count();
    assert_eq!(
        [of(Priority::High), of(Priority::Normal), of(Priority::Low), of(Priority::Background)],
        [48, 24, 12, 6]
    );
}

#[test]
fn a_cap_of_nothing_is_no_dead_end() {
    let mut queue = PriorityQueue::new().strict_critical(0);
    queue.push(0, Priority::Critical, None, 1, "a");
    assert_eq!(queue.pop(0).map(|next| next.job), Some("a"));
}

#[test]
fn who_has_waited_too_long_goes_next_and_takes_no_more_than_every_other_turn() {
    const SECOND: u64 = 1_000_000_000;
    let mut queue = PriorityQueue::new().max_wait(Priority::Background, Duration::from_secs(5));
    for _ in 0..100 {
        queue.push(0, Priority::Background, None, 1, ());
        queue.push(0, Priority::Critical, None, 1, ());
    }
    let early: Vec<_> = (0..10).map(|_| queue.pop(5 * SECOND - 1).expect("enough wait")).collect();
    assert!(early.iter().all(|next| !next.promoted));
    let late: Vec<_> = (0..20).map(|_| queue.pop(5 * SECOND).expect("enough wait")).collect();
    for two in late.chunks(2) {
        assert!(
            two[0].promoted
                && two[0].class == Priority::Background
                && two[0].waited == Duration::from_secs(5)
        );
        assert!(!two[1].promoted);
    }
    assert!(late.iter().filter(|next| next.class == Priority::Critical).count() >= 9);
}

#[test]
fn jobs_of_one_class_and_tenant_keep_their_order_and_given_up_ones_are_gone() {
    let mut queue = PriorityQueue::new();
    let ids: Vec<_> = (0..10).map(|job| queue.push(0, Priority::Low, None, 1, job)).collect();
    assert_eq!(queue.remove(ids[0]), Some(0));
    assert_eq!(queue.remove(ids[4]), Some(4));
    assert_eq!(queue.remove(ids[4]), None);
    let served: Vec<_> = std::iter::from_fn(|| queue.pop(0).map(|next| next.job)).collect();
    assert_eq!(served, [1, 2, 3, 5, 6, 7, 8, 9]);
    assert!(queue.is_empty());
}
