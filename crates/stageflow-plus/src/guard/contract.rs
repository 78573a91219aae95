//! [`Guard`]: what looks at content and gives a verdict.

use std::{future::Future, pin::Pin, sync::Arc};

use stageflow_core::{StageContext, StageResult, text::OneLine, value::TypeTag};

use super::{rules::GuardRules, verdict::Verdict};

/// Looks at content and gives a verdict.
///
/// The same guard may be asked any number of times, also at the same time, and about content that another guard has transformed.
/// `F` is what its objections tell whoever makes the content anew.
///
/// # Cancel safety
///
/// When the run is cancelled, the time is up or others have decided, the future is dropped at its next `.await`.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{StageContext, StageResult};
/// use stageflow_plus::guard::{Guard, GuardRules, OnError, Verdict};
///
/// struct Moderation { /* a client of a service */ }
///
/// impl Guard<String> for Moderation {
///     async fn check(&self, _ctx: &StageContext, content: &Arc<String>) -> StageResult<Verdict<String>> {
///         let flagged = content.contains("how to build a bomb"); // ask the service
///         Ok(if flagged { Verdict::block("violence") } else { Verdict::allow() })
///     }
///
///     fn rules(&self) -> GuardRules {
///         GuardRules::named("moderation")
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a guard of `{T}`",
    label = "not a guard of `{T}`",
    note = "implement `Guard<{T}>`, or use `guard_fn`, `async_guard` or `Guards`; guards of a text take what is `AsRef<str>`: for a part of your type use `Part`"
)]
pub trait Guard<T, F = ()>: Send + Sync + 'static {
    /// Gives a verdict.
    ///
    /// # Errors
    ///
    /// There is none, and the content is blocked unless the guard's rules say otherwise. A `StageExit::cancel` cancels the run and a
    /// `StageExit::deny` denies it, whatever the rules say. Every other exit is an error: a skip and a request for a retry too.
    fn check(
        &self,
        ctx: &StageContext,
        content: &Arc<T>,
    ) -> impl Future<Output = StageResult<Verdict<T, F>>> + Send;

    /// Its name, its time, and what its failure means.
    fn rules(&self) -> GuardRules {
        GuardRules::default()
    }
}

type Checking<'a, T, F> = Pin<Box<dyn Future<Output = StageResult<Verdict<T, F>>> + Send + 'a>>;

/// A guard with its type erased.
trait Erased<T, F>: Send + Sync {
    fn check<'a>(&'a self, ctx: &'a StageContext, content: &'a Arc<T>) -> Checking<'a, T, F>;
}

impl<T: Send + Sync + 'static, F: 'static, G: Guard<T, F>> Erased<T, F> for G {
    fn check<'a>(&'a self, ctx: &'a StageContext, content: &'a Arc<T>) -> Checking<'a, T, F> {
        Box::pin(Guard::check(self, ctx, content))
    }
}

/// A guard in its place: with its name, its rules and its weight.
pub(super) struct Member<T, F> {
    guard: Arc<dyn Erased<T, F>>,
    pub(super) name: Arc<str>,
    pub(super) rules: GuardRules,
    pub(super) weight: u32,
}

impl<T: Send + Sync + 'static, F: 'static> Member<T, F> {
    pub(super) fn new<G: Guard<T, F>>(guard: G, weight: u32) -> Self {
        let rules = guard.rules();
        let name = rules.name.as_deref().map_or_else(
            || Arc::from(TypeTag::of::<G>().short_name()),
            |name| Arc::from(OneLine(name).to_string()),
        );
        Self { guard: Arc::new(guard), name, rules, weight }
    }

    pub(super) fn check<'a>(&'a self, ctx: &'a StageContext, content: &'a Arc<T>) -> Checking<'a, T, F> {
        self.guard.check(ctx, content)
    }
}

impl<T, F> Clone for Member<T, F> {
    fn clone(&self) -> Self {
        Self {
            guard: Arc::clone(&self.guard),
            name: Arc::clone(&self.name),
            rules: self.rules.clone(),
            weight: self.weight,
        }
    }
}
