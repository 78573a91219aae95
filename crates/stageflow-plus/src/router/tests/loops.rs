//! Loops, and what is none.

use stageflow_core::{
    Randomness as _,
    time::{SeededRandom, below},
};

use crate::router::{LoopDetector, bounded::Bounded};

fn ends_at(limit: u32, trace: &[&str]) -> Option<usize> {
    let detector = LoopDetector::new(limit);
    trace.iter().position(|route| detector.take(&0, route).is_err())
}

#[test]
fn direct_and_indirect_loops_end_at_their_limit() {
    assert_eq!(ends_at(3, &["a"; 10]), Some(3));
    assert_eq!(ends_at(3, &["a", "b", "a", "b", "a", "b", "a", "b"]), Some(6));
    assert_eq!(ends_at(3, &["a", "b", "c", "a", "b", "c", "a", "c", "a"]), Some(8));
    assert_eq!(ends_at(0, &["a"]), Some(0));
    assert_eq!(ends_at(1, &["a", "b", "c", "d"]), None);
}

#[test]
fn ten_thousand_random_traces_without_a_loop_are_none() {
    let random = SeededRandom::new(1);
    let detector = LoopDetector::new(4);
    for trace in 0..10_000_u32 {
        // Each of up to twelve routes up to four times, in any order.
        let mut steps: Vec<_> = (0..12_u64).flat_map(|route| [route; 4]).collect();
        for at in (1..steps.len()).rev() {
            let other = below(random.next_u64(), at as u128 + 1);
            steps.swap(at, usize::try_from(other).expect("it is small"));
        }
        for route in steps {
            assert!(detector.take(&trace, &route.to_string()).is_ok());
        }
        assert!(detector.take(&trace, "0").is_err(), "and the fifth is one");
    }
}

#[test]
fn the_message_has_the_last_steps_and_says_that_there_were_more() {
    let detector = LoopDetector::new(40);
    let looped =
        (0..).find_map(|step| detector.take(&(), if step % 2 == 0 { "draft" } else { "review" }).err());
    let looped = looped.expect("it ends");
    assert_eq!((looped.route(), looped.times(), looped.path().len()), ("draft", 41, 24));
    assert!(looped.to_string().contains("40 is the limit: … → review → draft"), "{looped}");
}

#[test]
fn chains_are_counted_apart_forgotten_on_request_and_bounded() {
    let detector = LoopDetector::new(1);
    assert!(detector.take(&1, "a").is_ok());
    assert!(detector.take(&2, "a").is_ok());
    assert!(detector.clone().take(&1, "a").is_err(), "clones count together");
    detector.forget(&1);
    assert!(detector.take(&1, "a").is_ok());

    let mut bounded = Bounded::<u32, u32>::new(3);
    for key in [1, 2, 3, 1, 4] {
        *bounded.get(&key) += 1;
    }
    assert_eq!((bounded.len(), bounded.peek(&1), bounded.peek(&2)), (3, Some(&2), None));
    assert_eq!(bounded.remove(&1), Some(2));
    assert_eq!(bounded.len(), 2);
}
