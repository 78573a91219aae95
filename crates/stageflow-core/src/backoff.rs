//! How long to wait before another attempt: pure functions of the attempt and a random number.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::time::{Human, below, nanos};

/// How the ceiling of the delay grows from retry to retry, before jitter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Growth {
    /// `base · factor^n`, for the n-th retry counted from 0.
    Exponential {
        /// By what each ceiling exceeds the one before.
        factor: f64,
    },
    /// `base · (n + 1)`.
    Linear,
    /// `base`.
    Constant,
}

/// How chance spreads the delays of clients that failed together, so that they do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Jitter {
    /// Not at all: the ceiling itself.
    None,
    /// Evenly between nothing and the ceiling. Spreads best, and is the default.
    Full,
    /// Evenly between half of the ceiling and the ceiling.
    Equal,
    /// Evenly between the base and three times the previous delay.
    Decorrelated,
    /// Evenly within this share of the ceiling, to both sides.
    Proportional(f64),
}

/// Delays between attempts. The arithmetic saturates: no attempt number, base or factor overflows, and no delay exceeds the cap.
///
/// The formulas are those of Marc Brooker, *Exponential Backoff And Jitter* (2015).
///
/// ```
/// use stageflow_core::{Backoff, DurationExt as _, Jitter};
///
/// let backoff = Backoff::exponential(200.millis()).jitter(Jitter::None);
/// let delays: Vec<_> = (0..4).map(|retry| backoff.delay(retry, 200.millis(), 0)).collect();
/// assert_eq!(delays, [200.millis(), 400.millis(), 800.millis(), 1_600.millis()]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    growth: Growth,
    jitter: Jitter,
}

impl Default for Backoff {
    /// 200 ms, doubled each time, at most 30 s, with full jitter.
    fn default() -> Self {
        Self::exponential(Duration::from_millis(200))
    }
}

impl Backoff {
    /// How many attempts there are in total where nobody says otherwise.
    pub const ATTEMPTS: u32 = 3;

    /// What a delay that the other side asks for is cut to where nobody says otherwise.
    pub const HINT_MAX: Duration = Duration::from_secs(60);

    fn new(base: Duration, growth: Growth) -> Self {
        Self { base, cap: Duration::from_secs(30), growth, jitter: Jitter::Full }
    }

    /// Ceilings that double, beginning with `base`.
    pub fn exponential(base: Duration) -> Self {
        Self::new(base, Growth::Exponential { factor: 2.0 })
    }

    /// Ceilings that grow by `base`.
    pub fn linear(base: Duration) -> Self {
        Self::new(base, Growth::Linear)
    }

    /// Ceilings that are all `base`.
    pub fn constant(base: Duration) -> Self {
        Self::new(base, Growth::Constant)
    }

    /// By what exponential ceilings grow; 2 by default. Numbers below 1 and no numbers count as 1.
    pub fn factor(mut self, by: f64) -> Self {
        if let Growth::Exponential { factor } = &mut self.growth {
            // Not a number is not above 1 either.
            *factor = if by > 1.0 { by } else { 1.0 };
        }
        self
    }

    /// What no delay exceeds; 30 s by default.
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// How delays are spread; fully by default.
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = match jitter {
            Jitter::Proportional(share) if share > 0.0 => Jitter::Proportional(share.min(1.0)),
            // Not a number is not above 0 either.
            Jitter::Proportional(_) => Jitter::None,
            other => other,
        };
        self
    }

    /// The delay from which the first is derived.
    pub fn base(&self) -> Duration {
        self.base
    }

    /// The ceiling before the n-th retry, counted from 0: what the delay is without jitter.
    pub fn ceiling(&self, retry: u32) -> Duration {
        let grown = match self.growth {
            Growth::Exponential { factor } => {
                scaled(self.base, factor.powi(i32::try_from(retry).unwrap_or(i32::MAX)))
            }
            Growth::Linear => self.base.saturating_mul(retry.saturating_add(1)),
            Growth::Constant => self.base,
        };
        grown.min(self.cap)
    }

    /// What the delay before the n-th retry, counted from 0, never exceeds.
    ///
    /// ```
    /// use stageflow_core::{Backoff, DurationExt as _, Jitter};
    ///
    /// let backoff = Backoff::exponential(1.secs()).jitter(Jitter::Equal);
    /// assert_eq!((backoff.shortest(2), backoff.longest(2)), (2.secs(), 4.secs()));
    /// ```
    pub fn longest(&self, retry: u32) -> Duration {
        let ceiling = self.ceiling(retry);
        match self.jitter {
            Jitter::None | Jitter::Full | Jitter::Equal => ceiling,
            Jitter::Decorrelated => {
                let grown = 3_f64.powi(i32::try_from(retry).unwrap_or(i32::MAX).saturating_add(1));
                scaled(self.base, grown).min(self.cap)
            }
            Jitter::Proportional(share) => scaled(ceiling, 1.0 + share).min(self.cap),
        }
    }

    /// What the delay before the n-th retry, counted from 0, never falls below.
    pub fn shortest(&self, retry: u32) -> Duration {
        let ceiling = self.ceiling(retry);
        match self.jitter {
            Jitter::None => ceiling,
            Jitter::Full => Duration::ZERO,
            Jitter::Equal => ceiling / 2,
            Jitter::Decorrelated => self.base.min(self.cap),
            Jitter::Proportional(share) => scaled(ceiling, 1.0 - share),
        }
    }

    /// Whether chance has no part in the delays.
    pub fn is_fixed(&self) -> bool {
        matches!(self.jitter, Jitter::None)
    }

    /// The delay before the n-th retry, counted from 0, with 64 random bits. `previous` is the delay before, and the base before
    /// the first; only decorrelated jitter looks at it.
    pub fn delay(&self, retry: u32, previous: Duration, random: u64) -> Duration {
        let ceiling = self.ceiling(retry);
        match self.jitter {
            Jitter::None => ceiling,
            Jitter::Full => between(Duration::ZERO, ceiling, random),
            Jitter::Equal => between(ceiling / 2, ceiling, random),
            Jitter::Decorrelated => {
                let top = previous.saturating_mul(3).max(self.base);
                between(self.base, top, random).min(self.cap)
            }
            Jitter::Proportional(share) => {
                let low = scaled(ceiling, 1.0 - share);
                between(low, scaled(ceiling, 1.0 + share), random).min(self.cap)
            }
        }
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (base, cap) = (Human(self.base), Human(self.cap));
        match self.growth {
            Growth::Exponential { factor } => write!(f, "exponential ×{factor:.1} from {base} to {cap}")?,
            Growth::Linear => write!(f, "linear by {base} to {cap}")?,
            Growth::Constant => write!(f, "constant {}", Human(self.base.min(self.cap)))?,
        }
        match self.jitter {
            Jitter::None => f.write_str(", no jitter"),
            Jitter::Full => f.write_str(", full jitter"),
            Jitter::Equal => f.write_str(", equal jitter"),
            Jitter::Decorrelated => f.write_str(", decorrelated jitter"),
            Jitter::Proportional(share) => write!(f, ", ±{}% jitter", share * 100.0),
        }
    }
}

/// Evenly between two lengths, both included.
fn between(low: Duration, high: Duration, random: u64) -> Duration {
    let (low, high) = (nanos(low), nanos(high));
    let width = u128::from(high.saturating_sub(low)) + 1;
    Duration::from_nanos(low.saturating_add(below(random, width)))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates"
)]
fn scaled(length: Duration, by: f64) -> Duration {
    Duration::from_nanos((nanos(length) as f64 * by) as u64)
}
