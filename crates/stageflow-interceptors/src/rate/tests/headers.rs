//! What headers say, and that nothing in them does harm.

use std::time::Duration;

use proptest::prelude::*;
use stageflow_core::DurationExt;

use crate::RateHeaders;

fn reset(text: &str) -> Option<Duration> {
    RateHeaders::from_text("", "", text).parts().2.map(Duration::from_nanos)
}

#[test]
fn durations_are_read_as_providers_write_them() {
    for (text, expected) in [
        ("2", 2.secs()),
        ("1.5", 1_500.millis()),
        (" 20s ", 20.secs()),
        ("6m0s", 6.mins()),
        ("1h2m3.25s", 3_723_250.millis()),
        ("120ms", 120.millis()),
        ("8.64ms", 8_640.micros()),
        ("0", Duration::ZERO),
        ("1d", 1_440.mins()),
        ("99999999999999999999", Duration::from_nanos(u64::MAX)),
    ] {
        assert_eq!(reset(text), Some(expected), "{text}");
    }
    for text in
        ["", "-1", "soon", "s", ".5", "1.2.3", "1x", "5 s", "1s2", "NaN", "2030-01-01T00:00:00Z", "٣s"]
    {
        assert_eq!(reset(text), None, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_does_harm(limit in ".*", remaining in ".*", reset in "[0-9.a-z]{0,12}|.*") {
        let _ = RateHeaders::from_text(&limit, &remaining, &reset);
    }
}
