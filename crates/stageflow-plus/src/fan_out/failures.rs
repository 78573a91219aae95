//! How many failed items a map tolerates.

use std::fmt;

/// Of how many ended items a share is taken at the earliest, where the number of all is not known.
const MIN_SAMPLES: usize = 100;

/// How many items of a map may fail: given to [`MapBuilder::tolerate`](super::MapBuilder::tolerate). Without it, none.
///
/// ```
/// use stageflow_plus::fan_out::Failures;
///
/// let some = Failures::percent(2); // of all items; of those that have ended where their number is not known
/// let few = Failures::percent(2).min_samples(50).at_most(10); // of those that have ended, once they are 50, and never above 10
/// # let _ = (some, few);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failures {
    count: Option<usize>,
    percent: Option<f64>,
    min_samples: Option<usize>,
}

/// What becomes of a map when more items have failed than are tolerated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnExceeded {
    /// No further item is begun, and those that run are dropped.
    #[default]
    Cancel,
    /// No further item is begun, and those that run end.
    Stop,
}

/// How many items have ended, of how many.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) completed: usize,
    pub(super) failed: usize,
    /// How many there are, if that is known.
    pub(super) total: Option<usize>,
}

impl Failures {
    const ANY: Self = Self { count: None, percent: None, min_samples: None };

    /// All may fail.
    pub fn any() -> Self {
        Self::ANY
    }

    pub(super) fn none() -> Self {
        Self::count(0)
    }

    /// So many may fail.
    pub fn count(count: usize) -> Self {
        Self { count: Some(count), ..Self::ANY }
    }

    /// So many may fail, in percent of all items.
    ///
    /// Where their number is not known, or [`min_samples`](Self::min_samples) is set, it is of those that have completed or failed:
    /// asked once these are 100, or `min_samples`, and again at the end.
    pub fn percent(percent: impl Into<f64>) -> Self {
        // Not a number is not above 0 either.
        let percent = percent.into();
        Self { percent: Some(if percent > 0.0 { percent } else { 0.0 }), ..Self::ANY }
    }

    /// Takes the share of the items that have completed or failed, once they are so many.
    #[must_use]
    pub fn min_samples(mut self, items: usize) -> Self {
        self.min_samples = Some(items);
        self
    }

    /// So many may fail, whatever the share.
    #[must_use]
    pub fn at_most(mut self, count: usize) -> Self {
        self.count = Some(self.count.map_or(count, |known| known.min(count)));
        self
    }

    /// Whether more have failed than may.
    pub(super) fn are_exceeded(&self, tally: Tally, is_over: bool) -> bool {
        if self.count.is_some_and(|count| tally.failed > count) {
            return true;
        }
        let Some(percent) = self.percent else { return false };
        let ended = tally.completed + tally.failed;
        let of = match (self.min_samples, tally.total) {
            (None, Some(total)) => Some(total),
            (min_samples, _) => {
                let enough = ended >= min_samples.unwrap_or(MIN_SAMPLES);
                (enough || is_over).then_some(ended)
            }
        };
        of.is_some_and(|of| is_above(tally.failed, percent, of))
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of items stay far below 2^52")]
fn is_above(failed: usize, percent: f64, of: usize) -> bool {
    failed as f64 * 100.0 > percent * of as f64
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.count, self.percent) {
            (None, None) => f.write_str("any number tolerated"),
            (Some(count), None) => write!(f, "{count} tolerated"),
            (None, Some(percent)) => write!(f, "{percent} % tolerated"),
            (Some(count), Some(percent)) => write!(f, "{percent} % and at most {count} tolerated"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Failures, Tally};

    /// With so many of `of` having failed one after the other, at the first of which it is too much.
    fn first_too_much(failures: Failures, total: Option<usize>, of: usize) -> Option<usize> {
        (1..=of).find(|failed| {
            let tally = Tally { completed: 0, failed: *failed, total };
            failures.are_exceeded(tally, *failed == of)
        })
    }

    #[test]
    fn a_number_is_a_number() {
        assert_eq!(first_too_much(Failures::none(), Some(10), 10), Some(1));
        assert_eq!(first_too_much(Failures::count(3), Some(10), 10), Some(4));
        assert_eq!(first_too_much(Failures::any(), Some(10), 10), None);
    }

    #[test]
    fn a_share_is_of_all_where_all_are_known() {
        assert_eq!(first_too_much(Failures::percent(2), Some(500), 500), Some(11));
        assert_eq!(first_too_much(Failures::percent(100), Some(5), 5), None);
        assert_eq!(first_too_much(Failures::percent(2).at_most(3), Some(500), 500), Some(4));
        assert_eq!(first_too_much(Failures::percent(f64::NAN), Some(500), 500), Some(1));
    }

    #[test]
    fn a_share_of_a_stream_waits_for_enough_samples_or_the_end() {
        assert_eq!(first_too_much(Failures::percent(2), None, 500), Some(100));
        assert_eq!(first_too_much(Failures::percent(2).min_samples(20), Some(500), 500), Some(20));
        assert_eq!(first_too_much(Failures::percent(2), None, 50), Some(50));
        let mostly_fine = Tally { completed: 98, failed: 2, total: None };
        assert!(!Failures::percent(2).are_exceeded(mostly_fine, true));
        assert!(Failures::percent(1.9).are_exceeded(mostly_fine, false));
    }
}
