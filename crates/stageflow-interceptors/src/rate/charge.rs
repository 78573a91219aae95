//! What an admitted call has taken from the quota, and what becomes of it.

use std::{fmt, ops::Deref, sync::Arc};

use smallvec::SmallVec;

use super::{
    RateError, Shared,
    bucket::{AllTaken, Bucket, Taken},
};

/// A bucket for as long as a call needs it.
pub(super) enum Held<'a> {
    /// The only one of a limiter, which nobody forgets.
    Lent(&'a Arc<Bucket>),
    /// One of a key, which is not forgotten meanwhile.
    Kept(Arc<Bucket>),
}

impl Held<'_> {
    pub(super) fn kept(self) -> Arc<Bucket> {
        match self {
            Self::Lent(bucket) => Arc::clone(bucket),
            Self::Kept(bucket) => bucket,
        }
    }
}

impl Deref for Held<'_> {
    type Target = Bucket;

    #[inline]
    fn deref(&self) -> &Bucket {
        match self {
            Self::Lent(bucket) => bucket,
            Self::Kept(bucket) => bucket,
        }
    }
}

/// What an admitted call has taken, for whoever has the limiter.
pub(super) struct Charge<'a> {
    bucket: Held<'a>,
    /// In the order in which it was taken: once from each dimension, and once for each time that something was missing.
    taken: AllTaken,
}

impl<'a> Charge<'a> {
    #[inline]
    pub(super) fn new(bucket: Held<'a>, taken: AllTaken) -> Self {
        Self { bucket, taken }
    }

    pub(super) fn kept(self) -> Charge<'static> {
        Charge { bucket: Held::Kept(self.bucket.kept()), taken: self.taken }
    }

    fn sum(&self, dimension: usize) -> u64 {
        let own = self.taken.iter().filter(|taken| taken.dimension == dimension);
        own.map(|taken| taken.cost).fold(0, u64::saturating_add)
    }

    #[cold]
    pub(super) fn give_all_back(&mut self, shared: &Shared) {
        for index in 0..shared.quotas.len() {
            self.settle_at(shared, index, 0);
        }
    }

    pub(super) fn settle_at(&mut self, shared: &Shared, dimension: usize, actual: u64) {
        let now = shared.now();
        let before = self.sum(dimension);
        if actual > before {
            let cost = actual - before;
            let receipt = self.bucket.take_more(now, dimension, cost);
            self.taken.push(Taken { dimension, cost, receipt });
        }
        // What was taken last goes first, and is nothing that those before it have given back.
        let mut superfluous = before.saturating_sub(actual);
        let mut own: SmallVec<[&mut Taken; 4]> =
            self.taken.iter_mut().filter(|taken| taken.dimension == dimension).collect();
        while superfluous > 0
            && let Some(last) = own.pop()
        {
            let cost = superfluous.min(last.cost);
            let back = self.bucket.give_back(now, dimension, cost, &last.receipt);
            own.iter_mut().for_each(|earlier| earlier.receipt.ignore(back));
            last.cost -= cost;
            superfluous -= cost;
        }
        drop(own);
        self.taken.retain(|taken| taken.cost > 0);
    }
}

/// What an admitted call has taken from the quota. Dropping it leaves everything as it is.
#[must_use = "settle it by what was really used, or drop it explicitly if the estimate is as good"]
pub struct RateCharge {
    shared: Arc<Shared>,
    charge: Charge<'static>,
}

impl RateCharge {
    pub(super) fn new(shared: &Arc<Shared>, charge: Charge<'static>) -> Self {
        Self { shared: Arc::clone(shared), charge }
    }

    /// What it has taken from a dimension, as far as is known; `None` for one that the limiter does not have.
    pub fn cost(&self, dimension: &str) -> Option<u64> {
        Some(self.charge.sum(self.shared.index(dimension)?))
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
        self.charge.settle_at(&self.shared, index, actual);
        Ok(())
    }

    /// Gives everything back: the call was not made.
    pub fn give_back(mut self) {
        self.charge.give_all_back(&self.shared);
    }
}

impl fmt::Debug for RateCharge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateCharge")
            .field("limiter", &self.shared.name)
            .field(
                "costs",
                &(0..self.shared.quotas.len()).map(|index| self.charge.sum(index)).collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}
