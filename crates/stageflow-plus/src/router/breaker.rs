//! [`CircuitBreakerRouter`]: the first route whose breaker lets calls through.

use std::{fmt, marker::PhantomData, pin::pin, sync::Arc, time::Duration};

use stageflow_core::{
    Call, ErrorClass, Interceptor, Layer, Next, PolicyFacts, Stage, StageContext, StageExit, StageKind,
    StageResult, Value, WaitReason, code, intercept::Placement,
};
use stageflow_interceptors::{BreakerPermit, BreakerState, CircuitBreaker, Forced};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    branch::Reports,
    reports::Guarded,
    route::{Route, RouteKey, RouteReason, SkippedRoute},
    shell::{NoRoute, Shell, shell_setters},
    tickets::Tickets,
    watch::watched,
};

/// What happens while no breaker lets a call through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllOpen {
    /// The stage fails with `BREAKER_OPEN`, class transient, and says when it makes sense to come back.
    #[default]
    Fail,
    /// The route whose breaker will be the first to try again is taken all the same; how that ends counts for nothing. Routes that an
    /// operator has closed are never taken: with all of them closed it fails.
    LeastBad,
    /// The run waits until a breaker lets it through, for so long at most, and then fails. It gives up at once where none will try again
    /// within that time, or within the time the run has.
    Queue(Duration),
}

/// Chooses the first of ordered routes whose breaker lets a call through: the primary, then its fallbacks.
///
/// To choose is to be admitted: the decision holds the permit of the breaker until the stage behind it is called, so that nobody is
/// sent to a route and refused there, and no more probes are sent to an ill route than it asks for. The stage tells the breaker how it
/// ends: add it with [`OnRoute::on_route`](super::OnRoute::on_route). With a route that nobody reports about every run fails with
/// `INVALID_POLICY`. Further attempts of the stage are further calls, which the breaker admits or refuses one by one.
///
/// ```
/// # use std::sync::Arc;
/// # use stageflow_core::{DurationExt as _, StageContext, StageResult, stage_fn};
/// # use stageflow_dag::Pipeline;
/// use stageflow_interceptors::CircuitBreaker;
/// use stageflow_plus::router::{AllOpen, CircuitBreakerRouter, OnRoute as _};
///
/// # async fn call(_: StageContext, text: Arc<String>) -> StageResult<usize> { Ok(text.len()) }
/// let router = CircuitBreakerRouter::new([
///     ("large", CircuitBreaker::builder("large model").consecutive(5).build()?),
///     ("small", CircuitBreaker::builder("small model").consecutive(5).build()?),
/// ])
/// .when_all_open(AllOpen::Queue(2.secs()));
///
/// let mut p = Pipeline::builder("answer");
/// let text = p.input();
/// let model = p.stage("model", router.clone()).inputs(text);
/// let large = p.stage("large", stage_fn(call)).on_route(model, &router, "large").inputs(text);
/// let small = p.stage("small", stage_fn(call)).on_route(model, &router, "small").inputs(text);
/// # async fn same(_: StageContext, n: Arc<usize>) -> StageResult<usize> { Ok(*n) }
/// let answer = p.stage("answer", stage_fn(same)).inputs(large.or(small));
/// let pipeline: Pipeline<String, usize> = p.build(answer)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct CircuitBreakerRouter<R, T> {
    shell: Shell,
    shared: Arc<Shared<R>>,
    all_open: AllOpen,
    input: PhantomData<fn(T)>,
}

struct Shared<R> {
    routes: Box<[(R, CircuitBreaker)]>,
    guarded: Guarded,
    tickets: Arc<Tickets<Held>>,
    changed: Arc<Notify>,
}

/// The permit of a decision; none where it was made without one.
struct Held {
    permit: Option<BreakerPermit>,
    changed: Arc<Notify>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.permit.take().is_some() {
            self.changed.notify_waiters();
        }
    }
}

/// A decision, and what it holds.
type Chosen<R> = (usize, Route<R>, Held);

/// The routes that were asked in vain, and which of them tries again first.
struct Closed<R> {
    skipped: Vec<SkippedRoute<R>>,
    first: Option<(usize, Duration)>,
}

impl<R: RouteKey, T> CircuitBreakerRouter<R, T> {
    /// Routes, each with its breaker, the primary first.
    pub fn new(routes: impl IntoIterator<Item = (R, CircuitBreaker)>) -> Self {
        let routes: Box<[_]> = routes.into_iter().collect();
        let (guarded, tickets) = (Guarded::new(routes.len()), Arc::default());
        let shared = Shared { routes, guarded, tickets, changed: Arc::new(Notify::new()) };
        Self {
            shell: Shell::new("CircuitBreakerRouter"),
            shared: Arc::new(shared),
            all_open: AllOpen::Fail,
            input: PhantomData,
        }
    }

    shell_setters!();

    /// What happens while no breaker lets a call through; without a call, [`AllOpen::Fail`].
    #[must_use]
    pub fn when_all_open(mut self, policy: AllOpen) -> Self {
        self.all_open = policy;
        self
    }

    /// Says that nothing behind a route reports, on purpose: say, because it gives a constant. Its breaker learns nothing then.
    #[must_use]
    pub fn without_report(self, route: &R) -> Self {
        self.index(route).inspect(|at| self.shared.guarded.mark(*at));
        self
    }

    /// The breaker of a route.
    pub fn breaker(&self, route: &R) -> Option<&CircuitBreaker> {
        self.index(route).map(|at| &self.shared.routes[at].1)
    }

    /// Decides in the place of a route's breaker for those without a tenant, or ends that with `None`, and wakes who waits.
    /// `false` if there is no such route.
    pub fn force(&self, route: &R, forced: Option<Forced>) -> bool {
        let Some(breaker) = self.breaker(route) else { return false };
        let key = breaker.key(None);
        let _change = match forced {
            Some(forced) => breaker.force(&key, forced),
            None => breaker.release(&key),
        };
        self.shared.changed.notify_waiters();
        true
    }

    fn index(&self, route: &R) -> Option<usize> {
        self.shared.routes.iter().position(|(known, _)| known == route)
    }

    /// Asks one breaker after the other.
    fn ask(&self, ctx: &StageContext) -> Result<Chosen<R>, Closed<R>> {
        let tenant = ctx.identity().tenant_id();
        let mut closed = Closed { skipped: Vec::new(), first: None };
        for (at, (route, breaker)) in self.shared.routes.iter().enumerate() {
            match breaker.try_acquire_in(ctx, &breaker.key(tenant)) {
                Ok(permit) => {
                    let reason = if at == 0 { RouteReason::Primary } else { RouteReason::Fallback };
                    let chosen = Route::to(route.clone()).reason_code(reason).skipping(closed.skipped);
                    return Ok((at, chosen, self.held(Some(permit))));
                }
                Err(open) => {
                    if let Some(left) = open.retry_after()
                        && closed.first.is_none_or(|(_, known)| left < known)
                    {
                        closed.first = Some((at, left));
                    }
                    closed.skipped.push(SkippedRoute::new(route.clone(), open.to_string()));
                }
            }
        }
        Err(closed)
    }

    fn held(&self, permit: Option<BreakerPermit>) -> Held {
        Held { permit, changed: Arc::clone(&self.shared.changed) }
    }

    async fn choose(&self, ctx: &StageContext) -> Result<Chosen<R>, NoRoute<R>> {
        self.shared.guarded.check(self.shared.routes.iter().map(|(route, _)| route.clone()))?;
        let closed = match self.ask(ctx) {
            Ok(chosen) => return Ok(chosen),
            Err(closed) => closed,
        };
        match (self.all_open, closed.first) {
            (AllOpen::LeastBad, Some((at, _))) => {
                let taken = &self.shared.routes[at].0;
                let others = closed.skipped.into_iter().filter(|skipped| skipped.route != *taken);
                let route = Route::to(taken.clone()).reason_code(RouteReason::LeastBad).confidence(0.0);
                Ok((at, route.skipping(others), self.held(None)))
            }
            // On the heap, for those alone that wait.
            (AllOpen::Queue(most), _) => Box::pin(self.queue(ctx, most)).await,
            _ => Err(all_open(closed, "no breaker lets a call through")),
        }
    }

    /// Asks again whenever that may help.
    async fn queue(&self, ctx: &StageContext, most: Duration) -> Result<Chosen<R>, NoRoute<R>> {
        // What is chosen at the very end of the time would begin with nothing left.
        let slack = ctx.slack().map_or(most, |slack| slack.saturating_sub(Duration::from_nanos(1)).min(most));
        let give_up = Instant::now() + slack.min(Duration::from_secs(86_400 * 365));
        let _waiting = ctx.waiting(WaitReason::Breaker { key: self.shell.name.to_string() });
        loop {
            let mut changed = pin!(self.shared.changed.notified());
            // From now on a change is noticed: no answer can get out of date without waking us.
            changed.as_mut().enable();
            let closed = match self.ask(ctx) {
                Ok((at, route, held)) => return Ok((at, route.reason_code(RouteReason::Queued), held)),
                Err(closed) => closed,
            };
            let now = Instant::now();
            let probing = self.shared.routes.iter().any(|(_, breaker)| {
                let key = breaker.key(ctx.identity().tenant_id());
                !matches!(breaker.state(&key), BreakerState::Open { .. })
            });
            let wake = match closed.first.map(|(_, left)| now + left) {
                Some(again) if again <= give_up => again,
                // Probes that are under way, and operators, may end it sooner.
                _ if probing && now < give_up => give_up,
                _ => return Err(all_open(closed, "no breaker will let a call through in time")),
            };
            let _woken = timeout_at(wake, changed).await;
        }
    }
}

fn all_open<R>(closed: Closed<R>, what: &str) -> NoRoute<R> {
    let Closed { skipped, .. } = closed;
    let (code, class) = (code::BREAKER_OPEN, ErrorClass::Transient);
    NoRoute { reason: "all_open", what: what.to_owned(), code, class, skipped }
}

impl<R: RouteKey, T: Send + Sync + 'static> Stage for CircuitBreakerRouter<R, T> {
    type Input = Arc<T>;
    type Output = Route<R>;
    const KIND: StageKind = StageKind::Route;

    async fn run(&self, ctx: &StageContext, _input: Arc<T>) -> StageResult<Route<R>> {
        match self.choose(ctx).await {
            Ok((at, route, held)) => {
                self.shared.tickets.leave(ctx, (&self.shell.name, route.route()), (at, held));
                self.shell.decided(ctx, route)
            }
            Err(none) => {
                let exit: StageExit = self.shell.refused(ctx, none);
                let tenant = ctx.identity().tenant_id();
                let soonest = self.shared.routes.iter().filter_map(|(_, breaker)| {
                    match breaker.state(&breaker.key(tenant)) {
                        BreakerState::Open { until } => Some(until.saturating_duration_since(Instant::now())),
                        _ => None,
                    }
                });
                Err(match soonest.min() {
                    Some(left) if exit.error_code() == Some(code::BREAKER_OPEN) => exit.after(left),
                    _ => exit,
                })
            }
        }
    }
}

impl<R: RouteKey, T> Reports<R> for CircuitBreakerRouter<R, T> {
    type Guard = BreakerRouteGuard<R>;

    fn guard(&self, route: &R) -> BreakerRouteGuard<R> {
        let index = self.index(route);
        index.inspect(|at| self.shared.guarded.mark(*at));
        BreakerRouteGuard { shared: Arc::clone(&self.shared), index }
    }
}

/// Tells the breaker of a route how calls end, and admits further attempts: made by [`Reports::guard`].
pub struct BreakerRouteGuard<R> {
    shared: Arc<Shared<R>>,
    index: Option<usize>,
}

impl<R: RouteKey> Interceptor for BreakerRouteGuard<R> {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let Some(index) = self.index else { return next.run().await };
        let ctx = call.context();
        match self.shared.tickets.claim(ctx.identity().run_id(), index) {
            Some(mut held) => match held.permit.take() {
                Some(mut permit) => {
                    permit.begin_in(ctx);
                    watched(call, next, move |outcome, _| {
                        permit.record_in(ctx, outcome);
                        held.changed.notify_waiters();
                    })
                    .await
                }
                None => next.run().await,
            },
            None => {
                let done = self.shared.routes[index].1.around(call, next).await;
                self.shared.changed.notify_waiters();
                done
            }
        }
    }

    fn name(&self) -> String {
        "BreakerRouteGuard".to_owned()
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Breaker)
    }

    fn describe(&self) -> PolicyFacts {
        self.index.map_or(PolicyFacts::Other, |at| self.shared.routes[at].1.describe())
    }
}

impl<R, T> Clone for CircuitBreakerRouter<R, T> {
    fn clone(&self) -> Self {
        let (shell, shared) = (self.shell.clone(), Arc::clone(&self.shared));
        Self { shell, shared, all_open: self.all_open, input: PhantomData }
    }
}

impl<R: fmt::Debug, T> fmt::Debug for CircuitBreakerRouter<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerRouter")
            .field("name", &self.shell.name)
            .field("routes", &self.shared.routes)
            .finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for BreakerRouteGuard<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerRouteGuard").field("index", &self.index).finish_non_exhaustive()
    }
}
