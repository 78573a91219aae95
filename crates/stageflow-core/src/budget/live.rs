//! What a stage or a policy sees of the budget of its run.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use super::{
    account::{Account, Kind},
    report::{BudgetReport, limit},
};
use crate::{
    code::{self, Code},
    context::StageContext,
    quota::QuotaKind,
};

/// What is left to a run, its child runs and this attempt: attempts, cost and time. Made by [`StageContext::budget`].
///
/// Nothing here waits. What is asked for is granted by this run's account and by those of the runs around it that have one of
/// their own, or by none of them.
///
/// ```
/// use stageflow_core::{Budget, ContextSnapshot, StageContext, StageResult};
///
/// async fn answer(ctx: StageContext, prompt: String) -> StageResult<String> {
///     let call = ctx.budget().reserve(1_000)?; // at most so many tokens; leaves here if there are not so many
///     let (reply, tokens) = (prompt.to_uppercase(), 640); // here a model is asked
///     call.settle(tokens);
///     Ok(reply)
/// }
///
/// let ctx = StageContext::for_test_with(ContextSnapshot::builder().budget(Budget::new().cost(1_500)));
/// ctx.budget().reserve(1_000)?.settle(640);
/// assert_eq!(ctx.budget().cost_left(), Some(860));
/// assert!(ctx.budget().reserve(1_000).is_err());
/// # Ok::<_, stageflow_core::BudgetExhausted>(())
/// ```
#[derive(Clone)]
pub struct RunBudget {
    ctx: StageContext,
    account: Arc<Account>,
}

impl RunBudget {
    pub(crate) fn new(ctx: StageContext, account: Arc<Account>) -> Self {
        Self { ctx, account }
    }

    /// Takes one retry, if there is one left: for whoever makes another attempt, such as an interceptor of your own. The retry
    /// policies and the engine have done so when an attempt begins. What is taken stays taken.
    #[must_use = "without a retry there is to be no other attempt"]
    pub fn take_retry(&self) -> bool {
        self.take_retry_of(&self.account)
    }

    /// Takes one retry out of an account around this one.
    #[doc(hidden)]
    #[must_use]
    pub fn take_retry_of(&self, account: &Account) -> bool {
        let taken = account.take_retry();
        if let Err(empty) = taken {
            self.tell(empty, Kind::Retries);
        }
        taken.is_ok()
    }

    /// How many retries are left, of the stages that have been started so far; `None` for any number.
    pub fn retries_left(&self) -> Option<u64> {
        limit(self.account.retries_left())
    }

    /// Sets `amount` aside for something that is about to be done.
    ///
    /// # Errors
    ///
    /// [`BudgetExhausted`] where it cannot be afforded; with `?` a stage leaves with its [`code`](BudgetExhausted::code).
    ///
    /// # Cancel safety
    ///
    /// A reservation that is dropped counts as spent: what was begun may have cost it.
    pub fn reserve(&self, amount: u64) -> Result<Reservation, BudgetExhausted> {
        match self.account.reserve(amount) {
            Ok(()) => Ok(Reservation { account: Arc::clone(&self.account), amount, actual: amount }),
            Err(poor) => {
                self.tell(poor, Kind::Cost);
                let is_of_tenant = poor.is_of_tenant();
                Err(BudgetExhausted { wanted: amount, left: self.account.cost_left(), is_of_tenant })
            }
        }
    }

    /// Spends `amount`, if it can be afforded.
    ///
    /// # Errors
    ///
    /// [`BudgetExhausted`] where it cannot: then nothing was spent.
    pub fn charge(&self, amount: u64) -> Result<(), BudgetExhausted> {
        self.reserve(amount).map(|reservation| reservation.settle(amount))
    }

    /// Says what this attempt has cost, of a stage that was declared with an estimate by `.cost(…)`. `false` if the stage was not,
    /// or has said so before.
    pub fn settle(&self, actual: u64) -> bool {
        self.ctx.scope().settle(self.ctx.index(), self.ctx.attempt(), actual)
    }

    /// What can still be spent; `None` for any cost.
    pub fn cost_left(&self) -> Option<u64> {
        limit(self.account.cost_left())
    }

    /// The time this attempt has left: [`StageContext::remaining`].
    pub fn time_left(&self) -> Option<Duration> {
        self.ctx.remaining()
    }

    /// What was used so far.
    pub fn report(&self) -> BudgetReport {
        BudgetReport::of(&self.account)
    }

    fn tell(&self, account: &Account, kind: Kind) {
        if !account.tell(kind) {
            return;
        }
        let report = BudgetReport::of(account);
        if account.is_of_tenant() {
            let used = report.cost_spent.saturating_add(report.cost_reserved);
            let (quota, limit) = (QuotaKind::Cost.as_str().to_owned(), account.limit().to_string());
            self.ctx.emit(
                "tenant.quota_exceeded",
                [("quota", quota), ("used", used.to_string()), ("limit", limit)],
            );
            return;
        }
        let (kind, used, limit) = match kind {
            Kind::Retries => ("retries", report.retries, report.retry_limit),
            Kind::Cost => ("cost", report.cost_spent.saturating_add(report.cost_reserved), report.cost_limit),
        };
        let fields = [("kind", kind.to_owned()), ("used", used.to_string())];
        let limit = limit.map(|limit| ("limit", limit.to_string()));
        self.ctx.emit("budget.exhausted", fields.into_iter().chain(limit));
    }
}

impl fmt::Debug for RunBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RunBudget").field(&self.report()).finish()
    }
}

/// Cost that is set aside: made by [`RunBudget::reserve`]. Dropped, it counts as spent.
#[derive(Debug)]
#[must_use = "a reservation that is dropped counts as spent: say what the call has cost by `settle`"]
pub struct Reservation {
    account: Arc<Account>,
    amount: u64,
    /// What it counts as when it is dropped.
    actual: u64,
}

impl Reservation {
    /// How much is set aside.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// It has cost `actual`: the rest is given back, or what is missing is spent as well, above the limit if need be.
    pub fn settle(mut self, actual: u64) {
        self.actual = actual;
    }

    /// It has cost nothing.
    pub fn release(self) {
        self.settle(0);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.settle(self.amount, self.actual);
    }
}

/// A cost cannot be afforded.
///
/// As a failure of a stage it has the code `BUDGET_EXHAUSTED`, or `QUOTA_EXCEEDED` where it is the quota of the run's tenant that is
/// used up, and is permanent: it is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetExhausted {
    /// What was asked for.
    pub wanted: u64,
    /// What was left.
    pub left: u64,
    /// Whether it is the quota of the tenant that is used up, and not the budget of the run.
    pub is_of_tenant: bool,
}

impl BudgetExhausted {
    /// `BUDGET_EXHAUSTED`, or `QUOTA_EXCEEDED` where it is the tenant's quota.
    pub fn code(&self) -> Code {
        if self.is_of_tenant { code::QUOTA_EXCEEDED } else { code::BUDGET_EXHAUSTED }
    }
}

impl fmt::Display for BudgetExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.is_of_tenant { "its tenant's quota" } else { "the run's budget" };
        write!(f, "a cost of {} is above the {} that are left of {of}", self.wanted, self.left)
    }
}

impl Error for BudgetExhausted {}
