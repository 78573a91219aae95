//! What an admitted call has taken from the quota, and what becomes of it.

use std::{fmt, sync::Arc};

use super::{RateError, Shared, bucket::Bucket, gcra::Receipt};

/// What an admitted call has taken from the quota. Dropping it leaves everything as it is.
#[must_use = "settle it by what was really used, or drop it explicitly if the estimate is as good"]
pub struct RateCharge {
    shared: Arc<Shared>,
    bucket: Arc<Bucket>,
    costs: Box<[u64]>,
    receipts: Box<[Receipt]>,
}

impl RateCharge {
    pub(super) fn new(
        shared: Arc<Shared>,
        bucket: Arc<Bucket>,
        costs: &[u64],
        receipts: Box<[Receipt]>,
    ) -> Self {
        Self { shared, bucket, costs: costs.into(), receipts }
    }

    /// What it has taken from a dimension, as far as is known; `None` for one that the limiter does not have.
    pub fn cost(&self, dimension: &str) -> Option<u64> {
        self.costs.get(self.shared.index(dimension)?).copied()
    }

    /// Says what the call has really used of a dimension. It may be said again when more is known.
    ///
    /// What is missing is taken now, into debt if need be. What was taken too much is given back, as far as time has not
    /// given it to others meanwhile: what is in use never exceeds the quota.
    ///
    /// # Errors
    ///
    /// [`RateError::UnknownDimension`].
    pub fn settle(&mut self, dimension: &str, actual: u64) -> Result<(), RateError> {
        let index = self.shared.index(dimension).ok_or_else(|| self.shared.unknown(dimension))?;
        self.settle_at(index, actual);
        Ok(())
    }

    /// Gives everything back: the call was not made.
    pub fn give_back(mut self) {
        for index in 0..self.costs.len() {
            self.settle_at(index, 0);
        }
    }

    pub(super) fn settle_at(&mut self, index: usize, actual: u64) {
        let (Some(cost), Some(receipt)) = (self.costs.get_mut(index), self.receipts.get(index)) else {
            return;
        };
        let taken = std::mem::replace(cost, actual);
        let now = self.shared.now();
        if actual > taken {
            self.bucket.take_more(now, index, actual - taken);
        } else if actual < taken {
            self.bucket.give_back(now, index, taken - actual, receipt);
        }
    }
}

impl fmt::Debug for RateCharge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateCharge")
            .field("limiter", &self.shared.name)
            .field("costs", &self.costs)
            .finish_non_exhaustive()
    }
}
