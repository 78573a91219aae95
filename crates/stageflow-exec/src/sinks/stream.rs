//! The events of one run as a stream.

use std::{future::poll_fn, sync::Arc};

use stageflow_core::{Event, SinkAccount};

use super::Queue;

/// The events of one run, in order, from the first on. Where the reader was too slow a
/// [`Gap`](stageflow_core::EventKind::Gap) says how many are missing.
#[derive(Debug)]
pub struct EventStream {
    queue: Arc<Queue>,
}

impl EventStream {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// The next event; `None` after the last one of the run.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.queue.poll_next(cx)).await
    }

    /// What became of the run's events on their way to this stream.
    pub fn account(&self) -> SinkAccount {
        self.queue.account()
    }
}
