//! Tests of configurations: that each field is that of the builder, and what is refused.

use std::time::Duration;

use serde_json::{Value, json};
use stageflow_core::{Backoff, ErrorClass, Interceptor, Jitter};
use stageflow_dag::spec::SpecError;
use stageflow_interceptors::{Bulkhead, CircuitBreaker, Retry, WhenFull};

use super::{BreakerSpec, BulkheadSpec, RateLimitSpec, RetrySpec};

fn read<C: serde::de::DeserializeOwned>(data: &Value) -> C {
    serde_json::from_value(data.clone()).unwrap_or_else(|error| panic!("{data}: {error}"))
}

/// What a policy says of itself, which is what lints and engines go by.
fn facts(policy: &impl Interceptor) -> String {
    format!("{:?}", policy.describe())
}

fn retry(data: &Value) -> Result<Retry, SpecError> {
    read::<RetrySpec>(data).into_policy()
}

#[test]
fn a_retry_without_a_word_is_the_default() {
    assert_eq!(facts(&retry(&json!({})).unwrap()), facts(&Retry::default()));
}

#[test]
fn each_field_of_a_retry_is_that_of_the_builder() {
    let data = json!({
        "max_attempts": 5, "base": "100ms", "factor": 3.0, "cap": "2s", "jitter": "equal",
        "max_elapsed": "1m", "hint_max": "30s", "on": ["unclassified", "transient"],
    });
    let expected = Retry::exponential(Duration::from_millis(100))
        .factor(3.0)
        .cap(Duration::from_secs(2))
        .jitter(Jitter::Equal)
        .max_attempts(5)
        .max_elapsed(Duration::from_secs(60))
        .hint_max(Duration::from_secs(30))
        .on([ErrorClass::Unclassified, ErrorClass::Transient]);
    assert_eq!(facts(&retry(&data).unwrap()), facts(&expected));
    let growths = [("linear", Backoff::linear as fn(_) -> _), ("constant", Backoff::constant)];
    for (name, backoff) in growths {
        let expected = Retry::with(backoff(Duration::from_secs(1)));
        assert_eq!(facts(&retry(&json!({ "growth": name, "base": "1s" })).unwrap()), facts(&expected));
    }
    let jitters = [
        (json!("none"), Jitter::None),
        (json!("full"), Jitter::Full),
        (json!("decorrelated"), Jitter::Decorrelated),
        (json!({ "proportional": 0.25 }), Jitter::Proportional(0.25)),
    ];
    for (data, jitter) in jitters {
        assert_eq!(
            facts(&retry(&json!({ "jitter": data })).unwrap()),
            facts(&Retry::default().jitter(jitter))
        );
    }
}

#[test]
fn a_retry_that_cannot_work_is_refused_at_its_field() {
    let cases = [
        (json!({ "max_attempts": 0 }), "/max_attempts"),
        (json!({ "factor": 0.5 }), "/factor"),
        (json!({ "jitter": { "proportional": 1.5 } }), "/jitter/proportional"),
        (json!({ "jitter": { "proportional": -0.1 } }), "/jitter/proportional"),
    ];
    for (data, place) in cases {
        assert_eq!(retry(&data).unwrap_err().pointer(), place, "{data}");
    }
    // What is never tried again cannot be asked for.
    for class in ["permanent", "denied", "panic", "invalid"] {
        assert!(serde_json::from_value::<RetrySpec>(json!({ "on": [class] })).is_err(), "{class}");
    }
}

#[test]
fn each_field_of_a_breaker_is_that_of_the_builder() {
    let data = json!({
        "dependency": "model", "failure_rate": 0.3, "time_window": "1m", "count_window": 40, "min_calls": 15, "consecutive": 4,
        "slow_calls": { "threshold": "2s", "share": 0.7 }, "open_for": "3s", "max_open": "1m", "jitter": 0.1, "probes": 2,
        "per_tenant": false, "max_keys": 50, "wait_while_open": "4s",
    });
    let secs = Duration::from_secs;
    let expected = CircuitBreaker::builder("model")
        .failure_rate(0.3)
        .time_window(secs(60))
        .count_window(40)
        .min_calls(15)
        .consecutive(4)
        .slow_calls(secs(2), 0.7)
        .open_for(secs(3))
        .max_open(secs(60))
        .jitter(0.1)
        .probes(2)
        .per_tenant(false)
        .max_keys(50)
        .wait_while_open(secs(4))
        .build()
        .unwrap();
    let breaker = read::<BreakerSpec>(&data).into_policy().unwrap();
    let said = |breaker: &CircuitBreaker| without_ids(&facts(breaker));
    assert_eq!(said(&breaker), said(&expected));
    assert_eq!(breaker.key(None), expected.key(None));
    let error = read::<BreakerSpec>(&json!({ "failure_rate": 2.0, "probes": 0 })).into_policy().unwrap_err();
    assert!(error.to_string().contains("; "), "both are said: {error}");
    assert_eq!(
        said(&read::<BreakerSpec>(&json!({})).into_policy().unwrap()),
        said(&CircuitBreaker::per_stage().build().unwrap())
    );
}

/// Each policy has an id of its own, which its facts name.
fn without_ids(facts: &str) -> String {
    let mut rest = facts;
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once("PolicyId(") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    text + rest
}

#[test]
fn each_field_of_a_bulkhead_is_that_of_the_builder() {
    let data = json!({
        "name": "model", "max_concurrent": 3, "max_queue": 4, "queue_timeout": "5s", "per_tenant": true, "max_keys": 6,
        "when_full": "skip",
    });
    let expected = Bulkhead::builder("model")
        .max_concurrent(3)
        .max_queue(4)
        .queue_timeout(Duration::from_secs(5))
        .per_tenant(true)
        .max_keys(6)
        .when_full(WhenFull::Skip)
        .build()
        .unwrap();
    let bulkhead = read::<BulkheadSpec>(&data).into_policy().unwrap();
    assert_eq!(without_ids(&facts(&bulkhead)), without_ids(&facts(&expected)));
    let error = read::<BulkheadSpec>(&json!({ "name": "m", "max_concurrent": 0 })).into_policy().unwrap_err();
    assert_eq!(error.message(), "`max_concurrent` is 0, and no call could run");
}

#[test]
fn a_rate_limit_has_the_limits_of_the_data() {
    let data = json!({
        "name": "model",
        "limits": { "calls": { "limit": 60, "per": "1m" }, "tokens": { "limit": 1000, "per": "1s", "burst": 10 } },
        "max_wait": "1s", "max_queue": 5, "max_keys": 7, "per_tenant": true, "when_full": "reject",
    });
    let rate = read::<RateLimitSpec>(&data).into_policy().unwrap();
    assert_eq!(rate.available(None, "calls"), Some(60));
    assert_eq!(rate.available(None, "tokens"), Some(10));
    for limits in [
        json!({}),
        json!({ "calls": { "limit": 0, "per": "1s" } }),
        json!({ "calls": { "limit": 1, "per": "0s" } }),
    ] {
        let data = json!({ "name": "m", "limits": limits });
        assert!(read::<RateLimitSpec>(&data).into_policy().is_err(), "{data}");
    }
}

#[test]
fn misspelt_fields_are_refused_and_what_is_read_serialises_to_the_same() {
    assert!(serde_json::from_value::<RetrySpec>(json!({ "max_attemps": 1 })).is_err());
    assert!(serde_json::from_value::<BreakerSpec>(json!({ "dependancy": "x" })).is_err());
    assert!(serde_json::from_value::<BulkheadSpec>(json!({ "name": "x", "size": 1 })).is_err());
    assert!(
        serde_json::from_value::<RateLimitSpec>(json!({ "name": "x", "limits": {}, "size": 1 })).is_err()
    );
    let data =
        json!({ "max_attempts": 5, "base": "100ms", "jitter": { "proportional": 0.5 }, "on": ["timeout"] });
    assert_eq!(serde_json::to_value(read::<RetrySpec>(&data)).unwrap(), data);
}
