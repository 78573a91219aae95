//! What stands between a decision and the stage behind its route: who reports, and tickets until they are taken.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use stageflow_core::{ErrorClass, FieldValue, RunId, StageContext, code};

use super::{
    route::{RouteKey, label},
    shell::NoRoute,
};

/// Which routes have a stage that says how it ends.
#[derive(Debug)]
pub(crate) struct Guarded(Box<[AtomicBool]>);

impl Guarded {
    pub(crate) fn new(routes: usize) -> Self {
        Self((0..routes).map(|_| AtomicBool::new(false)).collect())
    }

    pub(crate) fn mark(&self, index: usize) {
        if let Some(known) = self.0.get(index) {
            known.store(true, Ordering::Relaxed);
        }
    }

    /// Fails if a route has none: then nobody would ever say that it is ill.
    pub(crate) fn check<R: RouteKey>(&self, routes: impl IntoIterator<Item = R>) -> Result<(), NoRoute<R>> {
        if self.0.iter().all(|known| known.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let missing: Vec<_> = routes
            .into_iter()
            .zip(&self.0)
            .filter(|(_, known)| !known.load(Ordering::Relaxed))
            .map(|(route, _)| format!("`{}`", label(&route)))
            .collect();
        let what = format!(
            "no stage tells it how {} ends: add the stages behind it with `.on_route(decision, &router, route)`, \
             or say `.without_report(route)`",
            missing.join(", ")
        );
        let (code, class) = (code::INVALID_POLICY, ErrorClass::Permanent);
        Err(NoRoute { reason: "unreported", what, code, class, skipped: Vec::new() })
    }
}

/// What decisions have reserved, by run, until the stages behind take it.
pub(crate) struct Tickets<P> {
    left: Mutex<HashMap<RunId, Vec<Left<P>>>>,
}

struct Left<P> {
    index: usize,
    serial: Arc<()>,
    ticket: P,
}

impl<P> Default for Tickets<P> {
    fn default() -> Self {
        Self { left: Mutex::default() }
    }
}

impl<P> fmt::Debug for Tickets<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("runs", &self.left().len()).finish()
    }
}

impl<P> Tickets<P> {
    fn left(&self) -> MutexGuard<'_, HashMap<RunId, Vec<Left<P>>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the ticket of a decision of this run for a route.
    pub(crate) fn claim(&self, run: RunId, index: usize) -> Option<P> {
        self.take(run, |left| left.index == index)
    }

    fn take(&self, run: RunId, is_it: impl FnMut(&Left<P>) -> bool) -> Option<P> {
        let mut runs = self.left();
        let tickets = runs.get_mut(&run)?;
        let at = tickets.iter().position(is_it)?;
        let ticket = tickets.swap_remove(at).ticket;
        if tickets.is_empty() {
            runs.remove(&run);
        }
        Some(ticket)
    }

    /// How many are not taken.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.left().values().map(Vec::len).sum()
    }
}

impl<P: Send + 'static> Tickets<P> {
    /// Leaves a ticket for the stage behind a route. It is given back at the end of the run at the latest.
    pub(crate) fn leave<R: RouteKey>(
        self: &Arc<Self>,
        ctx: &StageContext,
        (router, route): (&Arc<str>, &R),
        (index, ticket): (usize, P),
    ) {
        let (run, serial) = (ctx.identity().run_id(), Arc::new(()));
        let unclaimed = Unclaimed { tickets: Arc::clone(self), run, serial: Arc::clone(&serial) };
        self.left().entry(run).or_default().push(Left { index, serial, ticket });
        let (ctx, router, route) = (ctx.clone(), Arc::clone(router), label(route));
        let of_run = ctx.clone();
        of_run.on_cleanup(async move {
            if unclaimed.take().is_some() {
                let fields: [(&str, FieldValue); 2] = [("router", (*router).into()), ("route", route.into())];
                ctx.emit("route.unreported", fields);
            }
        });
    }
}

/// Takes the ticket back, at the end of the run or when nobody is there to await that.
struct Unclaimed<P> {
    tickets: Arc<Tickets<P>>,
    run: RunId,
    serial: Arc<()>,
}

impl<P> Unclaimed<P> {
    fn take(&self) -> Option<P> {
        self.tickets.take(self.run, |left| Arc::ptr_eq(&left.serial, &self.serial))
    }
}

impl<P> Drop for Unclaimed<P> {
    fn drop(&mut self) {
        drop(self.take());
    }
}
