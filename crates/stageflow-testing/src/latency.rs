//! How long something takes: fixed, from a range, or from a distribution.

use std::{ops::Range, time::Duration};

use stageflow_core::{
    Randomness,
    time::{below, nanos},
};

/// A length of time, drawn anew each time.
///
/// ```
/// use stageflow_core::{DurationExt as _, time::SeededRandom};
/// use stageflow_testing::Latency;
///
/// let random = SeededRandom::new(7);
/// let range = Latency::from(5.millis()..500.millis());
/// assert!((5.millis()..500.millis()).contains(&range.draw(&random)));
/// assert_eq!(Latency::from(3.millis()).draw(&random), 3.millis());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Latency {
    /// Always the same.
    Fixed(Duration),
    /// Each length of the range is as likely as any other. An empty range gives its start.
    Uniform(Range<Duration>),
    /// Exponentially distributed around a mean, as of a memoryless service; at most 20 times the mean.
    Exponential {
        /// The mean.
        mean: Duration,
    },
    /// Log-normally distributed, as measured latencies of remote services often are; at most 1,000 times the median.
    LogNormal {
        /// Half of the lengths are shorter.
        median: Duration,
        /// The standard deviation of the logarithm: 0.5 is a mild tail, 1.5 a heavy one.
        sigma: f64,
    },
}

impl Latency {
    /// The next length.
    pub fn draw(&self, random: &dyn Randomness) -> Duration {
        match self {
            Self::Fixed(length) => *length,
            Self::Uniform(range) => {
                let (from, to) = (nanos(range.start), nanos(range.end));
                let width = u128::from(to.saturating_sub(from));
                Duration::from_nanos(from.saturating_add(below(random.next_u64(), width)))
            }
            Self::Exponential { mean } => scaled(*mean, (-unit(random).ln()).min(20.0)),
            Self::LogNormal { median, sigma } => {
                // Box and Muller, *A Note on the Generation of Random Normal Deviates*, 1958.
                let radius = (-2.0 * unit(random).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * unit(random)).cos();
                scaled(*median, (sigma * normal).exp().min(1e3))
            }
        }
    }
}

fn scaled(length: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(length.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

/// A number above 0 and at most 1, with 53 random bits.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
pub(crate) fn unit(random: &dyn Randomness) -> f64 {
    ((random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

impl From<Duration> for Latency {
    fn from(length: Duration) -> Self {
        Self::Fixed(length)
    }
}

impl From<Range<Duration>> for Latency {
    fn from(range: Range<Duration>) -> Self {
        Self::Uniform(range)
    }
}
