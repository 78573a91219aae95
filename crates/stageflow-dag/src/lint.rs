//! Policies that are fine one by one and go wrong together: found before anything runs, and told with numbers.

mod kinds;
mod limits;
mod print;
mod report;
mod retries;
mod security;
mod site;
mod times;
mod walk;

use std::sync::Arc;

pub use self::{
    kinds::{Lint, Severity},
    report::{Finding, LintReport},
    walk::Around,
};
use self::{report::Numbers, site::Site};
use crate::plan::Plan;

/// A finding that is known, and why it is all right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    pub(crate) lint: Lint,
    pub(crate) reason: Arc<str>,
}

impl Allowed {
    pub(crate) fn new(lint: Lint, reason: impl Into<Arc<str>>) -> Self {
        Self { lint, reason: reason.into() }
    }
}

/// Looks at every stage of a plan and of the pipelines in it, within what stands around its runs.
///
/// Stages that differ in nothing but their names are looked at once. Without recursion; time linear in stages and interceptors.
pub fn lint(plan: &Plan, around: &Around<'_>) -> LintReport {
    walk::walk(plan, around)
}

/// Every check of a stage.
const CHECKS: &[fn(&Site<'_>, &mut Found)] = &[
    retries::nested,
    retries::of_work,
    retries::many,
    retries::out_of_time,
    retries::hung,
    retries::together,
    retries::breaker_around,
    retries::breaker_inside,
    limits::around_retries,
    limits::around_themselves,
    limits::in_series,
    limits::waits,
    limits::fans,
    security::stored_failures,
    security::lease,
    security::fallback_inside,
    security::outside_authentication,
    times::timeouts,
];

/// What the checks of one stage have found.
#[derive(Debug, Default)]
struct Found(Vec<(Lint, String, Numbers)>);

impl Found {
    fn push(&mut self, lint: Lint, message: String, numbers: Numbers) {
        self.0.push((lint, message, numbers));
    }
}
