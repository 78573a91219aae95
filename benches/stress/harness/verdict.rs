//! The verdict on a scenario, from what it recorded; nobody can set one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::record::{Check, Fault};

/// What became of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Verdict {
    /// It ended, every fault fired, and every check held; and there was at least one.
    Pass,
    /// A check did not hold.
    Fail,
    /// A fault that should have been injected never fired, so nothing was tested.
    NotInjected,
    /// It did not come to its end: an error, a panic, or out of time.
    Error,
    /// It needs something that the engine does not have yet.
    NotBuilt,
}

impl Verdict {
    /// Of a scenario that ended with this error, or none.
    pub(crate) fn of(error: Option<&str>, faults: &[Fault], checks: &[Check]) -> Self {
        if error.is_some() {
            Self::Error
        } else if faults.iter().any(|fault| fault.count == 0) {
            Self::NotInjected
        } else if checks.iter().any(|check| !check.pass) {
            Self::Fail
        } else if checks.is_empty() {
            // Nothing was checked, and nothing is not a success.
            Self::Error
        } else {
            Self::Pass
        }
    }

    /// Whether the command may end with success.
    pub(crate) fn is_red(self) -> bool {
        matches!(self, Self::Fail | Self::NotInjected | Self::Error)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::NotInjected => "NOT_INJECTED",
            Self::Error => "ERROR",
            Self::NotBuilt => "NOT_BUILT",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pass: bool) -> Check {
        Check {
            name: "n".to_owned(),
            case: String::new(),
            expected: "1".to_owned(),
            seen: "1".to_owned(),
            pass,
        }
    }

    fn fault(count: u64) -> Fault {
        Fault { name: "f".to_owned(), count }
    }

    #[test]
    fn a_pass_needs_checks_that_hold_and_faults_that_fired() {
        assert_eq!(Verdict::of(None, &[fault(3)], &[check(true)]), Verdict::Pass);
        assert_eq!(Verdict::of(None, &[], &[check(true), check(false)]), Verdict::Fail);
        assert_eq!(Verdict::of(None, &[fault(1), fault(0)], &[check(true)]), Verdict::NotInjected);
    }

    #[test]
    fn an_error_is_never_a_pass() {
        assert_eq!(Verdict::of(Some("panicked"), &[fault(1)], &[check(true)]), Verdict::Error);
        assert_eq!(Verdict::of(None, &[], &[]), Verdict::Error);
    }

    #[test]
    fn what_is_not_built_is_neither_red_nor_a_pass() {
        assert!(!Verdict::NotBuilt.is_red() && !Verdict::Pass.is_red());
        assert!(Verdict::Fail.is_red() && Verdict::Error.is_red() && Verdict::NotInjected.is_red());
    }
}
