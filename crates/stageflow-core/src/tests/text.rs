//! How durations, names of types and texts of others are printed.

use std::time::Duration;

use crate::{
    DurationExt, WaitReason,
    text::OneLine,
    time::{Human, nanos},
    value::TypeTag,
};

#[test]
fn durations_read_well() {
    for (duration, text) in [
        (Duration::ZERO, "0ns"),
        (Duration::from_nanos(999), "999ns"),
        (Duration::from_nanos(1_000), "1.0µs"),
        (Duration::from_nanos(9_999), "9.9µs"),
        (Duration::from_nanos(10_000), "10µs"),
        (Duration::from_nanos(999_999), "999µs"),
        (Duration::from_nanos(1_250_000), "1.2ms"),
        (999.millis(), "999ms"),
        (1.secs(), "1.0s"),
        (1_500.millis(), "1.5s"),
        (59_999.millis(), "59s"),
        (60.secs(), "1m00s"),
        (185.secs(), "3m05s"),
        (25.mins(), "25m00s"),
        (3_600.secs(), "1h00m"),
        (26.mins() * 60, "1d02h"),
        (Duration::MAX, "213503982334601d07h"),
    ] {
        assert_eq!(Human(duration).to_string(), text);
    }
    assert_eq!(format!("[{:>7}]", Human(1.secs())), "[   1.0s]");
}

#[test]
fn durations_are_written_like_prose_and_do_not_overflow() {
    assert_eq!((5.micros(), 2.mins()), (Duration::from_micros(5), Duration::from_secs(120)));
    assert_eq!(u64::MAX.mins(), Duration::from_secs(u64::MAX));
    assert_eq!((nanos(Duration::MAX), nanos(1.secs())), (u64::MAX, 1_000_000_000));
}

#[test]
fn types_are_named_without_their_modules() {
    struct Own;
    assert_eq!(TypeTag::of::<Own>().short_name(), "Own");
    assert_eq!(TypeTag::of::<u32>().short_name(), "u32");
    assert_eq!(TypeTag::of::<()>().short_name(), "()");
    assert_eq!(TypeTag::of::<&'static str>().short_name(), "&str");
    assert_eq!(TypeTag::of::<Option<Vec<std::sync::Arc<String>>>>().short_name(), "Option<Vec<Arc<String>>>");
    assert_eq!(TypeTag::of::<(std::path::PathBuf, [u8; 4])>().short_name(), "(PathBuf, [u8; 4])");
    assert_eq!(TypeTag::of::<std::collections::HashMap<String, u8>>().short_name(), "HashMap<String, u8>");
    assert!(TypeTag::of::<String>().full_name().contains("::"));
}

#[test]
fn texts_of_others_stay_on_one_line() {
    assert_eq!(OneLine("plain — ünïcode 👩‍👧").to_string(), "plain — ünïcode 👩‍👧");
    assert_eq!(OneLine("a\nb\r\tc\u{1b}[0m\0\u{85}").to_string(), "a\\nb\\r\\tc\\u{1b}[0m\\u{0}\\u{85}");
}

/// Each reason reads as the end of a sentence that begins with the stage's name.
#[test]
fn reasons_read_well() {
    let reasons = [
        (WaitReason::Dependencies { stages: vec!["a".into(), "b".into()] }, "waits for `a`, `b`"),
        (WaitReason::Turn, "is ready and waits for a worker"),
        (WaitReason::Permit { limit: "engine", key: None }, "waits for a permit of the engine limit"),
        (
            WaitReason::Permit { limit: "tenant", key: Some("acme".into()) },
            "waits for a permit of the tenant limit `acme`",
        ),
        (WaitReason::Itself, "is running and pending"),
        (WaitReason::NotYielding, "is running and has not yielded"),
        (WaitReason::Blocking, "is running on a blocking thread"),
        (WaitReason::ChildRun, "waits for its child run"),
        (
            WaitReason::Items { done: 312, total: Some(1_000), running: 16, queued: 40 },
            "has done 312 of 1000 items, 16 running, 40 queued",
        ),
        (
            WaitReason::Items { done: 312, total: None, running: 16, queued: 0 },
            "has done 312 items, 16 running, 0 queued",
        ),
        (WaitReason::Batch { batcher: "llm".into(), is_called: false }, "waits for its batch of `llm`"),
        (
            WaitReason::Batch { batcher: "llm".into(), is_called: true },
            "waits for the answers to its batch of `llm`",
        ),
        (
            WaitReason::BackOff {
                next_attempt: 2,
                remaining: 1_500.millis(),
                last_error: "429".into(),
                breaker: None,
            },
            "backs off for 1.5s before attempt 2 (429)",
        ),
        (
            WaitReason::BackOff {
                next_attempt: 2,
                remaining: 1_500.millis(),
                last_error: "open".into(),
                breaker: Some("llm".into()),
            },
            "waits 1.5s for the breaker `llm`, before attempt 2",
        ),
        (WaitReason::Breaker { key: "llm".into() }, "waits for the breaker `llm`"),
        (WaitReason::RateLimit { key: "llm".into() }, "waits for the rate limit `llm`"),
        (WaitReason::Grace { remaining: 20.millis() }, "has 20ms of grace left"),
        (WaitReason::CleanUp, "waits for the clean-up"),
    ];
    for (reason, text) in reasons {
        assert_eq!(reason.to_string(), text);
    }
    let json = serde_json::to_value(WaitReason::Permit { limit: "run", key: None }).unwrap();
    assert_eq!(json, serde_json::json!({ "waits_for": "permit", "limit": "run" }));
}
