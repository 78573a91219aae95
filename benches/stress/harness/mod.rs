//! What runs scenarios and keeps what they find: nothing here knows a scenario.

pub(crate) mod bench;
pub(crate) mod clock;
pub(crate) mod controls;
pub(crate) mod lag;
pub(crate) mod memory;
pub(crate) mod panics;
pub(crate) mod record;
pub(crate) mod rng;
pub(crate) mod runner;
pub(crate) mod scenario;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod verdict;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic of another holder: a load test panics on purpose.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
