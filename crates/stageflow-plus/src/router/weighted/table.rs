//! [`WeightedTable`]: routes by weight, without a pipeline.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use stageflow_core::time::nanos;
use tokio::time::Instant;

use super::{
    load::{Load, LoadTicket, less},
    state::{Order, PassedOver, State},
};
use crate::router::{
    clock,
    hash::{rendezvous, stable_hash},
    route::{RouteKey, SkippedRoute, label},
};

/// What the latencies of routes fade with.
const DECAY: Duration = Duration::from_secs(10);

/// Routes by weight: in turn, by chance, by a key, or by load. The plain object behind a [`WeightedRouter`](super::WeightedRouter).
///
/// Weights are from 0, which means drained: nothing new goes there. Routes that are equal are one, and their weights add up.
/// Cheap to clone, and all clones are one table: turns, weights and loads are shared, and may be changed while others choose.
///
/// A route can be [ejected](Self::eject) for a time, but not more than half of them at once. One that comes back begins with a tenth
/// of its weight and has all of it after 30 s; `slow_start`, `max_ejected` and `panic_threshold` say otherwise.
///
/// ```
/// use stageflow_plus::router::WeightedTable;
///
/// let table = WeightedTable::new([("large", 3), ("small", 1)]);
/// let turns: Vec<_> = (0..4).filter_map(|_| table.next_turn()).collect();
/// assert_eq!(turns, [&"large", &"small", &"large", &"large"]);
/// table.set_weight(&"large", 0);
/// assert_eq!(table.next_turn(), Some(&"small"));
/// ```
pub struct WeightedTable<R>(Arc<Shared<R>>);

struct Shared<R> {
    routes: Box<[R]>,
    hashes: Box<[u64]>,
    loads: Arc<[Load]>,
    state: Mutex<State>,
    /// When the weights change by themselves next, in nanoseconds since the epoch.
    next_change: AtomicU64,
}

/// A choice, by its place, and what was passed over for it.
#[derive(Debug)]
pub(super) struct Picked {
    pub(super) index: usize,
    pub(super) panic: bool,
    pub(super) passed_over: Option<PassedOver>,
}

impl<R: RouteKey> WeightedTable<R> {
    /// Routes and their weights.
    pub fn new(weights: impl IntoIterator<Item = (R, u32)>) -> Self {
        let (mut routes, mut sums) = (Vec::<R>::new(), Vec::<u32>::new());
        for (route, weight) in weights {
            match routes.iter().position(|known| *known == route) {
                Some(at) => sums[at] = sums[at].saturating_add(weight),
                None => {
                    routes.push(route);
                    sums.push(weight);
                }
            }
        }
        let hashes = routes.iter().map(|route| stable_hash(0, label(route).as_str())).collect();
        let loads = routes.iter().map(|_| Load::new(DECAY)).collect();
        let state = Mutex::new(State::new(sums));
        let routes = routes.into();
        Self(Arc::new(Shared { routes, hashes, loads, state, next_change: AtomicU64::new(u64::MAX) }))
    }

    /// How long a route that comes back takes until it has all of its weight.
    #[must_use]
    pub fn slow_start(self, time: Duration) -> Self {
        self.state().slow_start = nanos(time);
        self
    }

    /// Which share of the routes can be ejected at a time.
    #[must_use]
    pub fn max_ejected(self, share: f64) -> Self {
        self.state().max_ejected = share.clamp(0.0, 1.0);
        self
    }

    /// With a smaller share of the routes well than this, ejections are ignored: rather all of them than too few.
    #[must_use]
    pub fn panic_threshold(self, share: f64) -> Self {
        self.state().panic_threshold = share.clamp(0.0, 1.0);
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the weight of a route, from the next choice on; `false` if there is no such route. Turns begin anew.
    pub fn set_weight(&self, route: &R, weight: u32) -> bool {
        self.change(route, |state, at, now| state.set_weight(at, weight, now))
    }

    /// Keeps new calls away from a route for a time. `false` if there is no such route, or too many are ejected already.
    pub fn eject(&self, route: &R, time: Duration, why: impl Into<Cow<'static, str>>) -> bool {
        let why = why.into();
        self.change(route, |state, at, now| state.eject(at, now.saturating_add(nanos(time)), why))
    }

    /// Ends the ejection of a route, which begins slowly; `false` if it is not ejected.
    pub fn restore(&self, route: &R) -> bool {
        self.change(route, State::restore)
    }

    fn change(&self, route: &R, change: impl FnOnce(&mut State, usize, u64) -> bool) -> bool {
        let Some(at) = self.0.routes.iter().position(|known| known == route) else { return false };
        let now = clock::since_epoch(Instant::now());
        let mut state = self.state();
        let done = change(&mut state, at, now);
        self.0.next_change.store(state.refresh(now), Ordering::Relaxed);
        done
    }

    /// The route whose turn it is; `None` if all are drained. See [`Eevdf`](super::Eevdf) for the order.
    pub fn next_turn(&self) -> Option<&R> {
        self.in_turn().map(|picked| &self.0.routes[picked.index])
    }

    /// A route by chance, for 64 random bits; `None` if all are drained.
    pub fn draw(&self, random: u64) -> Option<&R> {
        self.by_chance(random).map(|picked| &self.0.routes[picked.index])
    }

    /// The route of a key, such as one of [`stable_hash`](crate::router::stable_hash); `None` if all are drained.
    pub fn of_key(&self, key: u64) -> Option<&R> {
        self.by_key(key).map(|picked| &self.0.routes[picked.index])
    }

    /// Of two routes drawn by 64 random bits, the one that has less to do; `None` if all are drained. The ticket is to be told how long
    /// the call took.
    pub fn least_loaded(&self, random: u64) -> Option<(&R, LoadTicket)> {
        let now = clock::since_epoch(Instant::now());
        let picked = self.by_load(random, now)?;
        Some((&self.0.routes[picked.index], self.ticket(picked.index)))
    }

    /// What is passed over now, and why.
    pub fn passed_over(&self) -> Vec<SkippedRoute<R>> {
        let passed = self.pick(|_| Some(0)).and_then(|picked| picked.passed_over);
        self.skipped(passed.as_deref())
    }

    /// How many calls are on their way to a route.
    pub fn in_flight(&self, route: &R) -> Option<u32> {
        let at = self.0.routes.iter().position(|known| known == route)?;
        Some(self.0.loads[at].in_flight())
    }

    pub(super) fn routes(&self) -> &[R] {
        &self.0.routes
    }

    pub(super) fn ticket(&self, index: usize) -> LoadTicket {
        LoadTicket::new(&self.0.loads, index)
    }

    pub(super) fn skipped(&self, passed: Option<&[(usize, Cow<'static, str>)]>) -> Vec<SkippedRoute<R>> {
        let each = |(at, why): &(usize, Cow<'static, str>)| {
            SkippedRoute::new(self.0.routes[*at].clone(), why.clone())
        };
        passed.unwrap_or_default().iter().map(each).collect()
    }

    pub(super) fn in_turn(&self) -> Option<Picked> {
        self.pick(|state| state.order().next_turn())
    }

    pub(super) fn by_chance(&self, random: u64) -> Option<Picked> {
        self.pick(|state| state.alias().map(|table| table.draw(random)))
    }

    pub(super) fn by_key(&self, key: u64) -> Option<Picked> {
        self.pick(|state| rendezvous(key, self.0.hashes.iter().copied().zip(state.weights().iter().copied())))
    }

    pub(super) fn by_load(&self, random: u64, now: u64) -> Option<Picked> {
        self.pick(|state| {
            let (first, second) = state.two(random)?;
            let load = |at: usize| (&self.0.loads[at], state.weights()[at]);
            Some(if less(now, load(first), load(second)) { first } else { second })
        })
    }

    fn pick(&self, choose: impl FnOnce(&mut State) -> Option<usize>) -> Option<Picked> {
        let due = self.0.next_change.load(Ordering::Relaxed);
        let now = if due == u64::MAX { 0 } else { clock::since_epoch(Instant::now()) };
        let mut state = self.state();
        if now >= due {
            self.0.next_change.store(state.refresh(now), Ordering::Relaxed);
        }
        let index = choose(&mut state)?;
        Some(Picked { index, panic: state.panic(), passed_over: state.passed_over() })
    }
}

impl Order {
    fn next_turn(&mut self) -> Option<usize> {
        match self {
            Self::Cycle { turns, at } => {
                let turn = turns.get(*at)?;
                *at = if *at + 1 == turns.len() { 0 } else { *at + 1 };
                Some(usize::from(*turn))
            }
            Self::Live(order) => order.next_turn(),
        }
    }
}

impl<R> Clone for WeightedTable<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: RouteKey> fmt::Debug for WeightedTable<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let weights = self.0.routes.iter().map(label).zip(state.shares());
        f.debug_map().entries(weights).finish()
    }
}
