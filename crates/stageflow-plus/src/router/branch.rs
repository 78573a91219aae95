//! The stages behind a router: which route each is for, and who is told how it ends.

use stageflow_core::Interceptor;
use stageflow_dag::{IntoConfiguredStage, Port, StageBuilder};

use super::route::{Route, RouteKey};

/// A router that learns from what happens behind it.
pub trait Reports<R: RouteKey> {
    /// What tells it: an interceptor around the stage behind a route.
    type Guard: Interceptor;

    /// The interceptor for the stage behind `route`. [`OnRoute::on_route`] puts it there.
    fn guard(&self, route: &R) -> Self::Guard;
}

/// Says of a stage which route it is for.
pub trait OnRoute: Sized {
    /// Runs only if `decision` is `route`, as by `.when(decision, |d| d.is(route))`, and tells `router` how each call ends.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::Pipeline;
    /// use stageflow_plus::router::{FallbackRouter, OnRoute as _};
    ///
    /// async fn large(_: StageContext, text: Arc<String>) -> StageResult<usize> { Ok(text.len()) }
    /// async fn small(_: StageContext, _: Arc<String>) -> StageResult<usize> { Ok(0) }
    ///
    /// let router = FallbackRouter::new(["large", "small"]);
    /// let mut p = Pipeline::builder("answer");
    /// let text = p.input();
    /// let tier = p.stage("tier", router.clone()).inputs(text);
    /// let large = p.stage("large", stage_fn(large)).on_route(tier, &router, "large").inputs(text);
    /// let small = p.stage("small", stage_fn(small)).on_route(tier, &router, "small").inputs(text);
    /// # async fn same(_: StageContext, n: Arc<usize>) -> StageResult<usize> { Ok(*n) }
    /// let answer = p.stage("answer", stage_fn(same)).inputs(large.or(small));
    /// let pipeline: Pipeline<String, usize> = p.build(answer)?;
    /// # Ok::<_, stageflow_dag::BuildError>(())
    /// ```
    #[must_use]
    fn on_route<R: RouteKey, P: Reports<R>>(self, decision: Port<Route<R>>, router: &P, route: R) -> Self;
}

impl<I, S: IntoConfiguredStage> OnRoute for StageBuilder<'_, I, S> {
    fn on_route<R: RouteKey, P: Reports<R>>(self, decision: Port<Route<R>>, router: &P, route: R) -> Self {
        let guard = router.guard(&route);
        self.when(decision, move |decided| *decided.route() == route).intercept(guard)
    }
}
