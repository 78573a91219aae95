//! [`ContextExt`]: what a run has recorded of its context, for its stages and for whoever has its report.

use std::sync::{Arc, Mutex, PoisonError};

use stageflow_core::{ContextSnapshot, StageContext};

use super::{
    account::ContextAccount,
    conflict::{Conflict, ConflictLog},
    tracker::TruncationTracker,
};

/// What is kept for a run.
#[derive(Debug, Default)]
pub(crate) struct ContextRecords {
    accounts: Mutex<Vec<ContextAccount>>,
    truncations: TruncationTracker,
    pub(crate) conflicts: ConflictLog,
}

impl ContextRecords {
    /// The account of a window, made now if there is none. `make` must be ours.
    pub(crate) fn account(
        &self,
        known: impl Fn(&ContextAccount) -> bool,
        make: impl FnOnce() -> ContextAccount,
    ) -> ContextAccount {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.iter().find(|account| known(account)) {
            return account.clone();
        }
        let account = make();
        accounts.push(account.clone());
        account
    }

    fn accounts(&self) -> Vec<ContextAccount> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a run has recorded of its context: asked of the context of a stage while it runs, or of a snapshot, such as
/// `report.snapshot()`, afterwards. A child run has records of its own.
pub trait ContextExt {
    #[doc(hidden)]
    fn facts_of_run(&self) -> &ContextSnapshot;

    /// The account of the context window that the run met first; `None` as long as none has stood around a call of it.
    fn context_window(&self) -> Option<ContextAccount> {
        self.context_windows().into_iter().next()
    }

    /// The accounts of all context windows, in the order in which the run met them.
    fn context_windows(&self) -> Vec<ContextAccount> {
        self.facts_of_run().known_of_run::<ContextRecords>().map_or_else(Vec::new, |known| known.accounts())
    }

    /// What was cut.
    fn truncations(&self) -> TruncationTracker {
        records(self.facts_of_run()).truncations.clone()
    }

    /// The conflicts that were found, in the order in which they were found, the first 1,000 of them.
    fn conflicts(&self) -> Vec<Conflict> {
        self.facts_of_run()
            .known_of_run::<ContextRecords>()
            .map_or_else(Vec::new, |known| known.conflicts.records())
    }
}

impl ContextExt for ContextSnapshot {
    fn facts_of_run(&self) -> &ContextSnapshot {
        self
    }
}

impl ContextExt for StageContext {
    fn facts_of_run(&self) -> &ContextSnapshot {
        self.snapshot()
    }
}

/// What is kept for a run.
pub(crate) fn records(snapshot: &ContextSnapshot) -> Arc<ContextRecords> {
    snapshot.of_run()
}
