//! The time that routers go by: that of tokio's clock, in nanoseconds since one moment for all of them.

#[cfg(feature = "weighted-router")]
use stageflow_core::StageContext;
use stageflow_core::time::{epoch, nanos};
use tokio::time::Instant;

/// A moment in nanoseconds since the epoch; 0 for one before it.
pub(crate) fn since_epoch(at: Instant) -> u64 {
    nanos(at.saturating_duration_since(epoch().into()))
}

/// The time now. The worker of the stage may know it without a look at the clock.
#[cfg(feature = "weighted-router")]
pub(crate) fn now(ctx: &StageContext) -> u64 {
    ctx.clock_nanos().unwrap_or_else(|| since_epoch(Instant::now()))
}
