//! What a guard says: [`Verdict`], and what it objects.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use stageflow_core::{Code, ErrorClass};

use super::{guarded::Remark, reason::Reason};

/// What a guard says of content. `F` is what it tells whoever makes the content anew (see [`Refine`](super::Refine)).
///
/// ```
/// use stageflow_plus::guard::{Verdict, VerdictKind};
///
/// let fine: Verdict<String> = Verdict::allow();
/// let masked: Verdict<String> = Verdict::transform("call me at …".to_owned(), "pii.phone");
/// let rude: Verdict<String, &str> = Verdict::block("rude").score(0.2).feedback("be polite");
/// assert_eq!(rude.kind(), VerdictKind::Block);
/// # let _ = (fine, masked);
/// ```
#[must_use = "a verdict does nothing until somebody acts on it"]
pub struct Verdict<T, F = ()> {
    pub(super) ruling: Ruling<T>,
    pub(super) score: Option<f64>,
    /// Of a block, one at least.
    pub(super) objections: Vec<Objection<F>>,
    pub(super) remarks: Vec<Remark>,
}

pub(super) enum Ruling<T> {
    Allow,
    Transform(Arc<T>),
    Block,
    Abstain,
}

/// Which verdict it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VerdictKind {
    /// The content goes on as it is.
    Allow,
    /// Other content goes on in its place.
    Transform,
    /// Nothing goes on.
    Block,
    /// The guard has nothing to say: by itself, that allows nothing.
    Abstain,
}

impl VerdictKind {
    /// As one word, as in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Transform => "transform",
            Self::Block => "block",
            Self::Abstain => "abstain",
        }
    }
}

impl fmt::Display for VerdictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<T, F> Verdict<T, F> {
    fn of(ruling: Ruling<T>) -> Self {
        Self { ruling, score: None, objections: Vec::new(), remarks: Vec::new() }
    }

    /// The content may go on as it is.
    pub fn allow() -> Self {
        Self::of(Ruling::Allow)
    }

    /// `content` goes on in its place, because of `reason`.
    pub fn transform(content: impl Into<Arc<T>>, reason: impl Into<Reason>) -> Self {
        let remarks = vec![Remark::transformed(reason.into())];
        Self { remarks, ..Self::of(Ruling::Transform(content.into())) }
    }

    /// Nothing goes on, because of `reason`.
    pub fn block(reason: impl Into<Reason>) -> Self {
        Self::blocked(vec![Objection::new(reason.into())])
    }

    /// The guard has nothing to say about such content. Among others it leaves the decision to them; alone it blocks.
    pub fn abstain() -> Self {
        Self::of(Ruling::Abstain)
    }

    pub(super) fn blocked(objections: Vec<Objection<F>>) -> Self {
        Self { objections, ..Self::of(Ruling::Block) }
    }

    /// How good the content is, from 0 to 1: for [`Guards::weighted`](super::Guards::weighted), and to see whether a
    /// [`Refine`](super::Refine) gets on. Anything else than a number from 0 to 1 makes the verdict an error of its guard.
    pub fn score(mut self, score: f64) -> Self {
        self.score = Some(score);
        self
    }

    /// What whoever makes the content anew should know; of a block only.
    pub fn feedback(mut self, feedback: F) -> Self {
        if let Some(last) = self.objections.last_mut() {
            last.feedback = Some(feedback);
        }
        self
    }

    /// Which verdict it is.
    pub fn kind(&self) -> VerdictKind {
        match self.ruling {
            Ruling::Allow => VerdictKind::Allow,
            Ruling::Transform(_) => VerdictKind::Transform,
            Ruling::Block => VerdictKind::Block,
            Ruling::Abstain => VerdictKind::Abstain,
        }
    }

    /// What is objected, of a block.
    pub fn objections(&self) -> &[Objection<F>] {
        &self.objections
    }

    /// Why, if it is not the content as it is.
    pub fn reason(&self) -> Option<&Reason> {
        match self.ruling {
            Ruling::Block => self.objections.first().map(Objection::reason),
            Ruling::Transform(_) => {
                self.remarks.iter().rfind(|remark| !remark.is_opened()).map(Remark::reason)
            }
            Ruling::Allow | Ruling::Abstain => None,
        }
    }

    /// The content that goes on in the place of what was checked.
    pub fn replacement(&self) -> Option<&Arc<T>> {
        match &self.ruling {
            Ruling::Transform(content) => Some(content),
            _ => None,
        }
    }

    /// Whether something may go on.
    pub(super) fn lets_pass(&self) -> bool {
        matches!(self.ruling, Ruling::Allow | Ruling::Transform(_))
    }
}

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

impl<T, F> fmt::Debug for Verdict<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verdict")
            .field("kind", &self.kind())
            .field("reason", &self.reason())
            .field("score", &self.score)
            .finish_non_exhaustive()
    }
}
