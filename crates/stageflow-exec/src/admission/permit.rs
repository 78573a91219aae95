//! What a monitor gives: the right to be in, or a place in its queue. Both are given back when dropped.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use stageflow_core::time::nanos;
use tokio::time::Instant;

use super::monitor::Shared;

/// The right to be active under a [`BackpressureMonitor`](super::BackpressureMonitor); given back when dropped.
///
/// How long it was held counts as a latency.
#[must_use = "the permit is given back when it is dropped"]
pub struct AdmissionPermit {
    monitor: Arc<Shared>,
    since: Instant,
    latency: Latency,
}

#[derive(Clone, Copy)]
enum Latency {
    Held,
    Known(Duration),
    None,
}

impl AdmissionPermit {
    pub(super) fn new(monitor: Arc<Shared>) -> Self {
        Self { monitor, since: Instant::now(), latency: Latency::Held }
    }

    /// Gives it back, and counts no latency: what was cancelled tells nothing about how long things take.
    pub fn discard(mut self) {
        self.latency = Latency::None;
    }

    /// Gives it back after work that took so long.
    pub(crate) fn finish(mut self, latency: Duration) {
        self.latency = Latency::Known(latency);
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        let latency = match self.latency {
            Latency::Held => Some(self.since.elapsed()),
            Latency::Known(latency) => Some(latency),
            Latency::None => None,
        };
        self.monitor.turnstile.release(latency.map(nanos));
    }
}

impl fmt::Debug for AdmissionPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionPermit").finish_non_exhaustive()
    }
}

/// A place in the queue; given back when dropped. As a future it gives the permit.
pub(crate) struct Place {
    monitor: Arc<Shared>,
    number: u64,
    /// How many were before it at the beginning.
    ahead: usize,
    /// Whether there is nothing to give back any more.
    is_left: bool,
}

impl Place {
    pub(super) fn new(monitor: Arc<Shared>, number: u64, ahead: usize) -> Self {
        Self { monitor, number, ahead, is_left: false }
    }

    pub(crate) fn ahead(&self) -> usize {
        self.ahead
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn monitor(&self) -> &Shared {
        &self.monitor
    }

    /// Gives up because it took too long; `false` if its turn has come.
    pub(crate) fn expire(&mut self) -> bool {
        let expired = self.monitor.turnstile.expire(self.number);
        self.is_left |= expired;
        expired
    }
}

impl Future for Place {
    type Output = AdmissionPermit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<AdmissionPermit> {
        if !self.monitor.turnstile.is_in(self.number, cx.waker()) {
            return Poll::Pending;
        }
        self.is_left = true;
        Poll::Ready(AdmissionPermit::new(Arc::clone(&self.monitor)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_left {
            self.monitor.turnstile.leave(self.number);
        }
    }
}

/// What one who comes is given, unless they are refused.
pub(crate) enum Entry {
    Permit(AdmissionPermit),
    Place(Place),
}
