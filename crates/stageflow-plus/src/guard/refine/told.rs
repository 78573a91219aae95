//! What is told of a loop: its events, and its error.

use std::{error::Error, fmt, sync::Arc};

use stageflow_core::{ErrorClass, FieldValue, StageContext, StageExit, code, text::OneLine};

use super::{
    attempt::Rejected,
    limits::{Limits, Loop, WhyExhausted},
};

/// Tells of one loop.
pub(super) struct Told<'a> {
    pub(super) ctx: &'a StageContext,
    pub(super) limits: Limits,
    pub(super) guard: &'a Arc<str>,
    /// What is made again.
    pub(super) what: Arc<str>,
}

type Fields = Vec<(&'static str, FieldValue)>;

impl Told<'_> {
    /// An output was rejected.
    pub(super) fn attempt(&self, state: &Loop, attempt: u32) {
        let mut fields = self.fields("attempt", attempt, state);
        fields.push(("max_attempts", self.limits.attempts.into()));
        self.ctx.emit("guard_retry.attempt", fields);
    }

    /// Another attempt follows.
    pub(super) fn scheduled(&self, state: &Loop, attempt: u32) {
        self.ctx.emit("guard_retry.scheduled", self.fields("attempt", attempt, state));
    }

    /// An output passes, after others were rejected.
    pub(super) fn recovered(&self, attempts: u32) {
        let fields: [(&str, FieldValue); 2] =
            [("guard", (**self.guard).into()), ("attempts", attempts.into())];
        self.ctx.emit("guard_retry.recovered", fields);
    }

    /// There is no other attempt.
    pub(super) fn exhausted<Out, F>(
        &self,
        state: &Loop,
        why: WhyExhausted,
        attempts: u32,
        last: Option<&Rejected<Out, F>>,
    ) -> RefineExhausted {
        let mut fields = self.fields("attempts", attempts, state);
        fields.push(("reason", why.as_str().into()));
        self.ctx.emit("guard_retry.exhausted", fields);
        let last = last.map(|last| last.blocked().to_string());
        RefineExhausted { what: Arc::clone(&self.what), why, attempts, last }
    }

    fn fields(&self, counts: &'static str, count: u32, state: &Loop) -> Fields {
        let mut fields = vec![
            ("guard", FieldValue::from(&**self.guard)),
            (counts, count.into()),
            ("retry_stage", (*self.what).into()),
            ("stagnation_hits", state.stagnation_hits().into()),
        ];
        fields.extend(self.limits.deadline.map(|time| ("timeout_seconds", time.as_secs_f64().into())));
        fields
    }
}

/// A [`Refine`](super::Refine) has ended without an output: the cause of a failure with the code `REFINE_EXHAUSTED`. It names guards and
/// reasons, and no content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefineExhausted {
    what: Arc<str>,
    why: WhyExhausted,
    attempts: u32,
    last: Option<String>,
}

impl RefineExhausted {
    /// Why.
    pub fn why(&self) -> WhyExhausted {
        self.why
    }

    /// How many attempts were begun.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What was objected last, as guards and reasons, if anything was.
    pub fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    pub(super) fn into_exit(self) -> StageExit {
        StageExit::failure(code::REFINE_EXHAUSTED, ErrorClass::Permanent, self.into())
    }
}

impl fmt::Display for RefineExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, attempts) = (OneLine(&self.what), self.attempts);
        let times = if attempts == 1 { "attempt" } else { "attempts" };
        let why = match self.why {
            WhyExhausted::Timeout => "its time is up, or too little is left for another",
            WhyExhausted::Stagnation => "attempts do not get better",
            WhyExhausted::MaxAttempts => "it has no more",
        };
        write!(f, "no output of `{what}` has passed in {attempts} {times}, and {why}")?;
        self.last.as_ref().map_or(Ok(()), |last| write!(f, "; last, {last}"))
    }
}

impl Error for RefineExhausted {}
