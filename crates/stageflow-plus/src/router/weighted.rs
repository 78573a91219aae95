//! Routes by weight.

mod alias;
mod eevdf;
mod load;
mod state;
mod table;

use std::{borrow::Cow, fmt, hash::Hash, marker::PhantomData, sync::Arc, time::Duration};

use stageflow_core::{
    BreakerOutcome, Call, Interceptor, Layer, Next, Stage, StageContext, StageKind, StageResult, TenantId,
    Value, intercept::Placement,
};

use super::{
    branch::Reports,
    clock,
    hash::stable_hash,
    reports::Guarded,
    route::{Route, RouteKey, RouteReason},
    shell::{NoRoute, Shell, shell_setters},
    tickets::Tickets,
    watch::watched,
};

pub use self::{
    alias::AliasTable,
    eevdf::Eevdf,
    load::{LoadTicket, PeakEwma},
    table::WeightedTable,
};

type KeyOf<T> = dyn Fn(&T, u64) -> u64 + Send + Sync;

/// Chooses routes by weight: in turn, or as one of the other calls says.
///
/// | call | chooses | guarantee |
/// |---|---|---|
/// | none | in turn | after each choice every route has had its share, give or take less than one |
/// | [`random`](Self::random) | by chance | its share on average |
/// | [`sticky_by`](Self::sticky_by) | by a key | the same key, the same route, in every process; a changed weight moves only as many keys as it must |
/// | [`least_loaded`](Self::least_loaded) | of two by chance, the one with less to do | needs to be told how the stages behind it end |
///
/// Weights of 0 drain a route, and [`WeightedTable`] has all that can be changed while runs choose: [`table`](Self::table) gives it.
/// Clones of a router are one router. A route that is drained or ejected is listed in the decision with the reason, and with none left
/// the stage fails with `NO_ROUTE`, class permanent. Chance is the run's, so that a seed decides it.
///
/// ```
/// # use std::sync::Arc;
/// # use stageflow_core::{StageContext, StageResult, stage_fn};
/// # use stageflow_dag::Pipeline;
/// use stageflow_plus::router::WeightedRouter;
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// enum Model { A, B }
///
/// struct Ticket { user: u64 }
/// # async fn answer(_: StageContext, ticket: Arc<Ticket>) -> StageResult<u64> { Ok(ticket.user) }
///
/// let mut p = Pipeline::builder("support");
/// let ticket = p.input();
/// let router = WeightedRouter::new([(Model::A, 9), (Model::B, 1)]).sticky_by(|t: &Ticket| t.user);
/// let model = p.stage("pick", router).inputs(ticket);
/// let a = p.stage("a", stage_fn(answer)).when(model, |d| d.is(Model::A)).inputs(ticket);
/// let b = p.stage("b", stage_fn(answer)).when(model, |d| d.is(Model::B)).inputs(ticket);
/// # async fn same(_: StageContext, n: Arc<u64>) -> StageResult<u64> { Ok(*n) }
/// let both = p.stage("both", stage_fn(same)).inputs(a.or(b));
/// let pipeline: Pipeline<Ticket, u64> = p.build(both)?;
/// # Ok::<_, stageflow_dag::BuildError>(())
/// ```
pub struct WeightedRouter<R, T> {
    shell: Shell,
    table: WeightedTable<R>,
    mode: Mode<T>,
    tickets: Arc<Tickets<LoadTicket>>,
    guarded: Arc<Guarded>,
    input: PhantomData<fn(T)>,
}

enum Mode<T> {
    InTurn,
    Random,
    Sticky(Arc<KeyOf<T>>),
    LeastLoaded,
}

impl<R: RouteKey, T> WeightedRouter<R, T> {
    /// Routes and their weights. Equal routes are one, and their weights add up.
    pub fn new(weights: impl IntoIterator<Item = (R, u32)>) -> Self {
        Self::over(WeightedTable::new(weights))
    }

    /// Over a table that others may share.
    pub fn over(table: WeightedTable<R>) -> Self {
        let guarded = Arc::new(Guarded::new(table.routes().len()));
        Self {
            shell: Shell::new("WeightedRouter"),
            table,
            mode: Mode::InTurn,
            tickets: Arc::default(),
            guarded,
            input: PhantomData,
        }
    }

    shell_setters!();

    /// Chooses by chance.
    #[must_use]
    pub fn random(mut self) -> Self {
        self.mode = Mode::Random;
        self
    }

    /// Chooses by a key of the input and the tenant of the run: the same ones always get the same route.
    #[must_use]
    pub fn sticky_by<K: Hash>(mut self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Self {
        self.mode = Mode::Sticky(Arc::new(move |input, seed| stable_hash(seed, &key(input))));
        self
    }

    /// Draws two routes and takes the one with less to do for its weight: the smaller product of recent latency and calls under way.
    ///
    /// Calls count from the decision until the stage behind it has ended; failed ones count as no shorter than five seconds. Add the
    /// stages behind it with [`OnRoute::on_route`](super::OnRoute::on_route): with a route that nobody reports about every run fails.
    #[must_use]
    pub fn least_loaded(mut self) -> Self {
        self.mode = Mode::LeastLoaded;
        self
    }

    /// How long a route that comes back takes until it has all of its weight; without a call, 30 s.
    #[must_use]
    pub fn slow_start(mut self, time: Duration) -> Self {
        self.table = self.table.slow_start(time);
        self
    }

    /// Says that nothing behind a route reports, on purpose: say, because it gives a constant.
    #[must_use]
    pub fn without_report(self, route: &R) -> Self {
        self.index(route).inspect(|at| self.guarded.mark(*at));
        self
    }

    /// Its table, to change weights and to look at loads.
    pub fn table(&self) -> &WeightedTable<R> {
        &self.table
    }

    fn index(&self, route: &R) -> Option<usize> {
        self.table.routes().iter().position(|known| known == route)
    }

    fn choose(&self, ctx: &StageContext, input: &T) -> Result<Route<R>, NoRoute<R>> {
        let (picked, reason) = match &self.mode {
            Mode::InTurn => (self.table.in_turn(), RouteReason::Weight),
            Mode::Random => (self.table.by_chance(ctx.random_u64()), RouteReason::Random),
            Mode::Sticky(key) => {
                let seed = stable_hash(0, &ctx.identity().tenant_id().map(TenantId::as_str));
                (self.table.by_key(key(input, seed)), RouteReason::Sticky)
            }
            Mode::LeastLoaded => {
                self.guarded.check(self.table.routes().iter().cloned())?;
                (self.table.by_load(ctx.random_u64(), clock::now(ctx)), RouteReason::LeastLoaded)
            }
        };
        let Some(picked) = picked else {
            let skipped = self.table.routes().iter().map(|route| {
                super::route::SkippedRoute::new(route.clone(), Cow::Borrowed("drained or ejected"))
            });
            let none = NoRoute::permanent("drained", "no route has a weight");
            return Err(NoRoute { skipped: skipped.collect(), ..none });
        };
        let route = &self.table.routes()[picked.index];
        if matches!(self.mode, Mode::LeastLoaded) {
            let ticket = self.table.ticket(picked.index);
            self.tickets.leave(ctx, (&self.shell.name, route), (picked.index, ticket));
        }
        let reason = if picked.panic { RouteReason::Panic } else { reason };
        let skipped = self.table.skipped(picked.passed_over.as_deref());
        Ok(Route::to(route.clone()).reason_code(reason).skipping(skipped))
    }
}

impl<R: RouteKey, T: Send + Sync + 'static> Stage for WeightedRouter<R, T> {
    type Input = Arc<T>;
    type Output = Route<R>;
    const KIND: StageKind = StageKind::Route;

    async fn run(&self, ctx: &StageContext, input: Arc<T>) -> StageResult<Route<R>> {
        match self.choose(ctx, &input) {
            Ok(route) => self.shell.decided(ctx, route),
            Err(none) => Err(self.shell.refused(ctx, none)),
        }
    }
}

impl<R: RouteKey, T> Reports<R> for WeightedRouter<R, T> {
    type Guard = LoadRouteGuard<R>;

    fn guard(&self, route: &R) -> LoadRouteGuard<R> {
        let index = self.index(route);
        index.inspect(|at| self.guarded.mark(*at));
        LoadRouteGuard { table: self.table.clone(), tickets: Arc::clone(&self.tickets), index }
    }
}

/// Tells a [`WeightedRouter`] how long the calls behind a route take: made by [`Reports::guard`]. Each attempt counts by itself.
pub struct LoadRouteGuard<R> {
    table: WeightedTable<R>,
    tickets: Arc<Tickets<LoadTicket>>,
    index: Option<usize>,
}

impl<R: RouteKey> Interceptor for LoadRouteGuard<R> {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let Some(index) = self.index else { return next.run().await };
        let ctx = call.context();
        // The first call goes on with the ticket of the decision, and those after it have one of their own.
        let of_decision = self.tickets.claim(ctx.identity().run_id(), index);
        let ticket = of_decision.unwrap_or_else(|| self.table.ticket(index));
        let began = clock::now(ctx);
        watched(call, next, move |outcome, _| {
            let now = clock::now(ctx);
            let took = Duration::from_nanos(now.saturating_sub(began));
            match outcome {
                BreakerOutcome::Success => ticket.finish_at(now, took, false),
                BreakerOutcome::Failure { .. } => ticket.finish_at(now, took, true),
                BreakerOutcome::Neutral => drop(ticket),
            }
        })
        .await
    }

    fn name(&self) -> String {
        "LoadRouteGuard".to_owned()
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Breaker)
    }
}

impl<T> Clone for Mode<T> {
    fn clone(&self) -> Self {
        match self {
            Self::InTurn => Self::InTurn,
            Self::Random => Self::Random,
            Self::Sticky(key) => Self::Sticky(Arc::clone(key)),
            Self::LeastLoaded => Self::LeastLoaded,
        }
    }
}

impl<R, T> Clone for WeightedRouter<R, T> {
    fn clone(&self) -> Self {
        Self {
            shell: self.shell.clone(),
            table: self.table.clone(),
            mode: self.mode.clone(),
            tickets: Arc::clone(&self.tickets),
            guarded: Arc::clone(&self.guarded),
            input: PhantomData,
        }
    }
}

impl<R: RouteKey, T> fmt::Debug for WeightedRouter<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightedRouter")
            .field("name", &self.shell.name)
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

impl<R: RouteKey> fmt::Debug for LoadRouteGuard<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadRouteGuard").field("index", &self.index).finish_non_exhaustive()
    }
}
