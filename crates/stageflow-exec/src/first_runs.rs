//! Tells what the lint finds about a pipeline when an engine first runs it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use stageflow_dag::{
    LintReport,
    lint::{self, Around},
    plan::Plan,
};

/// Which pipelines an engine has run, as long as they live, and whom it tells about new ones.
pub(crate) struct FirstRuns {
    known: Mutex<HashMap<u64, Weak<Plan>>>,
    tell: Box<dyn Fn(&LintReport) + Send + Sync>,
}

impl FirstRuns {
    pub(crate) fn new(tell: impl Fn(&LintReport) + Send + Sync + 'static) -> Self {
        Self { known: Mutex::default(), tell: Box::new(tell) }
    }

    /// Lints a plan that is new.
    pub(crate) fn meet(&self, plan: &Arc<Plan>, around: &Around<'_>) {
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.contains_key(&plan.id()) {
                return;
            }
            known.retain(|_, plan| plan.strong_count() > 0);
            known.insert(plan.id(), Arc::downgrade(plan));
        }
        let report = lint::lint(plan, around);
        if !report.is_clean() {
            (self.tell)(&report);
        }
    }
}
