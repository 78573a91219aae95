//! Values that cannot work are told all at once.

use super::super::CircuitBreaker;
use stageflow_core::{DurationExt, code};
use std::time::Duration;

#[test]
fn all_problems_are_told_at_once() {
    let error = CircuitBreaker::builder(" ")
        .failure_rate(f64::NAN)
        .slow_calls(0.secs(), 1.5)
        .time_window(48_u64.mins() * 60)
        .count_window(10)
        .min_calls(11)
        .consecutive(0)
        .open_for(20.secs())
        .max_open(10.secs())
        .probes(0)
        .probe_lease(0.secs())
        .wait_while_open(Duration::MAX)
        .max_keys(0)
        .jitter(1.0)
        .build()
        .unwrap_err();
    assert_eq!(error.code(), code::INVALID_POLICY);
    assert_eq!(
        error.problems(),
        [
            "the dependency needs a name without control characters",
            "the failure rate is NaN, and must be above 0 and at most 1",
            "the share of slow calls is 1.5, and must be above 0 and at most 1",
            "the time window is 2d00h, and must be above 0 and at most 1d00h",
            "the time from which a call is slow is 0ns, and must be above 0 and at most 1d00h",
            "the lease of a probe is 0ns, and must be above 0 and at most 1d00h",
            "the longest wait is 213503982334601d07h, and must be above 0 and at most 1d00h",
            "the number of consecutive failures is 0, and must be from 1 to 100000",
            "the number of probes is 0, and must be from 1 to 1000",
            "the number of keys is 0, and must be from 1 to 1000000",
            "the jitter is 1, and must be at least 0 and below 1",
            "the open time 20s is longer than the longest one 10s",
            "a window of 10 calls never holds the 11 that are the least to judge by",
        ]
    );
    assert!(error.to_string().starts_with("the circuit breaker cannot work: the dependency"));
}

#[test]
fn a_breaker_that_nothing_opens_is_a_problem() {
    let never = CircuitBreaker::builder("search").no_failure_rate().ignore_hints();
    let error = never.clone().build().unwrap_err();
    assert_eq!(error.problems(), ["nothing ever opens it: give it at least one rule"]);
    assert!(never.consecutive(1).build().is_ok());
    assert!(CircuitBreaker::builder("search").build().is_ok());
}
