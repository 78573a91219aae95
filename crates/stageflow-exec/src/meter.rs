//! Who pays for attempts: the account of a run, that of a child run, and what an attempt reserves.

use std::sync::Arc;

use stageflow_core::{
    BudgetReport, CustomEvent, ErrorClass, EventKind, StageContext, StageExit, StageResult,
    budget::account::Account, code, event::NO_STAGE,
};
use stageflow_dag::plan::Plan;

use crate::run::RunCore;

impl RunCore {
    /// The account of the run. Most runs never open theirs.
    pub(crate) fn account(&self) -> &Arc<Account> {
        let open = || self.snapshot.budget().open_for(self.plan.len(), self.of_tenant.get().cloned());
        self.account.get_or_init(open)
    }

    /// A tenant's account pays for the run as well, if it has one.
    pub(crate) fn pay_with(&self, tenant: Option<&Arc<Account>>) {
        if let Some(account) = tenant {
            self.of_tenant.get_or_init(|| Arc::clone(account));
        }
    }

    /// What was used of the budget, if anybody has asked for it.
    pub(crate) fn budget_report(&self) -> Option<BudgetReport> {
        self.account.get().map(|account| BudgetReport::of(account))
    }

    /// Tells what the run has used of a budget that it does not share with its parent.
    pub(crate) fn tell_budget(&self) {
        let is_own = self.depth == 0 || self.plan.policies().budget.is_some();
        if self.events.is_none() || !is_own {
            return;
        }
        if let Some(report) = self.budget_report().filter(BudgetReport::is_used) {
            let fields = [("cost", report.cost_spent), ("retries", report.retries)];
            self.emit(NO_STAGE, 0, EventKind::Custom(Arc::new(CustomEvent::new("budget.spent", fields))));
        }
    }

    /// An attempt says what it has cost.
    pub(crate) fn settle_cost(&self, stage: u32, attempt: u32, actual: u64) -> bool {
        let reservation = self.details().costs.remove(&(stage, attempt));
        reservation.map(|reservation| reservation.settle(actual)).is_some()
    }
}

/// The account of a child run, and, if it is made again, the one out of which its stages take their retries.
///
/// A run that is made again brings no stages to the accounts that pay for it, or each time it is made would earn the next.
pub(crate) fn of_child(
    parent: &RunCore,
    ctx: &StageContext,
    plan: &Plan,
) -> (Arc<Account>, Option<Arc<Account>>) {
    let outer = parent.account();
    let repeats = if ctx.attempt() > 1 { Some(Arc::clone(outer)) } else { parent.repeats.clone() };
    let account = match plan.policies().budget {
        Some(own) => own.open_within(Arc::clone(outer)),
        None => Arc::clone(outer),
    };
    account.add_stages(plan.len() as u64, repeats.as_deref());
    (account, repeats)
}

/// What an attempt has reserved: what it has not settled counts as spent when it ends.
pub(crate) struct Metered {
    run: Arc<RunCore>,
    key: (u32, u32),
}

/// Pays for an attempt that is about to start, or says why it must not.
pub(crate) fn admit(run: &Arc<RunCore>, ctx: &StageContext, attempt: u32) -> StageResult<Option<Metered>> {
    let stage = ctx.index();
    if attempt == 1
        && let Some(account) = &run.repeats
        && !ctx.budget().take_retry_of(account)
    {
        let error = "its run is made again, and the budget has no retry left for this stage";
        return Err(StageExit::failure(code::BUDGET_EXHAUSTED, ErrorClass::Permanent, error.into()));
    }
    let Some(cost) = run.plan.settings(stage).and_then(|settings| settings.cost) else { return Ok(None) };
    let reservation = ctx.budget().reserve(cost)?;
    let key = (stage, attempt);
    // An attempt of the same number is over: its reservation is dropped, outside of the lock.
    let _over = run.details().costs.insert(key, reservation);
    Ok(Some(Metered { run: Arc::clone(run), key }))
}

impl Drop for Metered {
    fn drop(&mut self) {
        let _counts_as_spent = self.run.details().costs.remove(&self.key);
    }
}
