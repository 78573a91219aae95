//! Durations as people write them.

use std::time::Duration;

use crate::spec::HumanDuration;

fn nanos(text: &str) -> Option<u128> {
    text.parse::<HumanDuration>().ok().map(|time| time.0.as_nanos())
}

#[test]
fn each_unit_is_read() {
    let expected = [
        ("7ns", 7),
        ("7us", 7_000),
        ("7µs", 7_000),
        ("7ms", 7_000_000),
        ("7s", 7_000_000_000),
        ("7m", 420_000_000_000),
        ("7h", 25_200_000_000_000),
        ("7d", 604_800_000_000_000),
        ("1h30m", 5_400_000_000_000),
        ("1m1s1ms", 61_001_000_000),
        ("1.5s", 1_500_000_000),
        ("0.25ms", 250_000),
        ("1m1.5s", 61_500_000_000),
        ("0s", 0),
        ("1.000s", 1_000_000_000),
    ];
    for (text, value) in expected {
        assert_eq!(nanos(text), Some(value), "{text}");
    }
}

#[test]
fn what_is_no_duration_is_refused() {
    let wrong = [
        "",
        " ",
        "5",
        "s",
        "-1s",
        "+1s",
        "1 s",
        "1s ",
        "1S",
        "1.s",
        ".5s",
        "1,5s",
        "1e3s",
        "1s1m",
        "1s1s",
        "1.5m1s",
        "0.5ns",
        "inf",
        "NaN",
        "∞s",
        "1ms1us1µs",
        "99999999999999999999s",
        "18446744073709551615d",
        "0x1s",
        "1s\0",
    ];
    for text in wrong {
        assert_eq!(nanos(text), None, "{text:?}");
    }
}

#[test]
fn the_largest_is_read_and_one_more_is_not() {
    assert_eq!(nanos("18446744073709551615ns"), Some(u128::from(u64::MAX)));
    assert_eq!(nanos("18446744073709551616ns"), None);
    assert_eq!(nanos("18446744073709ms551616us"), None);
    assert_eq!(nanos("213503d23h34m33s709ms551us615ns"), Some(u128::from(u64::MAX)));
    assert_eq!(nanos("213503d23h34m33s709ms551us616ns"), None);
}

#[test]
fn what_is_written_reads_the_same() {
    for nanos in [0, 1, 999, 1_000, 1_500_000, 90_000_000_000, 86_400_000_000_001, u64::MAX] {
        let time = HumanDuration(Duration::from_nanos(nanos));
        assert_eq!(time.to_string().parse(), Ok(time), "{time}");
    }
    assert_eq!(HumanDuration(Duration::from_secs(5_400)).to_string(), "1h30m");
}

#[test]
fn an_error_shows_the_text_and_how_it_is_written() {
    let error = "5\u{1b}".repeat(100).parse::<HumanDuration>().unwrap_err().to_string();
    assert!(!error.contains('\u{1b}') && error.len() < 400, "{error}");
    assert!(error.contains("`250ms`"), "{error}");
}
