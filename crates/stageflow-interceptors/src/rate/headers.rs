//! What a response says about a quota, as data: numbers, or the text of headers.

use std::time::Duration;

use stageflow_core::time::nanos;

/// What a response says about one dimension of a quota. What it does not say, or not in a way that makes sense, is left out.
///
/// Text is taken as providers write it: whole numbers, and durations in seconds (`2`, `1.5`) or with units (`6m0s`, `120ms`).
/// Anything else, dates included, counts as not said.
///
/// ```
/// use stageflow_core::DurationExt;
/// use stageflow_interceptors::RateHeaders;
///
/// let said = RateHeaders::from_text("90000", "120", "1m2.5s");
/// assert_eq!(said, RateHeaders::new().limit(90_000).remaining(120).reset_after(62_500.millis()));
/// assert_eq!(RateHeaders::from_text("-3", "many", "soon"), RateHeaders::new());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateHeaders {
    limit: Option<u64>,
    remaining: Option<u64>,
    reset_after: Option<Duration>,
}

impl RateHeaders {
    /// Nothing said.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the values of headers say; an empty text for one that is not there.
    pub fn from_text(limit: &str, remaining: &str, reset_after: &str) -> Self {
        Self {
            limit: limit.trim().parse().ok(),
            remaining: remaining.trim().parse().ok(),
            reset_after: duration(reset_after.trim()),
        }
    }

    /// How much cost a period has. 0 is no limit that anybody has, and is ignored, as is one above the limiter's own.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// How much cost is left until the reset. It counts together with [`reset_after`](Self::reset_after) only.
    #[must_use]
    pub fn remaining(mut self, remaining: u64) -> Self {
        self.remaining = Some(remaining);
        self
    }

    /// When what is left is filled up again; more than a period counts as a period.
    #[must_use]
    pub fn reset_after(mut self, reset_after: Duration) -> Self {
        self.reset_after = Some(reset_after);
        self
    }

    pub(super) fn parts(self) -> (Option<u64>, Option<u64>, Option<u64>) {
        (self.limit, self.remaining, self.reset_after.map(nanos))
    }
}

/// A duration as a sum of numbers with units, or as one number of seconds.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum: Option<u64> = None;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, more) = rest.split_at(number);
        let end = more.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(more.len());
        let (unit, more) = more.split_at(end);
        let unit = match unit {
            "ms" => 1_000_000,
            "" if sum.is_none() && more.is_empty() => 1_000_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            _ => return None,
        };
        sum = Some(sum.unwrap_or(0).saturating_add(scaled(digits, unit)?));
        rest = more;
    }
    sum.map(Duration::from_nanos)
}

/// A decimal number of units, saturating. Digits behind the ninth after the point are left out.
fn scaled(digits: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !is_number(fraction) {
        return None;
    }
    // All digits: what does not fit is huge.
    let whole: u64 = whole.parse().unwrap_or(u64::MAX);
    let fraction = &fraction[..fraction.len().min(9)];
    let parts: u128 = format!("{fraction:0<9}").parse().ok()?;
    let parts = u64::try_from(parts * u128::from(unit) / 1_000_000_000).unwrap_or(u64::MAX);
    Some(whole.saturating_mul(unit).saturating_add(parts))
}
