//! What follows from the values of a retry policy.

use std::time::Duration;

use crate::{
    Backoff, DurationExt, Jitter, PolicyFacts, Randomness, RetryFacts, TimeoutFacts, time::SeededRandom,
};

const JITTERS: [Jitter; 5] =
    [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::Proportional(0.3)];

/// No delay that is drawn leaves its bounds, and some come near both of them.
#[test]
fn delays_stay_within_their_bounds() {
    let random = SeededRandom::new(4);
    for jitter in JITTERS {
        for backoff in
            [Backoff::exponential(1.secs()), Backoff::linear(7.secs()), Backoff::constant(40.secs())]
        {
            let backoff = backoff.jitter(jitter);
            let (mut low, mut high) = (false, false);
            for _ in 0..2_000 {
                let mut previous = backoff.base();
                for retry in 0..8 {
                    let delay = backoff.delay(retry, previous, random.next_u64());
                    let (least, most) = (backoff.shortest(retry), backoff.longest(retry));
                    assert!(least <= delay && delay <= most, "{backoff}: {least:?} {delay:?} {most:?}");
                    // Decorrelated delays depend on the one before: only the first is drawn from all there is.
                    if retry == 0 {
                        let width = most - least;
                        low |= delay <= least + width / 100;
                        high |= delay >= most - width / 100;
                    }
                    previous = delay;
                }
            }
            assert!(low && high, "{backoff}");
        }
    }
}

fn second_by_second(attempts: u32) -> RetryFacts {
    RetryFacts::new(Backoff::constant(1.secs()).jitter(Jitter::None), attempts)
}

#[test]
fn attempts_begin_while_there_is_time() {
    let facts = second_by_second(5);
    // They begin at 0, 3, 6, 9 and 12.
    let begun = |within: u64| facts.begun_at_worst(2.secs(), Some(within.secs()));
    assert_eq!([1, 3, 4, 6, 7, 12, 13, 100].map(begun), [1, 1, 2, 2, 3, 4, 5, 5]);
    assert_eq!((facts.begun_at_best(Some(3.secs())), facts.begun_at_best(None)), (3, 5));
    assert_eq!(facts.longest(2.secs()), 14.secs());

    let mut facts = second_by_second(5);
    facts.max_elapsed = Some(6.secs());
    assert_eq!((facts.begun_at_worst(2.secs(), None), facts.longest(2.secs())), (3, 8.secs()));
}

/// However many attempts there are, it is told at once.
#[test]
fn any_number_of_attempts_is_told_at_once() {
    let facts = second_by_second(u32::MAX);
    assert_eq!(facts.longest(Duration::ZERO), (u64::from(u32::MAX) - 1).secs());
    assert_eq!(facts.begun_at_worst(Duration::MAX, Some(Duration::MAX)), 1);
    assert_eq!(RetryFacts::new(Backoff::default(), 0).longest(1.secs()), Duration::ZERO);
}

#[test]
fn interceptors_of_others_can_say_what_they_are() {
    let facts = PolicyFacts::from(TimeoutFacts::new(5.secs()));
    assert_eq!(facts.to_string(), "timeout: 5.0s");
    assert_eq!(serde_json::to_value(&facts).expect("it is plain data")["policy"], "timeout");
    assert_eq!(PolicyFacts::default().to_string(), "an interceptor");
}
