//! tokio's timers, on runtimes that may have none.

use std::{panic::catch_unwind, pin::Pin, time::Duration};

use tokio::time::Sleep;

/// A timer, or `None` on a runtime that was built without `enable_time`: tokio panics there.
pub(crate) fn sleep(duration: Duration) -> Option<Pin<Box<Sleep>>> {
    catch_unwind(|| Box::pin(tokio::time::sleep(duration))).ok()
}
