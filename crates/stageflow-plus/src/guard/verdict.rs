//! What a guard says: [`Verdict`].

use std::{fmt, sync::Arc};

use super::{guarded::Remark, objection::Objection, reason::Reason};

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

impl<T, F> fmt::Debug for Verdict<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verdict")
            .field("kind", &self.kind())
            .field("reason", &self.reason())
            .field("score", &self.score)
            .finish_non_exhaustive()
    }
}
