//! Routes by priority, and who goes next by priority.

mod gate;
mod queue;
mod tenants;
#[cfg(test)]
pub(crate) mod tests;

use std::{fmt, sync::Arc, time::Duration};

use stageflow_core::{Priority, Stage, StageContext, StageKind, StageResult, time::Human};

use super::{
    route::{Route, RouteKey, RouteReason},
    shell::{NoRoute, Shell, shell_setters},
};

pub use self::{
    gate::{GateFull, GatePermit, PriorityGate},
    queue::{ClassWeights, Dispatched, PriorityQueue},
};

type Wanted<T> = dyn Fn(&T) -> bool + Send + Sync;

/// Chooses by the priority of the run: the route of the highest class that is not above it, or else that of the lowest.
///
/// What is more urgent than its priority says can be raised, by the [time that is left](Self::escalate_below) or by
/// [what is in the input](Self::escalate_if); the decision has the reason `escalated` then, and says from what to what. Nothing is
/// ever lowered. Who goes first among those that wait is the business of [`PriorityGate`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::sync::Arc;
/// use stageflow_core::{ContextSnapshot, DurationExt as _, Priority, Stage as _, StageContext};
/// use stageflow_plus::router::PriorityRouter;
///
/// let router = PriorityRouter::new([(Priority::High, "express"), (Priority::Background, "batch")])
///     .escalate_if(|text: &String| text.contains("outage"), Priority::Critical);
///
/// let ctx = StageContext::for_test_with(ContextSnapshot::builder().priority(Priority::Low));
/// let route = router.run(&ctx, Arc::new("a report".to_owned())).await.expect("there is a route");
/// assert_eq!(route.to_string(), "batch (priority: low, confidence 1.00)");
/// let route = router.run(&ctx, Arc::new("an outage".to_owned())).await.expect("there is a route");
/// assert_eq!(route.to_string(), "express (escalated: low raised to critical by the input, confidence 1.00)");
/// # }
/// ```
pub struct PriorityRouter<R, T> {
    shell: Shell,
    /// The highest class first.
    routes: Arc<[(Priority, R)]>,
    below: Vec<(Duration, Priority)>,
    wanted: Vec<(Arc<Wanted<T>>, Priority)>,
}

impl<R: RouteKey, T> PriorityRouter<R, T> {
    /// Routes, each with the class from which on it is taken. Of several for one class the first counts.
    pub fn new(routes: impl IntoIterator<Item = (Priority, R)>) -> Self {
        let mut routes: Vec<_> = routes.into_iter().collect();
        routes.sort_by_key(|(class, _)| std::cmp::Reverse(*class));
        let shell = Shell::new("PriorityRouter");
        Self { shell, routes: routes.into(), below: Vec::new(), wanted: Vec::new() }
    }

    shell_setters!();

    /// A run with less time than this left counts as of this class at least.
    #[must_use]
    pub fn escalate_below(mut self, time: Duration, class: Priority) -> Self {
        self.below.push((time, class));
        self
    }

    /// A run with an input for which this holds counts as of this class at least. Whoever writes the input can make it hold.
    #[must_use]
    pub fn escalate_if(
        mut self,
        is_urgent: impl Fn(&T) -> bool + Send + Sync + 'static,
        class: Priority,
    ) -> Self {
        self.wanted.push((Arc::new(is_urgent), class));
        self
    }

    /// The decision for an input, without a run: for its priority and the time that is left. `None` without routes.
    pub fn decide(&self, given: Priority, left: Option<Duration>, input: &T) -> Option<Route<R>> {
        let (mut class, mut why) = (given, None);
        for (is_urgent, to) in &self.wanted {
            if *to > class && is_urgent(input) {
                (class, why) = (*to, Some("the input".to_owned()));
            }
        }
        for (time, to) in &self.below {
            if let Some(left) = left.filter(|left| left < time && *to > class) {
                (class, why) = (*to, Some(format!("the time left ({})", Human(left))));
            }
        }
        let (_, route) =
            self.routes.iter().find(|(from, _)| *from <= class).or_else(|| self.routes.last())?;
        let route = Route::to(route.clone());
        Some(match why {
            None => route.reason_code(RouteReason::Priority).because(gate::word(given)),
            Some(why) => {
                let because = format!("{} raised to {} by {why}", gate::word(given), gate::word(class));
                route.reason_code(RouteReason::Escalated).because(because)
            }
        })
    }
}

impl<R: RouteKey, T: Send + Sync + 'static> Stage for PriorityRouter<R, T> {
    type Input = Arc<T>;
    type Output = Route<R>;
    const KIND: StageKind = StageKind::Route;

    async fn run(&self, ctx: &StageContext, input: Arc<T>) -> StageResult<Route<R>> {
        match self.decide(ctx.snapshot().priority(), ctx.remaining(), &input) {
            Some(route) => self.shell.decided(ctx, route),
            None => Err(self.shell.refused(ctx, NoRoute::<R>::permanent("empty", "it has no routes"))),
        }
    }
}

impl<R, T> Clone for PriorityRouter<R, T> {
    fn clone(&self) -> Self {
        Self {
            shell: self.shell.clone(),
            routes: Arc::clone(&self.routes),
            below: self.below.clone(),
            wanted: self.wanted.clone(),
        }
    }
}

impl<R: fmt::Debug, T> fmt::Debug for PriorityRouter<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PriorityRouter")
            .field("name", &self.shell.name)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}
