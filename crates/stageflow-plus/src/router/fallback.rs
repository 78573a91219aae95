//! [`FallbackRouter`]: ordered tiers, and what a chain of runs has tried.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stageflow_core::{
    BreakerOutcome, Call, Interceptor, Layer, Next, RunId, Stage, StageContext, StageExit, StageKind,
    StageResult, Value, intercept::Placement,
};

use super::{
    bounded::Bounded,
    branch::Reports,
    reports::Guarded,
    route::{Route, RouteKey, RouteReason, SkippedRoute, label},
    shell::{NoRoute, Shell, shell_setters},
    watch::watched,
};

/// How many chains are known at a time.
const CHAINS: usize = 10_000;

type Skip<T, R> = dyn Fn(&R, &T) -> Option<Cow<'static, str>> + Send + Sync;

/// Chooses the first of ordered tiers that is usable and has not failed before.
///
/// What has failed is remembered for the run with all its child runs: a sub-pipeline with this router in it, tried again by a retry,
/// takes the next tier each time, and never goes back. Every tier that is passed over is listed in the decision with the reason, so
/// that no fallback is silent; without a tier left the stage fails with `NO_ROUTE`, class permanent. A call that says nothing about
/// the tier counts for nothing: one that was cancelled, skipped or denied. An error of the caller is an answer.
///
/// The stages behind it tell it how they end: add them with [`OnRoute::on_route`](super::OnRoute::on_route). Clones share what they
/// know, of 10,000 chains at most.
pub struct FallbackRouter<R, T> {
    shell: Shell,
    shared: Arc<Shared<R>>,
    skip: Option<Arc<Skip<T, R>>>,
}

struct Shared<R> {
    tiers: Box<[R]>,
    guarded: Guarded,
    /// Which tiers have failed in which chain, and how.
    failed: Mutex<Bounded<RunId, Vec<(usize, String)>>>,
}

impl<R> Shared<R> {
    fn failed(&self) -> MutexGuard<'_, Bounded<RunId, Vec<(usize, String)>>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: RouteKey, T> FallbackRouter<R, T> {
    /// The tiers, the best first.
    pub fn new(tiers: impl IntoIterator<Item = R>) -> Self {
        let tiers: Box<[R]> = tiers.into_iter().collect();
        let guarded = Guarded::new(tiers.len());
        let shared = Shared { tiers, guarded, failed: Mutex::new(Bounded::new(CHAINS)) };
        Self { shell: Shell::new("FallbackRouter"), shared: Arc::new(shared), skip: None }
    }

    shell_setters!();

    /// Passes over tiers for which `why_not` gives a reason, such as one that is too small for the input. It goes into events.
    #[must_use]
    pub fn skip_if(
        mut self,
        why_not: impl Fn(&R, &T) -> Option<Cow<'static, str>> + Send + Sync + 'static,
    ) -> Self {
        self.skip = Some(Arc::new(why_not));
        self
    }

    /// Says that nothing behind a tier reports, on purpose: say, because it gives a constant.
    #[must_use]
    pub fn without_report(self, tier: &R) -> Self {
        self.shared.tiers.iter().position(|known| known == tier).inspect(|at| self.shared.guarded.mark(*at));
        self
    }

    /// What has failed so far in a run and its child runs, by the id of the first of them.
    pub fn history(&self, root: RunId) -> Vec<SkippedRoute<R>> {
        let failed = self.shared.failed();
        let tiers = failed.peek(&root).map_or(&[][..], Vec::as_slice).iter();
        tiers.map(|(at, why)| SkippedRoute::new(self.shared.tiers[*at].clone(), why.clone())).collect()
    }

    fn choose(&self, chain: RunId, input: &T) -> Result<Route<R>, NoRoute<R>> {
        self.shared.guarded.check(self.shared.tiers.iter().cloned())?;
        let failed = self.shared.failed().peek(&chain).cloned().unwrap_or_default();
        let mut skipped = Vec::new();
        for (at, tier) in self.shared.tiers.iter().enumerate() {
            let known =
                failed.iter().find(|(failed, _)| *failed == at).map(|(_, why)| Cow::from(why.clone()));
            let why = known.or_else(|| self.skip.as_ref().and_then(|skip| skip(tier, input)));
            let Some(why) = why else {
                let reason = if at == 0 { RouteReason::Primary } else { RouteReason::Fallback };
                return Ok(Route::to(tier.clone()).reason_code(reason).skipping(skipped));
            };
            skipped.push(SkippedRoute::new(tier.clone(), why));
        }
        Err(NoRoute { skipped, ..NoRoute::permanent("exhausted", "no tier is left") })
    }
}

impl<R: RouteKey, T: Send + Sync + 'static> Stage for FallbackRouter<R, T> {
    type Input = Arc<T>;
    type Output = Route<R>;
    const KIND: StageKind = StageKind::Route;

    async fn run(&self, ctx: &StageContext, input: Arc<T>) -> StageResult<Route<R>> {
        let chain = ctx.snapshot().root_run_id();
        match self.choose(chain, &input) {
            Ok(route) => {
                if ctx.snapshot().parent().is_none() {
                    let shared = Arc::clone(&self.shared);
                    ctx.on_cleanup(async move { drop(shared.failed().remove(&chain)) });
                }
                self.shell.decided(ctx, route)
            }
            Err(none) => Err(self.shell.refused(ctx, none)),
        }
    }
}

impl<R: RouteKey, T> Reports<R> for FallbackRouter<R, T> {
    type Guard = FallbackRouteGuard<R>;

    fn guard(&self, tier: &R) -> FallbackRouteGuard<R> {
        let index = self.shared.tiers.iter().position(|known| known == tier);
        index.inspect(|at| self.shared.guarded.mark(*at));
        FallbackRouteGuard { shared: Arc::clone(&self.shared), index }
    }
}

/// Tells a [`FallbackRouter`] how a tier ends: made by [`Reports::guard`]. It stands around the retries of the stage, so that only the
/// last of them counts.
pub struct FallbackRouteGuard<R> {
    shared: Arc<Shared<R>>,
    index: Option<usize>,
}

impl<R: RouteKey> Interceptor for FallbackRouteGuard<R> {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let chain = call.snapshot().root_run_id();
        watched(call, next, |outcome, exit| {
            let (BreakerOutcome::Failure { .. }, Some(index)) = (outcome, self.index) else { return };
            let mut failed = self.shared.failed();
            let tiers = failed.get(&chain);
            if !tiers.iter().any(|(known, _)| *known == index) {
                tiers.push((index, format!("failed before ({})", how(exit))));
            }
        })
        .await
    }

    fn name(&self) -> String {
        "FallbackRouteGuard".to_owned()
    }

    fn placement(&self) -> Placement {
        Placement::Outside(Layer::Retry)
    }
}

/// How it failed, without the text of the error.
fn how(exit: Option<&StageExit>) -> String {
    match exit {
        None => "it panicked or its time was up".to_owned(),
        Some(exit) => {
            exit.error_code().map_or_else(|| "it asked for a retry".to_owned(), |code| code.to_string())
        }
    }
}

impl<R, T> Clone for FallbackRouter<R, T> {
    fn clone(&self) -> Self {
        Self { shell: self.shell.clone(), shared: Arc::clone(&self.shared), skip: self.skip.clone() }
    }
}

impl<R: RouteKey, T> fmt::Debug for FallbackRouter<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tiers: Vec<_> = self.shared.tiers.iter().map(label).collect();
        f.debug_struct("FallbackRouter")
            .field("name", &self.shell.name)
            .field("tiers", &tiers)
            .finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for FallbackRouteGuard<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackRouteGuard").field("index", &self.index).finish_non_exhaustive()
    }
}
