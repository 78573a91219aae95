//! What a run and its child runs may use together: attempts, cost and time.

#[doc(hidden)]
pub mod account;
mod live;
mod report;
#[cfg(test)]
mod tests;

/// What `account` is made of: a model checker puts its own in the place of these.
mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use self::account::{Account, ONE, UNLIMITED};
pub use self::{
    live::{BudgetExhausted, Reservation, RunBudget},
    report::BudgetReport,
};

/// What a run and all its child runs may use together, as plain data (rules S-19 and S-24).
///
/// - **Retries:** at most `stages · ratio + floor`, over all stages of the run and of its child runs; without a word a fifth of
///   the stages, and ten. A child run that is made again brings no stages, and each of its stages draws a retry. So a total
///   failure makes at most `stages · (1 + ratio) + floor` attempts, however retries and pipelines are nested in each other.
/// - **Cost:** in units of your choice, such as tokens or millionths of a dollar; without a word it is counted and not limited.
/// - **Time** is the run's deadline, which is set elsewhere.
///
/// Set on a run, a pipeline or an engine, the nearest goes first, for retries and cost each on their own. That of a pipeline in
/// the place of a stage limits each of its runs *within* the budget of the run around it: both pay, or neither does.
///
/// A budget never blocks. Empty, it ends the retries, and starts no stage that it cannot afford.
///
/// ```
/// use stageflow_core::Budget;
///
/// let budget = Budget::new().retries(0.5, 3).cost(20_000);
/// assert_eq!(budget, Budget::new().cost(20_000).or(Budget::new().retries(0.5, 3).cost(1)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "a budget does nothing until a run, a pipeline or an engine has it"]
pub struct Budget {
    /// Thousandths of a retry for each stage, and the floor.
    retries: Option<(u32, u32)>,
    cost: Option<u64>,
}

/// Thousandths of a retry that a stage brings without a word.
const SHARE: u32 = 200;
/// Retries that are there without a word, whatever the number of stages.
const FLOOR: u32 = 10;
/// Any number of retries.
const ALL: u32 = u32::MAX;

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.retries.unwrap_or((SHARE, FLOOR)) {
            (ALL, _) => f.write_str("any number of retries")?,
            (share, floor) => write!(f, "{} retries for each stage and {floor}", f64::from(share) / 1e3)?,
        }
        match self.cost {
            None | Some(UNLIMITED) => f.write_str(", any cost"),
            Some(limit) => write!(f, ", a cost of {limit}"),
        }
    }
}

impl Budget {
    /// A budget that says nothing: retries a fifth of the stages and ten, cost without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// At most `ratio` retries for each stage, rounded to thousandths and less than nothing being nothing, and `floor` beside.
    pub fn retries(mut self, ratio: f64, floor: u32) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let share = (ratio.max(0.0) * 1e3).round().min(1e9) as u32;
        self.retries = Some((share, floor));
        self
    }

    /// Any number of retries: the limits of the policies are the only ones.
    pub fn unlimited_retries(mut self) -> Self {
        self.retries = Some((ALL, 0));
        self
    }

    /// At most so much cost.
    pub fn cost(mut self, limit: u64) -> Self {
        self.cost = Some(limit);
        self
    }

    /// Any cost, where another budget would limit it.
    pub fn unlimited_cost(mut self) -> Self {
        self.cost = Some(UNLIMITED);
        self
    }

    /// Takes from `other` what this one does not say.
    pub fn or(self, other: Self) -> Self {
        Self { retries: self.retries.or(other.retries), cost: self.cost.or(other.cost) }
    }

    /// How many retries a run may make of so many stages, those of its child runs included; `None` for any number.
    #[doc(hidden)]
    pub fn retry_limit(&self, stages: u64) -> Option<u64> {
        let (share, floor) = self.retries.unwrap_or((SHARE, FLOOR));
        let account = Account::new(None, limits(share, floor), UNLIMITED);
        account.add_stages(stages, None);
        Some(account.retries().2).filter(|most| *most != UNLIMITED)
    }

    /// What a run may spend; `None` for any cost.
    #[doc(hidden)]
    pub fn cost_limit(&self) -> Option<u64> {
        self.cost.filter(|limit| *limit != UNLIMITED)
    }

    /// The account of a run of so many stages, and of its child runs.
    #[doc(hidden)]
    pub fn open(&self, stages: usize) -> Arc<Account> {
        self.open_for(stages, None)
    }

    /// The same within the account of its tenant, if that has one.
    #[doc(hidden)]
    pub fn open_for(&self, stages: usize, tenant: Option<Arc<Account>>) -> Arc<Account> {
        let (share, floor) = self.retries.unwrap_or((SHARE, FLOOR));
        let account = Account::new(tenant, limits(share, floor), self.cost.unwrap_or(UNLIMITED));
        account.add_stages(stages as u64, None);
        Arc::new(account)
    }

    /// The account of a child run, within that of its parent: what it does not say, it does not limit.
    #[doc(hidden)]
    pub fn open_within(&self, outer: Arc<Account>) -> Arc<Account> {
        let (share, floor) = self.retries.unwrap_or((ALL, 0));
        Arc::new(Account::new(Some(outer), limits(share, floor), self.cost.unwrap_or(UNLIMITED)))
    }
}

/// In thousandths of a retry.
fn limits(share: u32, floor: u32) -> (u64, u64) {
    if share == ALL { (UNLIMITED, 0) } else { (u64::from(share), u64::from(floor) * ONE) }
}
