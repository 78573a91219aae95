//! Summaries of samples. A percentile that the number of samples does not support is refused.

use serde::{Deserialize, Serialize};

/// How many samples a percentile needs.
const NEEDED: [(u32, usize); 3] = [(50, 10), (95, 40), (99, 200)];

/// The most samples that a record keeps; of more, every k-th is kept.
const KEPT: usize = 1_000;

/// What is told of a number of samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) n: usize,
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) max: f64,
    /// `None` with fewer than 10 samples.
    pub(crate) p50: Option<f64>,
    /// `None` with fewer than 40 samples.
    pub(crate) p95: Option<f64>,
    /// `None` with fewer than 200 samples.
    pub(crate) p99: Option<f64>,
    /// The samples in the order in which they were taken, thinned out if there are very many.
    pub(crate) samples: Vec<f64>,
}

impl Summary {
    pub(crate) fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else { return Self::default() };
        let step = samples.len().div_ceil(KEPT);
        Self {
            n: samples.len(),
            min: *min,
            mean: samples.iter().sum::<f64>() / count(samples.len()),
            max: *max,
            p50: percentile(&sorted, 50),
            p95: percentile(&sorted, 95),
            p99: percentile(&sorted, 99),
            samples: samples.iter().step_by(step).copied().collect(),
        }
    }
}

/// The nearest rank in sorted samples, or nothing where there are too few.
pub(crate) fn percentile(sorted: &[f64], percent: u32) -> Option<f64> {
    let (_, needed) = NEEDED.iter().find(|(known, _)| *known == percent)?;
    if sorted.len() < *needed {
        return None;
    }
    let rank = (sorted.len() * percent as usize).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The coefficient of determination of a straight line through points.
pub(crate) fn linearity(points: &[(f64, f64)]) -> f64 {
    let n = count(points.len());
    let (mean_x, mean_y) =
        (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let mut sums = (0.0, 0.0, 0.0);
    for (x, y) in points {
        let (dx, dy) = (x - mean_x, y - mean_y);
        sums = (sums.0 + dx * dy, sums.1 + dx * dx, sums.2 + dy * dy);
    }
    let (xy, xx, yy) = sums;
    if xx == 0.0 || yy == 0.0 { 0.0 } else { xy * xy / (xx * yy) }
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) fn count(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up_to(n: usize) -> Vec<f64> {
        (1..=n).map(count).collect()
    }

    #[test]
    fn percentiles_take_the_nearest_rank() {
        assert_eq!(percentile(&up_to(10), 50), Some(5.0));
        assert_eq!(percentile(&up_to(100), 95), Some(95.0));
        assert_eq!(percentile(&up_to(1_000), 99), Some(990.0));
    }

    #[test]
    fn percentiles_are_refused_with_too_few_samples() {
        assert_eq!((percentile(&up_to(9), 50), percentile(&up_to(10), 50).is_some()), (None, true));
        assert_eq!((percentile(&up_to(39), 95), percentile(&up_to(40), 95).is_some()), (None, true));
        assert_eq!((percentile(&up_to(199), 99), percentile(&up_to(200), 99).is_some()), (None, true));
        assert_eq!(percentile(&up_to(1_000), 42), None);
    }

    #[test]
    fn a_summary_is_of_all_samples_and_keeps_some() {
        let summary = Summary::of(&up_to(5_000));
        assert_eq!((summary.n, summary.min, summary.max, summary.mean), (5_000, 1.0, 5_000.0, 2_500.5));
        assert_eq!(summary.samples.len(), 1_000);
        assert_eq!(Summary::of(&[]), Summary::default());
    }

    #[test]
    fn a_line_is_linear_and_noise_is_not() {
        assert!(linearity(&[(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]) > 0.999);
        assert!(linearity(&[(1.0, 2.0), (2.0, 9.0), (3.0, 1.0), (4.0, 8.0)]) < 0.5);
    }
}
