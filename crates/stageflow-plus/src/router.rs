//! Choosing a route, and saying why.
//!
//! A router is a stage whose output is a [`Route`]: which route, why, how sure it is, and why not the others. The stages behind it read
//! the decision with `.when(decision, |d| d.is(…))`. Every decision leaves the event `route.decided`.
//!
//! | router | chooses |
//! |---|---|
//! | [`Router`] | by a function, or by [`Phrases`] of a text |
//! | [`Split`] | by a share of those who are asked for, and always the same for each: A/B tests |
//! | [`FallbackRouter`] | the first tier that is usable and has not failed before |
//! | `WeightedRouter` | by weight: in turn, by chance, by a key, or by load |
//! | `PriorityRouter` | by the priority of the run |
//! | `CircuitBreakerRouter` | the first route whose breaker lets calls through |
//!
//! Those that learn from what happens behind them are told by the stages: [`OnRoute::on_route`] says in one call which route a stage
//! is for and who is told how it ends. A route that nobody is for fails the router's first run, so that it cannot be forgotten.

mod bounded;
mod branch;
#[cfg(feature = "breaker-router")]
mod breaker;
#[cfg(any(feature = "priority-router", feature = "weighted-router"))]
mod clock;
mod fallback;
mod function;
mod hash;
mod loops;
mod phrases;
#[cfg(feature = "priority-router")]
mod priority;
mod reports;
mod route;
mod shell;
mod split;
#[cfg(any(feature = "breaker-router", feature = "weighted-router"))]
mod tickets;
mod watch;
#[cfg(feature = "weighted-router")]
mod weighted;

#[cfg(feature = "breaker-router")]
pub use self::breaker::{AllOpen, BreakerRouteGuard, CircuitBreakerRouter};
#[cfg(feature = "priority-router")]
pub use self::priority::{
    ClassWeights, Dispatched, GateFull, GatePermit, PriorityGate, PriorityQueue, PriorityRouter,
};
#[cfg(feature = "weighted-router")]
pub use self::weighted::{
    AliasTable, Eevdf, LoadRouteGuard, LoadTicket, PeakEwma, WeightedRouter, WeightedTable,
};
pub use self::{
    branch::{OnRoute, Reports},
    fallback::{FallbackRouteGuard, FallbackRouter},
    function::{Otherwise, Router},
    hash::{rendezvous, stable_hash},
    loops::{LoopDetector, RouteLoop},
    phrases::{Phrase, Phrases},
    route::{Route, RouteKey, RouteReason, SkippedRoute},
    split::Split,
};

#[cfg(test)]
mod tests;
