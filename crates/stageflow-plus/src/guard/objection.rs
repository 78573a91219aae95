//! What guards object to, and how they fail.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use stageflow_core::{Code, ErrorClass};

use super::reason::Reason;

/// What one guard objects to.
pub struct Objection<F = ()> {
    pub(super) guard: Arc<str>,
    pub(super) reason: Reason,
    pub(super) feedback: Option<F>,
    pub(super) failure: Option<GuardFailure>,
}

impl<F> Objection<F> {
    pub(super) fn new(reason: Reason) -> Self {
        Self { guard: Arc::from(""), reason, feedback: None, failure: None }
    }

    pub(super) fn by(guard: &Arc<str>, reason: Reason) -> Self {
        Self { guard: Arc::clone(guard), ..Self::new(reason) }
    }

    /// The name of the guard.
    pub fn guard(&self) -> &str {
        &self.guard
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// What it says to whoever makes the content anew.
    pub fn feedback(&self) -> Option<&F> {
        self.feedback.as_ref()
    }

    /// How the guard has failed, if that is all there is to object.
    pub fn failure(&self) -> Option<&GuardFailure> {
        self.failure.as_ref()
    }
}

impl<F> fmt::Display for Objection<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guard `{}`: {}", self.guard, self.reason)
    }
}

impl<F> fmt::Debug for Objection<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The feedback may quote the content.
        f.debug_struct("Objection")
            .field("guard", &self.guard)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// How a guard gave no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HowFailed {
    /// It returned an error, or a score that is none.
    Error,
    /// It panicked.
    Panic,
    /// Its time was up.
    Timeout,
}

impl HowFailed {
    /// The reason in events and errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "guard_error",
            Self::Panic => "guard_panic",
            Self::Timeout => "guard_timeout",
        }
    }
}

/// A guard gave no verdict.
#[derive(Clone, Debug)]
pub struct GuardFailure {
    pub(super) how: HowFailed,
    pub(super) code: Code,
    pub(super) class: ErrorClass,
    pub(super) after: Option<Duration>,
    pub(super) error: Arc<dyn Error + Send + Sync>,
}

impl GuardFailure {
    /// How.
    pub fn how(&self) -> HowFailed {
        self.how
    }

    /// The code of the error.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The class of the error: it says whether to ask again may help.
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// What the guard said, in the words of whoever wrote it.
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }
}

/// Nothing may go on, and why: one objection at least.
pub struct Blocked<F = ()> {
    pub(super) objections: Vec<Objection<F>>,
    pub(super) score: Option<f64>,
}

impl<F> Blocked<F> {
    /// What was objected, in the order of the guards.
    pub fn objections(&self) -> &[Objection<F>] {
        &self.objections
    }

    /// The first reason.
    pub fn reason(&self) -> &str {
        self.objections.first().map_or("blocked", |first| first.reason.as_str())
    }

    /// All that guards said to whoever makes the content anew, in the order of the guards.
    pub fn feedback(&self) -> impl Iterator<Item = &F> {
        self.objections.iter().filter_map(Objection::feedback)
    }

    /// How good the content was, if a guard said so.
    pub fn score(&self) -> Option<f64> {
        self.score
    }

    /// The failure, if no guard has objected and some have failed.
    pub fn failure(&self) -> Option<&GuardFailure> {
        let mut failures = self.objections.iter().map(Objection::failure);
        let first = failures.next()??;
        failures.all(|failure| failure.is_some()).then_some(first)
    }
}

impl<F> fmt::Display for Blocked<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, objection) in self.objections.iter().enumerate() {
            write!(f, "{}{objection}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl<F> fmt::Debug for Blocked<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocked").field("objections", &self.objections).field("score", &self.score).finish()
    }
}
