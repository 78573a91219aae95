//! Delays: exact without jitter, within their bounds for all parameters, and distributed as they say (rule S-23).

use std::time::Duration;

use proptest::prelude::*;

use crate::{Backoff, DurationExt as _, Jitter, Randomness as _, time::SeededRandom};

const DRAWS: usize = 20_000;

/// The critical value of Kolmogorov and Smirnov for 20,000 draws at a false-alarm rate of 1e-6: sqrt(ln(2e6) / (2 · 20,000)).
const CRITICAL: f64 = 0.019_05;

fn draws(backoff: Backoff, retry: u32) -> Vec<f64> {
    let random = SeededRandom::new(23);
    let drawn = (0..DRAWS).map(|_| backoff.delay(retry, backoff.base(), random.next_u64()).as_secs_f64());
    let mut drawn: Vec<_> = drawn.collect();
    drawn.sort_by(f64::total_cmp);
    drawn
}

/// The largest distance between what was drawn and an even distribution from `low` to `high`.
fn distance(drawn: &[f64], low: f64, high: f64) -> f64 {
    let share = |at: usize| at as f64 / drawn.len() as f64;
    let expected = |x: f64| ((x - low) / (high - low)).clamp(0.0, 1.0);
    let gap =
        |(at, x): (usize, &f64)| (expected(*x) - share(at)).abs().max((share(at + 1) - expected(*x)).abs());
    drawn.iter().enumerate().map(gap).fold(0.0, f64::max)
}

#[test]
fn s_23_without_jitter_the_sequences_are_exact() {
    let sequence = |backoff: Backoff| -> Vec<u128> {
        let backoff = backoff.jitter(Jitter::None).cap(1_500.millis());
        (0..6).map(|retry| backoff.delay(retry, Duration::ZERO, u64::MAX).as_millis()).collect()
    };
    assert_eq!(sequence(Backoff::exponential(100.millis())), [100, 200, 400, 800, 1_500, 1_500]);
    assert_eq!(
        sequence(Backoff::exponential(100.millis()).factor(3.0)),
        [100, 300, 900, 1_500, 1_500, 1_500]
    );
    assert_eq!(sequence(Backoff::exponential(100.millis()).factor(1.5)), [100, 150, 225, 337, 506, 759]);
    assert_eq!(sequence(Backoff::linear(100.millis())), [100, 200, 300, 400, 500, 600]);
    assert_eq!(sequence(Backoff::constant(100.millis())), [100; 6]);
    for odd in [0.0, -2.0, f64::NAN, f64::NEG_INFINITY] {
        assert_eq!(sequence(Backoff::exponential(100.millis()).factor(odd)), [100; 6], "{odd}");
    }
}

#[test]
fn s_23_jitter_is_distributed_as_it_says() {
    let backoff = Backoff::exponential(1.secs()).cap(1_000.secs());
    let even = |jitter, low, high| {
        let found = distance(&draws(backoff.jitter(jitter), 2), low, high);
        assert!(found < CRITICAL, "{jitter:?}: {found}");
    };
    even(Jitter::Full, 0.0, 4.0);
    even(Jitter::Equal, 2.0, 4.0);
    even(Jitter::Decorrelated, 1.0, 3.0);
    even(Jitter::Proportional(0.25), 3.0, 5.0);
    // The check can fail: no jitter is no even distribution, and half of one is not the whole.
    assert!(distance(&draws(backoff.jitter(Jitter::None), 2), 0.0, 4.0) > 0.9);
    assert!(distance(&draws(backoff.jitter(Jitter::Equal), 2), 0.0, 4.0) > 0.4);
}

/// A thousand clients that failed together: without jitter all come back in the same 10 ms, with it few do.
#[test]
fn s_23_clients_that_failed_together_do_not_come_back_together() {
    let fullest = |jitter| {
        let backoff = Backoff::exponential(1.secs()).jitter(jitter);
        let random = SeededRandom::new(5);
        let mut buckets = vec![0; 101];
        for _ in 0..1_000 {
            let delay = backoff.delay(0, 1.secs(), random.next_u64());
            buckets[usize::try_from(delay.as_millis() / 10).unwrap()] += 1;
        }
        buckets.into_iter().max().unwrap_or(0)
    };
    // Ten are expected in each of the 100; 33 and more come by chance in one of 10^6 campaigns at most, as the tail of the binomial
    // distribution says (below 1e-8 per bucket).
    assert!(fullest(Jitter::Full) < 33, "{}", fullest(Jitter::Full));
    assert_eq!(fullest(Jitter::None), 1_000);
}

fn jitters() -> impl Strategy<Value = Jitter> {
    prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        Just(Jitter::Decorrelated),
        any::<f64>().prop_map(Jitter::Proportional),
    ]
}

proptest! {
    #[test]
    fn s_23_no_parameters_overflow_or_pass_the_cap(
        base in any::<u64>(), cap in any::<u64>(), factor in any::<f64>(), shape in 0..3, jitter in jitters(),
        retry in any::<u32>(), previous in any::<u64>(), random in any::<u64>(),
    ) {
        let (base, cap, previous) = (Duration::from_nanos(base), Duration::from_nanos(cap), Duration::from_nanos(previous));
        let backoff = match shape {
            0 => Backoff::exponential(base).factor(factor),
            1 => Backoff::linear(base),
            _ => Backoff::constant(base),
        };
        let backoff = backoff.cap(cap).jitter(jitter);
        let delay = backoff.delay(retry, previous, random);
        prop_assert!(delay <= cap);
        prop_assert!(backoff.ceiling(retry) <= backoff.ceiling(retry.saturating_add(1)));
        match jitter {
            Jitter::None => prop_assert_eq!(delay, backoff.ceiling(retry)),
            Jitter::Full => prop_assert!(delay <= backoff.ceiling(retry)),
            Jitter::Equal => prop_assert!(delay >= backoff.ceiling(retry) / 2 && delay <= backoff.ceiling(retry)),
            Jitter::Decorrelated => prop_assert!(delay >= base.min(cap)),
            _ => {}
        }
    }
}
