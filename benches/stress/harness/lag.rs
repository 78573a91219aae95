//! Scheduler lag: how late a timer fires while a scenario runs.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{clock::Moment, lock};

/// How long the timer is set for. Tokio's timers count in milliseconds, so that lags below one are not told apart.
const EVERY: Duration = Duration::from_millis(2);

/// Upper bounds of the buckets in milliseconds; the last bucket has none.
pub(crate) const BOUNDS: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// How late the timer fired, counted in buckets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Histogram {
    /// Upper bounds of the buckets, in milliseconds; one bucket more is for what is later.
    pub(crate) bounds_ms: Vec<u32>,
    pub(crate) counts: Vec<u64>,
    pub(crate) n: u64,
    pub(crate) max_ms: f64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { bounds_ms: BOUNDS.to_vec(), counts: vec![0; BOUNDS.len() + 1], n: 0, max_ms: 0.0 }
    }

    pub(crate) fn add(&mut self, late_ms: f64) {
        let bucket = self.bounds_ms.iter().position(|bound| late_ms < f64::from(*bound));
        if let Some(count) = self.counts.get_mut(bucket.unwrap_or(self.bounds_ms.len())) {
            *count += 1;
        }
        self.n += 1;
        self.max_ms = self.max_ms.max(late_ms);
    }

    /// Adds what another one has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.n += other.n;
        self.max_ms = self.max_ms.max(other.max_ms);
    }

    /// The names of the buckets.
    pub(crate) fn labels(&self) -> Vec<String> {
        let mut labels: Vec<String> = self.bounds_ms.iter().map(|bound| format!("< {bound} ms")).collect();
        labels.extend(self.bounds_ms.last().map(|bound| format!("≥ {bound} ms")));
        labels
    }
}

/// The task that watches a timer. It ends with the runtime it was started on.
pub(crate) struct Lag(Arc<Mutex<Histogram>>);

impl Lag {
    /// Starts watching on the runtime of the caller.
    pub(crate) fn start() -> Self {
        let histogram = Arc::new(Mutex::new(Histogram::new()));
        let seen = Arc::clone(&histogram);
        tokio::spawn(async move {
            loop {
                let due = Moment::now().plus(EVERY);
                tokio::time::sleep(EVERY).await;
                let late = Moment::now().since(due);
                lock(&seen).add(super::clock::millis(late));
            }
        });
        Self(histogram)
    }

    pub(crate) fn seen(&self) -> Histogram {
        lock(&self.0).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_is_counted_in_the_bucket_below_its_bound() {
        let mut histogram = Histogram::new();
        for late in [0.0, 0.9, 1.0, 300.0] {
            histogram.add(late);
        }
        assert_eq!((histogram.counts[0], histogram.counts[1], histogram.counts[9]), (2, 1, 1));
        assert_eq!((histogram.n, histogram.labels().len()), (4, histogram.counts.len()));
    }
}
