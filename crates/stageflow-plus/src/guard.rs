//! Guards: what may go on, and what may not.
//!
//! A [`Guard`] looks at content and gives a [`Verdict`]: allow, transform, block, or nothing to say. A [`GuardStage`] asks it, and gives
//! a [`Guarded`], which nobody else can make: a stage that takes an `Arc<Guarded<T>>` cannot be wired to content that no guard has seen.
//!
//! Whatever is not allowed is blocked: a guard that fails, panics or takes too long, content that is missing or empty, a composition of
//! no guards. [`OnError::Open`] is the one exception, and each use of it leaves the event `audit.guard_opened`.
//!
//! | name | is |
//! |---|---|
//! | [`guard_fn`], [`async_guard`] | a function as a guard |
//! | [`Length`], [`NotBlank`], [`Denylist`], [`Redact`] | ready-made guards of texts |
//! | [`Guards`] | several as one: all, any, weighted, deny-overrides |
//! | [`Part`], [`Explained`] | a guard for a part of the content; a guard whose objections are explained |
//! | [`GuardStage`], [`GuardExt`] | a guard as a stage |
//! | [`Refine`] | a bounded loop: make, judge, and make again with what was objected |
//!
//! Events name guards, verdicts and reasons, and never content: a [`Reason`] is a word of the program, and cannot be put together from
//! what was checked by accident.

mod adapt;
mod approvals;
mod builder;
mod check;
mod compose;
mod content;
mod contract;
mod exit;
mod function;
mod guarded;
mod objection;
mod reason;
mod refine;
mod rules;
mod stage;
mod texts;
mod together;
mod verdict;

pub use self::{
    adapt::{Explained, Part},
    builder::{GuardBuilder, GuardExt, GuardSource},
    compose::Guards,
    content::Content,
    contract::Guard,
    exit::{GuardBlocked, OnBlock},
    function::{AsyncGuard, FnGuard, async_guard, guard_fn},
    guarded::{Guarded, Judgement, Remark},
    objection::{Blocked, GuardFailure, HowFailed, Objection},
    reason::Reason,
    refine::{Attempt, Refine, RefineExhausted, Rejected, WhyExhausted},
    rules::{GuardRules, OnError},
    stage::GuardStage,
    texts::{Denylist, Length, NotBlank, Redact},
    verdict::{Verdict, VerdictKind},
};

#[cfg(test)]
mod tests;
