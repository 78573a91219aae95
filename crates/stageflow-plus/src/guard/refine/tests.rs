//! Limits of a loop: every rule, and which of several is the reason.

use std::time::Duration;

use stageflow_core::DurationExt;

use super::limits::{Limits, Loop, WhyExhausted};

fn limits(attempts: u32) -> Limits {
    Limits { attempts, ..Limits::default() }
}

/// Feeds keys, each with no time taken, and gives how often until it ended and why.
fn ends(limits: Limits, keys: &[Option<u64>]) -> Option<(u32, WhyExhausted)> {
    let mut state = Loop::new(limits, Duration::ZERO);
    (1..).zip(keys).find_map(|(number, key)| {
        let why = state.rejected(number, *key, None, Duration::ZERO, Duration::ZERO, None);
        why.map(|why| (number, why))
    })
}

#[test]
fn attempts_count_the_first() {
    assert_eq!(ends(limits(1), &[None; 9]), Some((1, WhyExhausted::MaxAttempts)));
    assert_eq!(ends(limits(2), &[None; 9]), Some((2, WhyExhausted::MaxAttempts)));
    assert_eq!(ends(limits(u32::MAX), &[None; 9]), None);
}

#[test]
fn one_repetition_is_two_of_the_same() {
    let one = Limits { repetitions: Some(1), ..limits(9) };
    assert_eq!(ends(one, &[Some(1), Some(1)]), Some((2, WhyExhausted::Stagnation)));
    assert_eq!(ends(one, &[Some(1), Some(2), Some(3), Some(3)]), Some((4, WhyExhausted::Stagnation)));
    let two = Limits { repetitions: Some(2), ..limits(9) };
    assert_eq!(
        ends(two, &[Some(1), Some(1), Some(2), Some(2), Some(2)]),
        Some((5, WhyExhausted::Stagnation))
    );
}

#[test]
fn to_and_fro_is_no_progress_either() {
    let two = Limits { repetitions: Some(2), ..limits(9) };
    let to_and_fro = [Some(1), Some(2), Some(1), Some(2), Some(1)];
    assert_eq!(ends(two, &to_and_fro), Some((4, WhyExhausted::Stagnation)));
}

#[test]
fn what_is_known_is_bounded() {
    let one = Limits { repetitions: Some(1), ..limits(u32::MAX) };
    let keys: Vec<_> = (0..10_000).map(Some).collect();
    assert_eq!(ends(one, &keys), None);
    let mut again = keys;
    again.push(Some(0));
    assert_eq!(ends(one, &again), None, "the first of them is forgotten");
    again.push(Some(9_999));
    assert_eq!(ends(one, &again), Some((10_002, WhyExhausted::Stagnation)));
}

#[test]
fn patience_ends_with_scores_that_are_not_above_the_best() {
    let mut state = Loop::new(Limits { patience: Some(2), ..limits(99) }, Duration::ZERO);
    let mut score = |number, score| state.rejected(number, None, score, Duration::ZERO, Duration::ZERO, None);
    for (number, each) in (1..).zip([Some(0.2), Some(0.2), Some(0.3), None, Some(0.1), None]) {
        assert_eq!(score(number, each), None, "{number}");
    }
    assert_eq!(score(7, Some(0.3)), Some(WhyExhausted::Stagnation));
}

#[test]
fn the_time_goes_before_stagnation_and_that_before_the_attempts() {
    let all = Limits { attempts: 2, repetitions: Some(1), patience: None, deadline: Some(5.secs()) };
    let second = |limits, elapsed| {
        let mut state = Loop::new(limits, Duration::ZERO);
        let first = state.rejected(1, Some(7), None, Duration::ZERO, Duration::ZERO, None);
        assert_eq!(first, None);
        state.rejected(2, Some(7), None, Duration::ZERO, elapsed, None)
    };
    assert_eq!(second(all, 5.secs()), Some(WhyExhausted::Timeout));
    assert_eq!(second(all, 4.secs()), Some(WhyExhausted::Stagnation));
    assert_eq!(second(Limits { repetitions: None, ..all }, 4.secs()), Some(WhyExhausted::MaxAttempts));
}

#[test]
fn nothing_is_begun_for_which_too_little_time_is_left() {
    let within = |deadline: Option<Duration>, least, took, elapsed, left| {
        let mut state = Loop::new(Limits { deadline, ..limits(9) }, least);
        state.rejected(1, None, None, took, elapsed, left)
    };
    let out = Some(WhyExhausted::Timeout);
    let no = Duration::ZERO;
    assert_eq!(within(Some(10.secs()), no, 4.secs(), 6.secs(), None), None);
    assert_eq!(
        within(Some(10.secs()), no, 4.secs(), 7.secs(), None),
        out,
        "the quickest attempt took longer"
    );
    assert_eq!(within(Some(10.secs()), 4.secs(), no, 7.secs(), None), out, "it takes longer at least");
    assert_eq!(within(None, no, 4.secs(), 7.secs(), Some(3.secs())), out, "the stage has less left");
    assert_eq!(within(None, no, no, 7.secs(), Some(no)), out, "the stage has nothing left");
    assert_eq!(within(None, no, 4.secs(), 7.secs(), None), None, "without a limit");
}
