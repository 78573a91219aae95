//! Checks that a stage, an interceptor or a sink of your own obeys the rules of its trait.
//!
//! Each check tries what an engine may do: calls at the same time, futures dropped at every poll, cancellation, inner
//! failures. It gives a [`ContractError`] that lists every rule that was broken, with what was seen and what helps.
//!
//! The checks need a tokio runtime with a timer, and wait up to a minute for what should end. Pause its time, or a broken
//! implementation makes the test that slow.
//!
//! ```
//! use std::sync::Arc;
//! use stageflow_core::{StageContext, StageResult, stage_fn};
//! use stageflow_testing::contract;
//!
//! async fn count(_ctx: StageContext, text: Arc<String>) -> StageResult<usize> {
//!     Ok(text.split_whitespace().count())
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
//! contract::stage(&stage_fn(count), || Arc::new("two words".to_owned())).await?;
//! # Ok::<_, contract::ContractError>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

use std::{fmt, time::Duration};

use stageflow_core::value::TypeTag;

mod drive;
mod interceptor;
mod sink;
mod stage;
#[cfg(test)]
mod tests;

pub use interceptor::interceptor;
pub use sink::{sink, sink_that_keeps};
pub use stage::{stage, stage_in};

/// How long the checks wait for what should end, by tokio's time.
const LIMIT: Duration = Duration::from_secs(60);

/// A rule of a trait, and what helps who breaks it.
#[derive(Clone, Copy)]
struct Rule {
    text: &'static str,
    hint: &'static str,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The rule, as a sentence.
    pub rule: &'static str,
    /// What was seen: the first time, where it was seen more often.
    pub seen: String,
    /// What usually helps.
    pub hint: &'static str,
}

/// An implementation breaks rules of its trait. Prints each of them with what was seen and what helps.
#[derive(Clone, PartialEq, Eq)]
pub struct ContractError {
    subject: String,
    violations: Vec<Violation>,
}

impl ContractError {
    /// The rules that were broken, each once.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

impl fmt::Display for ContractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = if self.violations.len() == 1 { "rule" } else { "rules" };
        write!(f, "`{}` breaks {} {rules} of its trait", self.subject, self.violations.len())?;
        for violation in &self.violations {
            let Violation { rule, seen, hint } = violation;
            write!(f, "\n  {rule}\n    seen: {seen}\n    help: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ContractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `unwrap` prints this: it should read well.
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ContractError {}

/// The rules that a check has seen broken.
struct Findings {
    subject: String,
    violations: Vec<Violation>,
}

impl Findings {
    fn of<T: 'static>() -> Self {
        Self { subject: TypeTag::of::<T>().short_name(), violations: Vec::new() }
    }

    fn add(&mut self, rule: Rule, seen: impl Into<String>) {
        if self.violations.iter().all(|known| known.rule != rule.text) {
            self.violations.push(Violation { rule: rule.text, seen: seen.into(), hint: rule.hint });
        }
    }

    fn into_result(self) -> Result<(), ContractError> {
        let Self { subject, violations } = self;
        if violations.is_empty() { Ok(()) } else { Err(ContractError { subject, violations }) }
    }
}
