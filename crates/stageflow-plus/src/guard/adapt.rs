//! A guard for a part of the content, and a guard whose objections are explained.

use std::{fmt, marker::PhantomData, sync::Arc};

use stageflow_core::{StageContext, StageResult};

use super::{
    contract::Guard,
    objection::Objection,
    reason::Reason,
    rules::GuardRules,
    verdict::{Ruling, Verdict},
};

/// A guard of `P` as a guard of what has a `P`.
///
/// ```
/// use stageflow_plus::guard::{Content, GuardStage, Length, Part};
///
/// #[derive(Clone)]
/// struct Request { user: u64, text: String }
///
/// impl Content for Request {
///     fn is_empty(&self) -> bool { Content::is_empty(&self.text) }
/// }
///
/// let short = Part::new(
///     |request: &Request| request.text.clone(),
///     |request: &Request, text: String| Request { text, ..request.clone() },
///     Length::at_most(4_000),
/// );
/// let stage = GuardStage::new(short);
/// # let _ = stage;
/// ```
pub struct Part<P, Get, Put, G> {
    get: Get,
    put: Put,
    guard: G,
    part: PhantomData<fn(P)>,
}

impl<P, Get, Put, G> Part<P, Get, Put, G> {
    /// Gives `guard` what `get` takes out of the content, and lets `put` put back what the guard has transformed.
    pub fn new<T>(get: Get, put: Put, guard: G) -> Self
    where
        Get: Fn(&T) -> P,
        Put: Fn(&T, P) -> T,
    {
        Self { get, put, guard, part: PhantomData }
    }
}

impl<T, F, P, Get, Put, G> Guard<T, F> for Part<P, Get, Put, G>
where
    T: Send + Sync + 'static,
    P: Clone + Send + Sync + 'static,
    F: Send,
    Get: Fn(&T) -> P + Send + Sync + 'static,
    Put: Fn(&T, P) -> T + Send + Sync + 'static,
    G: Guard<P, F>,
{
    async fn check(&self, ctx: &StageContext, content: &Arc<T>) -> StageResult<Verdict<T, F>> {
        let verdict = self.guard.check(ctx, &Arc::new((self.get)(content))).await?;
        let ruling = match verdict.ruling {
            Ruling::Transform(part) => {
                Ruling::Transform(Arc::new((self.put)(content, Arc::unwrap_or_clone(part))))
            }
            Ruling::Allow => Ruling::Allow,
            Ruling::Block => Ruling::Block,
            Ruling::Abstain => Ruling::Abstain,
        };
        Ok(Verdict { ruling, score: verdict.score, objections: verdict.objections, remarks: verdict.remarks })
    }

    fn rules(&self) -> GuardRules {
        self.guard.rules()
    }
}

/// A guard whose objections are explained to whoever makes the content anew.
///
/// ```
/// use stageflow_plus::guard::{Explained, Guards, Length};
///
/// let short = Explained::new(Length::at_most(280), |text: &String, _reason| {
///     format!("it has {} characters, and 280 are the limit", text.chars().count())
/// });
/// let guards = Guards::<String, String>::all().with(short);
/// # let _ = guards;
/// ```
pub struct Explained<G, E> {
    guard: G,
    explain: E,
}

impl<G, E> Explained<G, E> {
    /// Asks `explain` about each objection of `guard`.
    pub fn new<T, F>(guard: G, explain: E) -> Self
    where
        E: Fn(&T, &Reason) -> F,
    {
        Self { guard, explain }
    }
}

impl<T, F, G, E> Guard<T, F> for Explained<G, E>
where
    T: Send + Sync + 'static,
    F: Send,
    G: Guard<T>,
    E: Fn(&T, &Reason) -> F + Send + Sync + 'static,
{
    async fn check(&self, ctx: &StageContext, content: &Arc<T>) -> StageResult<Verdict<T, F>> {
        let Verdict { ruling, score, objections, remarks } = self.guard.check(ctx, content).await?;
        let explained = objections.into_iter().map(|objection| Objection {
            feedback: Some((self.explain)(content, &objection.reason)),
            guard: objection.guard,
            reason: objection.reason,
            failure: objection.failure,
        });
        Ok(Verdict { ruling, score, objections: explained.collect(), remarks })
    }

    fn rules(&self) -> GuardRules {
        self.guard.rules()
    }
}

impl<P, Get, Put, G: fmt::Debug> fmt::Debug for Part<P, Get, Put, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl<G: fmt::Debug, E> fmt::Debug for Explained<G, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explained").field("guard", &self.guard).finish_non_exhaustive()
    }
}
