//! What decisions have reserved, until the stages behind them take it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stageflow_core::{FieldValue, RunId, StageContext};

use super::route::{RouteKey, label};

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
