//! The tables of statuses, codes and words, and headers of every kind.

use std::time::{Duration, SystemTime};

use stageflow_core::{
    DurationExt as _,
    ErrorClass::{self, Permanent, Timeout, Transient, Unclassified},
};

use super::{ErrorClassifier, Refused, retry_after_at};

fn class(status: Option<u16>, code: Option<&str>, message: &str) -> ErrorClass {
    ErrorClassifier::default().classify(&Refused { status, code, message, retry_after: None })
}

#[test]
fn statuses_are_classified() {
    for (statuses, expected) in [
        (&[429, 500, 502, 503, 425, 423, 529][..], Transient),
        (&[408, 504, 524], Timeout),
        (&[400, 401, 403, 404, 409, 410, 413, 422, 451, 501, 505], Permanent),
        (&[0, 100, 200, 204, 301, 304, 999, u16::MAX], Unclassified),
    ] {
        for status in statuses {
            assert_eq!(class(Some(*status), None, ""), expected, "{status}");
        }
    }
}

#[test]
fn codes_go_before_statuses_and_statuses_before_words() {
    assert_eq!(class(Some(429), Some("insufficient_quota"), ""), Permanent, "no money is no rate limit");
    assert_eq!(class(Some(400), Some(" Context_Length_Exceeded "), ""), Permanent);
    assert_eq!(class(Some(200), Some("overloaded_error"), ""), Transient);
    assert_eq!(class(Some(429), Some("unheard_of"), "Invalid API key"), Transient);
    assert_eq!(class(None, None, "Incorrect API key provided: sk-…"), Permanent);
    assert_eq!(class(None, None, "This model's maximum context length is 8192 tokens"), Permanent);
    assert_eq!(class(None, None, "operation timed out"), Timeout);
    assert_eq!(class(None, None, "Connection reset by peer"), Transient);
    assert_eq!(class(None, None, "eh?"), Unclassified);
}

#[test]
fn rules_of_ones_own_go_first_and_the_last_one_wins() {
    let own = ErrorClassifier::default()
        .status(404, Permanent)
        .status(404, Transient)
        .code("busy", Permanent)
        .code("BUSY", Transient)
        .code("rate_limit_exceeded", Permanent);
    let of = |status, code| own.classify(&Refused { status, code, ..Refused::default() });
    assert_eq!(of(Some(404), None), Transient);
    assert_eq!(of(None, Some("Busy")), Transient);
    assert_eq!(of(Some(429), Some("rate_limit_exceeded")), Permanent);
}

#[test]
fn headers_are_seconds_or_dates_and_nothing_else() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let read = |header| retry_after_at(header, now);
    assert_eq!(read("0"), Some(0.secs()));
    assert_eq!(read(" 90 "), Some(90.secs()));
    assert_eq!(read("99999999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
    // All three forms of a date that a client has to read.
    for date in
        ["Sun, 06 Nov 1994 08:50:37 GMT", "Sunday, 06-Nov-94 08:50:37 GMT", "Sun Nov  6 08:50:37 1994"]
    {
        assert_eq!(read(date), Some(60.secs()), "{date}");
    }
    assert_eq!(read("Sun, 06 Nov 1994 08:49:36 GMT"), Some(0.secs()), "it is over");
    for odd in ["", " ", "-1", "+1", "1.5", "1e3", "soon", "Sun, 99 Nov 1994", "0x10", "١٢", "1 2"] {
        assert_eq!(read(odd), None, "{odd}");
    }
}

#[test]
fn an_exit_says_what_was_said() {
    let classifier = ErrorClassifier::default();
    let exit = |refused: Refused<'_>| classifier.exit(&refused);
    let full = Refused {
        status: Some(503),
        code: Some("overloaded_error"),
        message: "come back later",
        retry_after: Some("3"),
    };
    assert_eq!(exit(full).to_string(), "failed: 503 overloaded_error: come back later");
    assert_eq!((exit(full).error_class(), exit(full).retry_after()), (Some(Transient), Some(3.secs())));
    let odd = Refused { retry_after: Some("soon"), ..full };
    assert_eq!(exit(odd).retry_after(), None);
    assert_eq!(exit(Refused::default()).to_string(), "failed: refused");
    assert_eq!(exit(Refused { status: Some(404), ..Refused::default() }).to_string(), "failed: 404");
    assert_eq!(exit(Refused { message: "no", ..Refused::default() }).to_string(), "failed: no");
}
