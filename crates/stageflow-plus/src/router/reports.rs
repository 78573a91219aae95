//! Which routes have a stage behind them that says how it ends.

use std::sync::atomic::{AtomicBool, Ordering};

use stageflow_core::{ErrorClass, code};

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
