//! How many retries the calls of a dependency have earned together.

use super::sync::{Arc, AtomicU64, Ordering};

/// One retry costs so much: shares are counted in thousandths.
const ONE: u64 = 1_000;

/// An account that calls share: each first attempt pays a share of a retry in, each retry takes a whole one out.
///
/// So under a total failure there are at most `(1 + ratio) · calls + reserve` attempts, however retries are nested in each other,
/// as long as all of them draw on it. It never blocks: empty, it ends the retries (rule S-24). Clones are the same account.
///
/// Given to [policies](crate::Retry::budget) it is the account of a dependency, over all runs. Each run has a
/// [budget](stageflow_core::Budget) of its own beside it.
///
/// Whole numbers in one atomic word, as of the token buckets of gRPC's retry throttling.
///
/// ```
/// use stageflow_interceptors::RetryBudget;
///
/// let budget = RetryBudget::new(0.2, 2);
/// assert!(budget.withdraw() && budget.withdraw() && !budget.withdraw());
/// (0..5).for_each(|_| budget.deposit());
/// assert!(budget.withdraw() && !budget.withdraw());
/// ```
#[derive(Clone, Debug)]
pub struct RetryBudget(pub(super) Arc<Account>);

#[derive(Debug)]
pub(super) struct Account {
    balance: AtomicU64,
    share: u64,
    most: u64,
}

impl Default for RetryBudget {
    /// One retry for five calls, and ten in reserve.
    fn default() -> Self {
        Self::new(0.2, 10)
    }
}

impl RetryBudget {
    /// `ratio` retries for each call, rounded to thousandths, beside a `reserve` that is there from the start. What is not used
    /// is kept, up to ten times the reserve, and a hundred at least.
    pub fn new(ratio: f64, reserve: u32) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let share = (ratio.max(0.0) * 1e3).round().min(1e9) as u64;
        let reserve = u64::from(reserve) * ONE;
        let most = reserve.saturating_mul(10).max(100 * ONE);
        Self(Arc::new(Account { balance: AtomicU64::new(reserve), share, most }))
    }

    /// A call begins.
    pub fn deposit(&self) {
        let Account { balance, share, most } = &*self.0;
        let paid = |now: u64| Some(now.saturating_add(*share).min(*most));
        // It always is a number.
        let _paid = balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid);
    }

    /// Whether there is a retry left; takes it.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        let taken = |now: u64| now.checked_sub(ONE);
        self.0.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    /// Gives back a retry that was taken and is not made.
    pub(super) fn refund(&self) {
        let Account { balance, most, .. } = &*self.0;
        let back = |now: u64| Some(now.saturating_add(ONE).min(*most));
        let _back = balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
    }

    /// How many retries are left.
    pub fn left(&self) -> u64 {
        self.0.balance.load(Ordering::Relaxed) / ONE
    }
}
