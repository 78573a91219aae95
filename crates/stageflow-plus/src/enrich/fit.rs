//! [`Fit`]: making a value fit by hand, with a record of it.

use std::{fmt, sync::Arc, time::SystemTime};

use stageflow_core::{ErrorClass, StageContext, StageExit, StageResult, code};

use super::{
    counter::{EstimatedTokens, TokenCounter},
    measure::Measure,
    run::ContextExt as _,
    shorten::Shorten,
    tracker::Truncation,
};

/// Makes values fit into so many tokens, and records what it cuts: for what a stage puts together itself, such as a prompt.
///
/// ```
/// use stageflow_core::{StageContext, StageResult};
/// use stageflow_plus::enrich::{Fit, TextCut};
///
/// async fn prompt(ctx: StageContext, history: String) -> StageResult<String> {
///     let fit = Fit::into(1_000).because("the small model reads no more");
///     let history = fit.apply(&ctx, "history", &TextCut::keep_end(), history)?; // leaves `context.truncated` if it cuts
///     Ok(format!("Go on with: {history}"))
/// }
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until it is applied"]
pub struct Fit {
    limit: usize,
    counter: Arc<dyn TokenCounter>,
    why: Option<Arc<str>>,
}

impl Fit {
    /// Into so many tokens, by the estimate of [`EstimatedTokens`] unless another [`counter`](Self::counter) is given.
    pub fn into(limit: usize) -> Self {
        Self { limit, counter: Arc::new(EstimatedTokens::default()), why: None }
    }

    /// What counts the tokens.
    pub fn counter(mut self, counter: impl TokenCounter) -> Self {
        self.counter = Arc::new(counter);
        self
    }

    /// Why there is a limit, for the record. Put no payload into it.
    pub fn because(mut self, why: impl Into<Arc<str>>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// Makes a value fit, and records in the run if anything was cut.
    ///
    /// # Errors
    ///
    /// `CONTEXT_WINDOW_EXCEEDED`, class permanent, if the strategy finds nothing that fits, or what it gives does not.
    pub fn apply<T: Measure + 'static>(
        &self,
        ctx: &StageContext,
        what: &str,
        strategy: &dyn Shorten<T>,
        value: T,
    ) -> StageResult<T> {
        let (value, cut) = self.cut(what, strategy, value, ctx.wall_time()).map_err(|error| {
            StageExit::failure(code::CONTEXT_WINDOW_EXCEEDED, ErrorClass::Permanent, error.into())
        })?;
        if let Some(cut) = cut {
            ctx.truncations().record_in(ctx, cut);
        }
        Ok(value)
    }

    /// The same without a run: the value, and the record if anything was cut, which is nowhere else then.
    ///
    /// # Errors
    ///
    /// The strategy finds nothing that fits, or what it gives does not.
    pub fn cut<T: Measure + 'static>(
        &self,
        what: &str,
        strategy: &dyn Shorten<T>,
        value: T,
        at: SystemTime,
    ) -> Result<(T, Option<Truncation>), DoesNotFit> {
        let counter = &*self.counter;
        let before = value.measure(counter);
        if before <= self.limit {
            return Ok((value, None));
        }
        let does_not_fit =
            || DoesNotFit { what: what.to_owned(), tokens: before, room: self.limit, why_not: "" };
        let short = strategy.shorten(&value, self.limit, counter).ok_or_else(does_not_fit)?;
        let after = short.value.measure(counter);
        if after > self.limit {
            return Err(does_not_fit());
        }
        let why =
            self.why.as_deref().map_or_else(|| format!("more than {} tokens", self.limit), str::to_owned);
        let cut = Truncation {
            what: what.to_owned(),
            why,
            strategy: strategy.strategy().to_owned(),
            unit: short.unit,
            before,
            after,
            removed: short.removed,
            counter: counter.name().to_owned(),
            at,
        };
        Ok((short.value, Some(cut)))
    }
}

impl fmt::Debug for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fit")
            .field("limit", &self.limit)
            .field("counter", &self.counter.name())
            .field("why", &self.why)
            .finish()
    }
}

/// A value does not fit, and cannot be made to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoesNotFit {
    pub(crate) what: String,
    pub(crate) tokens: usize,
    pub(crate) room: usize,
    /// Why it was not cut.
    pub(crate) why_not: &'static str,
}

impl DoesNotFit {
    /// How many tokens it is.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// For how many there is room.
    pub fn room(&self) -> usize {
        self.room
    }
}

impl fmt::Display for DoesNotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, tokens, room) = (&self.what, self.tokens, self.room);
        let why_not = if self.why_not.is_empty() { "no part of it fits" } else { self.why_not };
        write!(f, "`{what}` is {tokens} tokens, there is room for {room}, and {why_not}")
    }
}

impl std::error::Error for DoesNotFit {}
