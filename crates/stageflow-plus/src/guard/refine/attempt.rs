//! What an attempt is given: [`Attempt`], and what was rejected before it.

use std::{fmt, sync::Arc};

use super::super::objection::Blocked;

/// What an attempt of a [`Refine`](super::Refine) is given: the input, and what was rejected before with what guards said about it.
///
/// Its `Debug` form shows neither.
pub struct Attempt<In, Out, F = ()> {
    input: Arc<In>,
    number: u32,
    rejected: Option<Arc<Rejected<Out, F>>>,
}

impl<In, Out, F> Attempt<In, Out, F> {
    pub(super) fn new(input: Arc<In>, number: u32, rejected: Option<Arc<Rejected<Out, F>>>) -> Self {
        Self { input, number, rejected }
    }

    /// A first attempt, for tests of what is refined.
    pub fn for_test(input: impl Into<Arc<In>>) -> Self {
        Self::new(input.into(), 1, None)
    }

    /// The input of the loop, the same for each attempt.
    pub fn input(&self) -> &Arc<In> {
        &self.input
    }

    /// Which attempt it is, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What the attempt before gave, and what was objected; `None` for the first.
    pub fn rejected(&self) -> Option<&Rejected<Out, F>> {
        self.rejected.as_deref()
    }

    /// What guards said to the attempt before, in the order of the guards; nothing for the first.
    pub fn feedback(&self) -> impl Iterator<Item = &F> {
        self.rejected.iter().flat_map(|rejected| rejected.blocked.feedback())
    }
}

/// An output that no guard has let pass, and what was objected.
pub struct Rejected<Out, F = ()> {
    output: Arc<Out>,
    blocked: Blocked<F>,
    number: u32,
}

impl<Out, F> Rejected<Out, F> {
    pub(super) fn new(output: Arc<Out>, blocked: Blocked<F>, number: u32) -> Self {
        Self { output, blocked, number }
    }

    /// What was rejected.
    pub fn output(&self) -> &Arc<Out> {
        &self.output
    }

    /// What was objected.
    pub fn blocked(&self) -> &Blocked<F> {
        &self.blocked
    }

    /// Which attempt it was, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl<In, Out, F> fmt::Debug for Attempt<In, Out, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("number", &self.number)
            .field("rejected", &self.rejected)
            .finish_non_exhaustive()
    }
}

impl<Out, F> fmt::Debug for Rejected<Out, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("number", &self.number)
            .field("blocked", &self.blocked)
            .finish_non_exhaustive()
    }
}
