//! What was used of a budget.

use std::fmt;

use serde::Serialize;

use super::account::{Account, UNLIMITED};

/// What a run and its child runs have used of their budget. Prints as one line.
///
/// `cost_spent + cost_reserved` and what is left add up to the limit at each instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BudgetReport {
    /// How many retries were granted.
    pub retries: u64,
    /// How many there may be, of the stages that have been started so far; `None` for any number.
    pub retry_limit: Option<u64>,
    /// How many were refused, here or by the smaller budget of a child run.
    pub retries_refused: u64,
    /// What was spent, in the units of the application.
    pub cost_spent: u64,
    /// What is set aside for attempts that have not ended.
    pub cost_reserved: u64,
    /// What may be spent; `None` for any cost.
    pub cost_limit: Option<u64>,
    /// How often a cost could not be afforded, here or within the smaller budget of a child run.
    pub cost_refused: u64,
}

impl BudgetReport {
    #[doc(hidden)]
    pub fn of(account: &Account) -> Self {
        let (granted, refused, most) = account.retries();
        let costs = account.costs();
        Self {
            retries: granted,
            retry_limit: limit(most),
            retries_refused: refused,
            cost_spent: costs.spent,
            cost_reserved: costs.reserved,
            cost_limit: limit(account.limit()),
            cost_refused: account.unaffordable(),
        }
    }

    /// What is left of the cost; `None` for any cost, and nothing where actual costs were above the limit.
    pub fn cost_left(&self) -> Option<u64> {
        self.cost_limit.map(|limit| limit.saturating_sub(self.cost_spent.saturating_add(self.cost_reserved)))
    }

    /// Whether anything was asked of the budget.
    pub fn is_used(&self) -> bool {
        let asked =
            [self.retries, self.retries_refused, self.cost_spent, self.cost_reserved, self.cost_refused];
        asked.iter().any(|number| *number > 0)
    }
}

pub(super) fn limit(value: u64) -> Option<u64> {
    (value != UNLIMITED).then_some(value)
}

impl fmt::Display for BudgetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |f: &mut fmt::Formatter<'_>, what, used: u64, limit: Option<u64>, refused: u64| {
            write!(f, "{what} {used}")?;
            limit.map_or(Ok(()), |limit| write!(f, " of {limit}"))?;
            if refused > 0 { write!(f, " ({refused} refused)") } else { Ok(()) }
        };
        part(f, "retries", self.retries, self.retry_limit, self.retries_refused)?;
        if self.cost_limit.is_some() || self.cost_spent > 0 || self.cost_reserved > 0 {
            part(f, ", cost", self.cost_spent, self.cost_limit, self.cost_refused)?;
        }
        if self.cost_reserved > 0 {
            write!(f, ", {} reserved", self.cost_reserved)?;
        }
        Ok(())
    }
}
