//! [`Router`]: a route by a function.

use std::{fmt, sync::Arc};

use stageflow_core::{Stage, StageContext, StageExit, StageKind, StageResult};

use super::{
    phrases::Phrases,
    route::{Route, RouteKey, RouteReason, label},
    shell::{NoRoute, Shell, shell_setters},
};

/// What happens where there is no decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Otherwise<R> {
    /// This route is taken.
    To(R),
    /// The stage fails with `NO_ROUTE`, class permanent.
    #[default]
    Fail,
    /// The stage is skipped, and with it all behind it that needs the decision.
    Skip,
}

type Decide<T, R> = dyn Fn(&T) -> Option<Route<R>> + Send + Sync;
type IsEmpty<T> = dyn Fn(&T) -> bool + Send + Sync;

/// Chooses a route by a function of the input.
///
/// The routes are declared, so that a route nobody knows is noticed here and not by nothing being run. The function gives `None` if it
/// knows none. What happens then says [`on_unknown`](Self::on_unknown), and what happens with an empty input,
/// [`on_empty`](Self::on_empty). Without these calls an unknown route fails the stage, and the function is asked about empty inputs too.
///
/// The function must be pure: the same input, the same route, however many ask. It runs on the worker and must not block; a panic of it
/// fails the stage.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{Stage, StageContext, StageResult};
/// use stageflow_plus::router::{Otherwise, Route, Router};
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// enum Path { Fast, Careful }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let router = Router::new([Path::Fast, Path::Careful], |text: &String| match text.len() {
///     0..100 => Some(Route::to(Path::Fast).because("short")),
///     _ => Some(Route::to(Path::Careful).because("long").confidence(0.8)),
/// })
/// .on_empty(|text| text.trim().is_empty(), Otherwise::To(Path::Fast));
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let ctx = StageContext::for_test();
/// let route = router.run(&ctx, Arc::new(" ".to_owned())).await.expect("there is a route");
/// assert_eq!(route.to_string(), "Fast (empty, confidence 1.00)");
/// # });
/// # Ok(())
/// # }
/// ```
pub struct Router<R, T> {
    shell: Shell,
    routes: Arc<[R]>,
    decide: Arc<Decide<T, R>>,
    empty: Option<(Arc<IsEmpty<T>>, Otherwise<R>)>,
    unknown: Otherwise<R>,
    unsure: Option<(f64, Otherwise<R>)>,
}

impl<R: RouteKey, T> Router<R, T> {
    /// Chooses one of `routes` by `decide`.
    pub fn new(
        routes: impl IntoIterator<Item = R>,
        decide: impl Fn(&T) -> Option<Route<R>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            shell: Shell::new("Router"),
            routes: routes.into_iter().collect(),
            decide: Arc::new(decide),
            empty: None,
            unknown: Otherwise::Fail,
            unsure: None,
        }
    }

    shell_setters!();

    /// What happens with an input for which `is_empty` holds; the function is not asked then.
    #[must_use]
    pub fn on_empty(
        mut self,
        is_empty: impl Fn(&T) -> bool + Send + Sync + 'static,
        otherwise: Otherwise<R>,
    ) -> Self {
        self.empty = Some((Arc::new(is_empty), otherwise));
        self
    }

    /// What happens if the function gives no route, or one that was not declared.
    #[must_use]
    pub fn on_unknown(mut self, otherwise: Otherwise<R>) -> Self {
        self.unknown = otherwise;
        self
    }

    /// What happens if the function is less sure than `confidence`: say, a person decides.
    #[must_use]
    pub fn on_unsure(mut self, confidence: f64, otherwise: Otherwise<R>) -> Self {
        self.unsure = Some((confidence, otherwise));
        self
    }

    /// The declared routes.
    pub fn routes(&self) -> &[R] {
        &self.routes
    }

    /// The decision for an input, without a run; `Err` with the reason if there is none. It leaves no event.
    ///
    /// # Errors
    ///
    /// The policies say that the stage fails or is skipped.
    pub fn decide(&self, input: &T) -> Result<Route<R>, RouteReason> {
        self.choose(input).map_err(|(reason, _)| reason)
    }

    fn choose(&self, input: &T) -> Result<Route<R>, (RouteReason, Missing<'_, R>)> {
        if let Some((is_empty, otherwise)) = &self.empty
            && is_empty(input)
        {
            return instead(RouteReason::Empty, otherwise, None);
        }
        match (self.decide)(input) {
            None => instead(RouteReason::Unknown, &self.unknown, None),
            Some(route) if !self.routes.contains(route.route()) => {
                instead(RouteReason::Unknown, &self.unknown, Some((route, "not declared")))
            }
            Some(route) => match &self.unsure {
                Some((least, otherwise)) if route.sureness() < *least => {
                    instead(RouteReason::Unsure, otherwise, Some((route, "not sure enough")))
                }
                _ => Ok(route),
            },
        }
    }
}

/// What the policy says, where that is no route, and what was decided before it.
type Missing<'a, R> = (&'a Otherwise<R>, Option<(Route<R>, &'static str)>);

fn instead<'a, R: RouteKey>(
    reason: RouteReason,
    otherwise: &'a Otherwise<R>,
    decided: Option<(Route<R>, &'static str)>,
) -> Result<Route<R>, (RouteReason, Missing<'a, R>)> {
    let Otherwise::To(route) = otherwise else { return Err((reason, (otherwise, decided))) };
    let route = Route::to(route.clone()).reason_code(reason);
    Ok(match decided {
        Some((decided, why)) => route.confidence(decided.sureness()).skip(decided.route().clone(), why),
        None => route,
    })
}

impl<R: RouteKey, T: AsRef<str> + 'static> Router<R, T> {
    /// Chooses by the phrases of a text. An empty text, or one of white space alone, is of the route that `phrases` gives when none is
    /// found, unless [`on_empty`](Self::on_empty) says something else.
    pub fn by_phrases(phrases: Phrases<R>) -> Self {
        let routes = phrases.routes();
        Self::new(routes, move |text: &T| Some(phrases.decide(text.as_ref())))
    }
}

impl<R: RouteKey, T: Send + Sync + 'static> Stage for Router<R, T> {
    type Input = Arc<T>;
    type Output = Route<R>;
    const KIND: StageKind = StageKind::Route;

    async fn run(&self, ctx: &StageContext, input: Arc<T>) -> StageResult<Route<R>> {
        match self.choose(&input) {
            Ok(route) => self.shell.decided(ctx, route),
            Err((reason, (otherwise, decided))) => {
                let mut none = NoRoute::permanent(
                    reason.as_str(),
                    match reason {
                        RouteReason::Empty => "the input is empty",
                        RouteReason::Unsure => "the decision is not sure enough",
                        _ => "no declared route was decided for",
                    },
                );
                none.skipped.extend(
                    decided.map(|(route, why)| super::route::SkippedRoute::new(route.route().clone(), why)),
                );
                let what = none.what.clone();
                let failed = self.shell.refused(ctx, none);
                Err(if *otherwise == Otherwise::Skip { StageExit::skip(what) } else { failed })
            }
        }
    }
}

impl<R, T> Clone for Router<R, T>
where
    R: Clone,
{
    fn clone(&self) -> Self {
        Self {
            shell: self.shell.clone(),
            routes: Arc::clone(&self.routes),
            decide: Arc::clone(&self.decide),
            empty: self.empty.clone(),
            unknown: self.unknown.clone(),
            unsure: self.unsure.clone(),
        }
    }
}

impl<R: RouteKey, T> fmt::Debug for Router<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes: Vec<_> = self.routes.iter().map(label).collect();
        f.debug_struct("Router")
            .field("name", &self.shell.name)
            .field("routes", &routes)
            .finish_non_exhaustive()
    }
}
