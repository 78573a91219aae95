//! When a breaker opens, for how long, and when it closes: plain numbers, checked all at once.

use std::{error::Error, fmt, time::Duration};

use stageflow_core::{
    code::{self, Code},
    time::{Human, nanos},
};

/// Times are nanoseconds, shares are from 0 to 1.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) failure_rate: Option<f64>,
    pub(crate) slow: Option<SlowRule>,
    pub(crate) consecutive: Option<u32>,
    pub(crate) follows_hints: bool,
    pub(crate) time_window: Option<u64>,
    pub(crate) count_window: Option<u32>,
    pub(crate) min_calls: u32,
    pub(crate) open_for: u64,
    pub(crate) max_open: u64,
    pub(crate) jitter: f64,
    pub(crate) probes: u32,
}

/// From when on a call is slow, and what share of slow calls is too much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlowRule {
    pub(crate) threshold: u64,
    pub(crate) rate: f64,
}

impl Rules {
    /// How long the breaker stays open after it was tripped so many times in a row: `min(max_open, open_for · 2^(trips-1))`,
    /// and of that a uniformly random value within the jitter that does not exceed `max_open`.
    ///
    /// Cutting off at `max_open` instead would let half of all breakers that have grown that far reopen at one moment.
    pub(crate) fn open_span(&self, trips: u32, random: u64) -> u64 {
        let factor = 1_u64.checked_shl(trips.saturating_sub(1)).unwrap_or(u64::MAX);
        let span = self.open_for.saturating_mul(factor).min(self.max_open);
        let least = scaled(span, 1.0 - self.jitter);
        let most = scaled(span, 1.0 + self.jitter).min(self.max_open);
        least + scaled(most.saturating_sub(least), unit(random))
    }
}

/// A number from 0 to below 1.
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shares are checked to be positive, and the cast saturates"
)]
fn scaled(nanos: u64, factor: f64) -> u64 {
    (nanos as f64 * factor).round() as u64
}

/// What the builder was told.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) dependency: String,
    pub(crate) failure_rate: Option<f64>,
    pub(crate) slow: Option<(Duration, f64)>,
    pub(crate) consecutive: Option<u32>,
    pub(crate) follows_hints: bool,
    pub(crate) time_window: Option<Duration>,
    pub(crate) count_window: Option<u32>,
    pub(crate) min_calls: Option<u32>,
    pub(crate) open_for: Duration,
    pub(crate) max_open: Duration,
    pub(crate) jitter: f64,
    pub(crate) probes: u32,
    pub(crate) probe_lease: Option<Duration>,
    pub(crate) max_keys: usize,
    pub(crate) max_wait: Option<Duration>,
}

const MIN_CALLS: u32 = 20;
const TIME_WINDOW: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
const MAX_COUNT: u32 = 100_000;
const MAX_PROBES: u32 = 1_000;
const MAX_KEYS: usize = 1_000_000;

impl Draft {
    pub(crate) fn new(dependency: String) -> Self {
        Self {
            dependency,
            failure_rate: Some(0.5),
            slow: None,
            consecutive: None,
            follows_hints: true,
            time_window: None,
            count_window: None,
            min_calls: None,
            open_for: Duration::from_secs(10),
            max_open: Duration::from_secs(300),
            jitter: 0.2,
            probes: 3,
            probe_lease: None,
            max_keys: 1_024,
            max_wait: None,
        }
    }

    /// # Errors
    ///
    /// Everything that is wrong.
    pub(crate) fn check(&self) -> Result<Rules, BreakerConfigError> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        let named = !self.dependency.trim().is_empty() && !self.dependency.contains(char::is_control);
        must(named, "the dependency needs a name without control characters".to_owned());
        let shares =
            [("failure rate", self.failure_rate), ("share of slow calls", self.slow.map(|slow| slow.1))];
        for (what, share) in shares {
            let fits = share.is_none_or(|share| share > 0.0 && share <= 1.0);
            must(
                fits,
                format!("the {what} is {}, and must be above 0 and at most 1", share.unwrap_or_default()),
            );
        }
        let spans = [
            ("time window", self.time_window),
            ("time from which a call is slow", self.slow.map(|slow| slow.0)),
            ("open time", Some(self.open_for)),
            ("longest open time", Some(self.max_open)),
            ("lease of a probe", self.probe_lease),
            ("longest wait", self.max_wait),
        ];
        for (what, span) in spans {
            let fits = span.is_none_or(|span| !span.is_zero() && span <= LONGEST);
            let given = Human(span.unwrap_or_default());
            must(fits, format!("the {what} is {given}, and must be above 0 and at most {}", Human(LONGEST)));
        }
        let counts = [
            ("count window", self.count_window, MAX_COUNT),
            ("number of consecutive failures", self.consecutive, MAX_COUNT),
            ("least number of calls", self.min_calls, MAX_COUNT),
            ("number of probes", Some(self.probes), MAX_PROBES),
        ];
        for (what, count, most) in counts {
            let fits = count.is_none_or(|count| count > 0 && count <= most);
            must(fits, format!("the {what} is {}, and must be from 1 to {most}", count.unwrap_or_default()));
        }
        let keys = self.max_keys;
        must(
            keys > 0 && keys <= MAX_KEYS,
            format!("the number of keys is {keys}, and must be from 1 to {MAX_KEYS}"),
        );
        must(
            (0.0..1.0).contains(&self.jitter),
            format!("the jitter is {}, and must be at least 0 and below 1", self.jitter),
        );
        must(
            self.open_for <= self.max_open,
            format!(
                "the open time {} is longer than the longest one {}",
                Human(self.open_for),
                Human(self.max_open)
            ),
        );
        if let (Some(window), Some(least)) = (self.count_window, self.min_calls) {
            must(
                least <= window,
                format!("a window of {window} calls never holds the {least} that are the least to judge by"),
            );
        }
        must(
            self.failure_rate.is_some()
                || self.slow.is_some()
                || self.consecutive.is_some()
                || self.follows_hints,
            "nothing ever opens it: give it at least one rule".to_owned(),
        );
        if problems.is_empty() { Ok(self.rules()) } else { Err(BreakerConfigError { problems }) }
    }

    fn rules(&self) -> Rules {
        let time_window = self.time_window.or_else(|| self.count_window.is_none().then_some(TIME_WINDOW));
        let fitting = self.count_window.map_or(MIN_CALLS, |window| window.min(MIN_CALLS));
        Rules {
            failure_rate: self.failure_rate,
            slow: self.slow.map(|(threshold, rate)| SlowRule { threshold: nanos(threshold), rate }),
            consecutive: self.consecutive,
            follows_hints: self.follows_hints,
            time_window: time_window.map(nanos),
            count_window: self.count_window,
            min_calls: self.min_calls.unwrap_or(fitting),
            open_for: nanos(self.open_for),
            max_open: nanos(self.max_open),
            jitter: self.jitter,
            probes: self.probes,
        }
    }
}

/// A breaker was given values that cannot work.
///
/// ```
/// use stageflow_interceptors::CircuitBreaker;
///
/// let error = CircuitBreaker::builder("search").failure_rate(50.0).probes(0).build().unwrap_err();
/// assert_eq!(error.problems().len(), 2);
/// assert_eq!(error.problems()[0], "the failure rate is 50, and must be above 0 and at most 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerConfigError {
    problems: Vec<String>,
}

impl BreakerConfigError {
    /// Everything that is wrong, one sentence each.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// `INVALID_POLICY`.
    pub fn code(&self) -> Code {
        code::INVALID_POLICY
    }
}

impl fmt::Display for BreakerConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the circuit breaker cannot work: {}", self.problems.join("; "))
    }
}

impl Error for BreakerConfigError {}
