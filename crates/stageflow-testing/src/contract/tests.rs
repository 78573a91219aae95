//! The checks: what obeys the rules passes, and each rule has somebody who breaks it.

mod interceptors;
mod sinks;
mod stages;

use super::ContractError;

/// Whether exactly this rule was broken.
#[track_caller]
fn breaks(result: Result<(), ContractError>, rule: &str, seen: &str) {
    let error = result.expect_err("it obeys");
    let found = error.violations().iter().find(|violation| violation.rule == rule);
    let found = found.unwrap_or_else(|| panic!("`{rule}` is not among the broken rules:\n{error}"));
    assert!(found.seen.contains(seen), "`{seen}` was not seen: {}", found.seen);
    assert_eq!(error.violations().len(), 1, "there are others:\n{error}");
    assert!(!found.hint.is_empty() && error.to_string().contains(found.hint));
}
