//! What an admitted call has taken from the quota, and what becomes of it.

use std::{fmt, sync::Arc};

use super::{RateError, Shared, bucket::Bucket, gcra::Receipt};

/// What an admitted call has taken from the quota. Dropping it leaves everything as it is.
#[must_use = "settle it by what was really used, or drop it explicitly if the estimate is as good"]
pub struct RateCharge {
    shared: Arc<Shared>,
    bucket: Arc<Bucket>,
    /// By dimension, in the order in which they were taken: one, and one for each time that something was missing.
    taken: Box<[Vec<Taken>]>,
}

struct Taken {
    cost: u64,
    receipt: Receipt,
}

impl RateCharge {
    pub(super) fn new(
        shared: Arc<Shared>,
        bucket: Arc<Bucket>,
        costs: &[u64],
        receipts: Box<[Receipt]>,
    ) -> Self {
        let one = |(receipt, cost): (Receipt, &u64)| vec![Taken { cost: *cost, receipt }];
        Self { shared, bucket, taken: receipts.into_iter().zip(costs).map(one).collect() }
    }

    /// What it has taken from a dimension, as far as is known; `None` for one that the limiter does not have.
    pub fn cost(&self, dimension: &str) -> Option<u64> {
        Some(sum(&self.taken[self.shared.index(dimension)?]))
    }

    /// Says what the call has really used of a dimension. It may be said again when more is known.
    ///
    /// What is missing is taken now, into debt if need be. What was taken too much is given back, as far as time has not
    /// given it to others meanwhile: what is in use never exceeds the quota. Less comes back of a call that outlasts the time in which
    /// its cost sinks, and of one that is settled after later ones were: the rest comes with time.
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
        for index in 0..self.taken.len() {
            self.settle_at(index, 0);
        }
    }

    pub(super) fn settle_at(&mut self, index: usize, actual: u64) {
        let taken = &mut self.taken[index];
        let now = self.shared.now();
        let before = sum(taken);
        if actual > before {
            let cost = actual - before;
            taken.push(Taken { cost, receipt: self.bucket.take_more(now, index, cost) });
        }
        // What was taken last goes first, and is nothing that those before it have given back.
        let mut superfluous = before.saturating_sub(actual);
        while superfluous > 0
            && let Some((last, earlier)) = taken.split_last_mut()
        {
            let cost = superfluous.min(last.cost);
            let back = self.bucket.give_back(now, index, cost, &last.receipt);
            earlier.iter_mut().for_each(|one| one.receipt.ignore(back));
            last.cost -= cost;
            superfluous -= cost;
            if superfluous > 0 {
                taken.pop();
            }
        }
    }
}

fn sum(taken: &[Taken]) -> u64 {
    taken.iter().map(|one| one.cost).fold(0, u64::saturating_add)
}

impl fmt::Debug for RateCharge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateCharge")
            .field("limiter", &self.shared.name)
            .field("costs", &self.taken.iter().map(|taken| sum(taken)).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
