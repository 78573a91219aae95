//! How full a window is: exact at every limit.

use proptest::prelude::*;

use crate::enrich::{ContextLevel, ContextUtilization, EstimatedTokens, TokenCounter as _};

fn level(limit: usize, used: usize) -> ContextLevel {
    ContextUtilization::new(limit).add(used)
}

#[test]
fn seed3_8_it_is_exact_at_0_and_around_the_limit() {
    use ContextLevel::{Below, Full, Near, Over};
    for limit in [2, 5, 10, 100, 128_000, usize::MAX - 1] {
        assert_eq!(level(limit, 0), Below, "{limit}");
        assert_eq!(level(limit, limit - 1), if limit == 2 { Below } else { Near }, "{limit}");
        assert_eq!(level(limit, limit), Full, "{limit}");
        assert_eq!(level(limit, limit + 1), Over, "{limit}");
    }
    assert_eq!([level(10, 7), level(10, 8)], [Below, Near]);
    assert_eq!([level(0, 0), level(0, 1), level(1, 0), level(1, 1)], [Full, Over, Below, Full]);
    assert_eq!(level(usize::MAX, usize::MAX), Full);
}

#[test]
fn the_reserve_is_never_usable_and_shares_are_of_the_rest() {
    let window = ContextUtilization::new(100).reserve(20);
    assert_eq!((window.usable(), window.room(), window.reserved()), (80, 80, 20));
    let mut half = window;
    half.add(40);
    assert!((half.share() - 0.5).abs() < 1e-9);
    assert_eq!(half.to_string(), "40 of 100 tokens used, 20 reserved, below the limit");
    let all = ContextUtilization::new(100).reserve(1_000);
    assert_eq!((all.usable(), all.level()), (0, ContextLevel::Full));
    assert!((all.share() - 1.0).abs() < 1e-9);
}

#[test]
fn what_has_no_room_changes_nothing() {
    let mut window = ContextUtilization::new(10);
    assert_eq!(window.try_add(11), Err(10));
    assert_eq!(window.used(), 0);
    assert_eq!(window.try_add(10), Ok(ContextLevel::Full));
    assert_eq!(window.try_add(1), Err(0));
    assert_eq!(window.try_add(0), Ok(ContextLevel::Full));
    assert_eq!(window.give_back(100), ContextLevel::Below);
}

#[test]
fn near_is_from_its_percentage_on_and_no_percentage_is_above_100() {
    let at = |percent, used| ContextUtilization::new(1_000).near_at(percent).add(used);
    assert_eq!([at(50, 499), at(50, 500)], [ContextLevel::Below, ContextLevel::Near]);
    assert_eq!([at(200, 999), at(200, 1_000)], [ContextLevel::Below, ContextLevel::Full]);
    assert_eq!(at(0, 0), ContextLevel::Near);
}

/// The bound that the documentation states, for a tokenizer that gives a token for each byte: the worst there is.
#[test]
fn the_estimate_keeps_its_bound() {
    let estimate = EstimatedTokens::default();
    for text in ["", "a", "abcd", "abcde", "你好", "👩‍👩‍👧"] {
        assert!(text.len() <= 4 * estimate.count(text), "{text}");
        assert_eq!(EstimatedTokens::upper_bound().count(text), text.len());
        assert_eq!(EstimatedTokens::bytes_per_token(0).count(text), text.len());
    }
}

proptest! {
    #[test]
    fn used_and_room_are_the_usable_tokens(
        limit in 0_usize..1_000, reserved in 0_usize..1_000, adds in prop::collection::vec(0_usize..300, 0..20)
    ) {
        let mut window = ContextUtilization::new(limit).reserve(reserved);
        for tokens in adds {
            let _ = window.try_add(tokens);
            prop_assert!(window.used() + window.room() == window.usable());
            prop_assert!(window.level() <= ContextLevel::Full);
        }
    }
}
