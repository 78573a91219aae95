//! [`Guarded`]: content that a guard has let pass.

use std::{fmt, ops::Deref, sync::Arc};

use super::{objection::Blocked, reason::Reason};

/// Content that a guard has let pass: the output of a [`GuardStage`](super::GuardStage) and of a [`Refine`](super::Refine).
///
/// Only they can make one, so a stage that takes an `Arc<Guarded<T>>` cannot be wired to what no guard has seen. It reads and
/// prints like the content itself; its `Debug` form does not show the content.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{StageContext, StageResult};
/// use stageflow_plus::guard::Guarded;
///
/// async fn ask_model(_ctx: StageContext, prompt: Arc<Guarded<String>>) -> StageResult<usize> {
///     Ok(prompt.len())
/// }
/// ```
pub struct Guarded<T> {
    content: Arc<T>,
    is_fallback: bool,
    remarks: Vec<Remark>,
}

impl<T> Guarded<T> {
    pub(super) fn new(content: Arc<T>, remarks: Vec<Remark>) -> Self {
        Self { content, is_fallback: false, remarks }
    }

    pub(super) fn fallback(content: Arc<T>) -> Self {
        Self { content, is_fallback: true, remarks: Vec::new() }
    }

    /// Content as if a guard had allowed it, for tests of a stage that takes it.
    pub fn for_test(content: impl Into<Arc<T>>) -> Self {
        Self::new(content.into(), Vec::new())
    }

    /// The content, shared.
    pub fn content(&self) -> &Arc<T> {
        &self.content
    }

    /// The content, shared, without the rest.
    pub fn into_content(self) -> Arc<T> {
        self.content
    }

    /// Whether a guard has put it in the place of what was checked.
    pub fn is_transformed(&self) -> bool {
        self.remarks.iter().any(|remark| !remark.is_opened)
    }

    /// Whether a guard that has failed was passed over: [`OnError::Open`](super::OnError::Open).
    pub fn is_opened(&self) -> bool {
        self.remarks.iter().any(Remark::is_opened)
    }

    /// Whether it stands for content that was blocked: [`OnBlock::give`](super::OnBlock::give).
    pub fn is_fallback(&self) -> bool {
        self.is_fallback
    }

    /// Which guards have transformed it or were passed over, in the order in which that happened.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }
}

impl<T> Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}

impl<T: fmt::Display> fmt::Display for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.content.fmt(f)
    }
}

impl<T> Clone for Guarded<T> {
    fn clone(&self) -> Self {
        Self {
            content: Arc::clone(&self.content),
            is_fallback: self.is_fallback,
            remarks: self.remarks.clone(),
        }
    }
}

impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("is_fallback", &self.is_fallback)
            .field("remarks", &self.remarks)
            .finish_non_exhaustive()
    }
}

/// A guard has transformed the content, or was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub(super) guard: Arc<str>,
    reason: Reason,
    is_opened: bool,
}

impl Remark {
    pub(super) fn transformed(reason: Reason) -> Self {
        Self { guard: Arc::from(""), reason, is_opened: false }
    }

    pub(super) fn opened(guard: &Arc<str>, reason: Reason) -> Self {
        Self { guard: Arc::clone(guard), reason, is_opened: true }
    }

    /// The name of the guard.
    pub fn guard(&self) -> &str {
        &self.guard
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Whether the guard has failed and was passed over.
    pub fn is_opened(&self) -> bool {
        self.is_opened
    }
}

/// What becomes of content: given by [`GuardStage::judge`](super::GuardStage::judge).
#[derive(Debug)]
pub enum Judgement<T, F = ()> {
    /// This goes on.
    Passed(Guarded<T>),
    /// Nothing does.
    Blocked(Blocked<F>),
}

impl<T, F> Judgement<T, F> {
    /// What goes on, if anything does.
    pub fn passed(self) -> Option<Guarded<T>> {
        match self {
            Self::Passed(guarded) => Some(guarded),
            Self::Blocked(_) => None,
        }
    }

    /// Why nothing goes on, if nothing does.
    pub fn blocked(&self) -> Option<&Blocked<F>> {
        match self {
            Self::Passed(_) => None,
            Self::Blocked(blocked) => Some(blocked),
        }
    }
}
