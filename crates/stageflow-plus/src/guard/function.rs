//! Functions as guards: [`guard_fn`] and [`async_guard`].

use std::{fmt, future::Future, sync::Arc};

use stageflow_core::{StageContext, StageResult};

use super::{
    contract::Guard,
    rules::{GuardRules, rule_setters},
    verdict::Verdict,
};

/// A function as a guard: made by [`guard_fn`].
#[must_use = "a guard is given to a stage"]
pub struct FnGuard<C> {
    check: C,
    rules: GuardRules,
}

/// An async function as a guard: made by [`async_guard`].
#[must_use = "a guard is given to a stage"]
pub struct AsyncGuard<C> {
    check: C,
    rules: GuardRules,
}

/// Makes a guard of a function that looks at the content and does not wait.
///
/// ```
/// use stageflow_plus::guard::{GuardStage, Verdict, guard_fn};
///
/// let polite = guard_fn("polite", |text: &String| match text.contains("stupid") {
///     true => Verdict::block("rude"),
///     false => Verdict::allow(),
/// });
/// let stage = GuardStage::new(polite);
/// # let _ = stage;
/// ```
pub fn guard_fn<T, F, C>(name: impl Into<Arc<str>>, check: C) -> FnGuard<C>
where
    C: Fn(&T) -> Verdict<T, F> + Send + Sync + 'static,
{
    FnGuard { check, rules: GuardRules::named(name) }
}

/// Makes a guard of an async function of the context and the content.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{DurationExt, StageContext, StageResult};
/// use stageflow_plus::guard::{GuardStage, OnError, Verdict, async_guard};
///
/// async fn moderated(_ctx: StageContext, text: Arc<String>) -> StageResult<Verdict<String>> {
///     // ask a service
///     Ok(if text.contains("bomb") { Verdict::block("violence") } else { Verdict::allow() })
/// }
///
/// let moderation = async_guard("moderation", moderated).timeout(2.secs()).on_error(OnError::Open);
/// let stage = GuardStage::new(moderation);
/// # let _ = stage;
/// ```
pub fn async_guard<T, F, C, Fut>(name: impl Into<Arc<str>>, check: C) -> AsyncGuard<C>
where
    C: Fn(StageContext, Arc<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = StageResult<Verdict<T, F>>> + Send,
{
    AsyncGuard { check, rules: GuardRules::named(name) }
}

impl<C> FnGuard<C> {
    rule_setters!();
}

impl<C> AsyncGuard<C> {
    rule_setters!();
}

impl<T, F, C> Guard<T, F> for FnGuard<C>
where
    T: Send + Sync + 'static,
    F: Send,
    C: Fn(&T) -> Verdict<T, F> + Send + Sync + 'static,
{
    async fn check(&self, _: &StageContext, content: &Arc<T>) -> StageResult<Verdict<T, F>> {
        Ok((self.check)(content))
    }

    fn rules(&self) -> GuardRules {
        self.rules.clone()
    }
}

impl<T, F, C, Fut> Guard<T, F> for AsyncGuard<C>
where
    T: Send + Sync + 'static,
    C: Fn(StageContext, Arc<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = StageResult<Verdict<T, F>>> + Send,
{
    async fn check(&self, ctx: &StageContext, content: &Arc<T>) -> StageResult<Verdict<T, F>> {
        (self.check)(ctx.clone(), Arc::clone(content)).await
    }

    fn rules(&self) -> GuardRules {
        self.rules.clone()
    }
}

impl<C> fmt::Debug for FnGuard<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnGuard").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for AsyncGuard<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncGuard").field("rules", &self.rules).finish_non_exhaustive()
    }
}
