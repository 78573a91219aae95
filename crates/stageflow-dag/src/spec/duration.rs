//! [`HumanDuration`]: `"250ms"` in data.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration as people write it: `"250ms"`, `"1.5s"`, `"2m"`, `"1h30m"`.
///
/// Units are `ns`, `us` or `µs`, `ms`, `s`, `m` (minutes), `h` and `d`, the larger first, each at most once; the last number may have
/// a fraction. A number without a unit is an error. It holds whole nanoseconds, up to 584 years.
///
/// ```
/// use std::time::Duration;
/// use stageflow_dag::spec::HumanDuration;
///
/// let time: HumanDuration = "1m30s".parse()?;
/// assert_eq!(Duration::from(time), Duration::from_secs(90));
/// assert_eq!(time.to_string(), "1m30s");
/// assert!("90".parse::<HumanDuration>().is_err());
/// # Ok::<_, stageflow_dag::spec::HumanDurationError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(pub Duration);

/// A text is no duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HumanDurationError(String);

/// The units from the largest on, in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

impl FromStr for HumanDuration {
    type Err = HumanDurationError;

    fn from_str(text: &str) -> Result<Self, HumanDurationError> {
        parse(text).map(|nanos| Self(Duration::from_nanos(nanos))).ok_or_else(|| {
            let shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
            HumanDurationError(format!("`{shown}` is no duration: write `250ms`, `1.5s`, `2m`, `1h30m`"))
        })
    }
}

fn parse(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0_u64;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let (whole, after) = digits(rest)?;
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after)?,
            None => ("", after),
        };
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let (_, nanos) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        if nanos >= smallest || (!fraction.is_empty() && !next.is_empty()) {
            return None;
        }
        smallest = nanos;
        let whole = whole.parse::<u64>().ok()?.checked_mul(nanos)?;
        sum = sum.checked_add(whole)?.checked_add(part(fraction, nanos)?)?;
        rest = next;
    }
    (smallest != u64::MAX).then_some(sum)
}

/// At least one digit, and what follows.
fn digits(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// So many nanoseconds are `0.fraction` of a unit; `None` if that is no whole number of them.
fn part(fraction: &str, unit: u64) -> Option<u64> {
    let fraction = fraction.trim_end_matches('0');
    let mut scale = 1_u64;
    for _ in 0..fraction.len() {
        scale = scale.checked_mul(10)?;
    }
    let number = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? };
    let nanos = u128::from(number) * u128::from(unit);
    nanos.is_multiple_of(u128::from(scale)).then(|| u64::try_from(nanos / u128::from(scale)).ok())?
}

impl fmt::Display for HumanDuration {
    /// Exactly, in a form that parses to the same again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (name, nanos) in UNITS.into_iter().filter(|(name, _)| *name != "µs") {
            if left >= nanos {
                write!(f, "{}{name}", left / nanos)?;
                left %= nanos;
            }
        }
        Ok(())
    }
}

impl fmt::Display for HumanDurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HumanDurationError {}

impl From<HumanDuration> for Duration {
    fn from(time: HumanDuration) -> Self {
        time.0
    }
}

impl From<Duration> for HumanDuration {
    fn from(time: Duration) -> Self {
        Self(time)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "HumanDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A duration: `250ms`, `1.5s`, `2m`, `1h30m`.",
            "pattern": "^([0-9]+(\\.[0-9]+)?(ns|us|µs|ms|s|m|h|d))+$",
        })
    }
}
