//! Routers as plain objects: bounds for every prefix, statistics with fixed seeds, and memory that is bounded.

mod decisions;
#[cfg(feature = "weighted-router")]
mod health;
#[cfg(feature = "weighted-router")]
mod load;
mod loops;
mod sticky;
#[cfg(feature = "weighted-router")]
mod turns;

/// The value that chi-square with so many degrees of freedom exceeds with the probability whose normal quantile is `z`
/// (Wilson and Hilferty, 1931).
pub(crate) fn chi_square_limit(degrees: usize, z: f64) -> f64 {
    let spread = 2.0 / (9.0 * degrees as f64);
    degrees as f64 * (1.0 - spread + z * spread.sqrt()).powi(3)
}

/// The normal quantiles of 10⁻⁶ and of 0.01.
pub(crate) const ONE_IN_A_MILLION: f64 = 4.753_424;
#[cfg(feature = "weighted-router")]
pub(crate) const ONE_IN_A_HUNDRED: f64 = 2.326_348;

pub(crate) fn chi_square(counts: &[u64], weights: &[u32]) -> f64 {
    let all: u64 = counts.iter().sum();
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let each = counts.iter().zip(weights).filter(|(_, weight)| **weight > 0).map(|(count, weight)| {
        let expected = all as f64 * f64::from(*weight) / total as f64;
        (*count as f64 - expected).powi(2) / expected
    });
    each.sum()
}
