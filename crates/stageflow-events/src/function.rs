//! A function as a sink.

use std::fmt;

use stageflow_core::{Event, EventSink};

/// A sink made of a function.
///
/// ```
/// use stageflow_events::{SinkExt, sink_fn};
///
/// let sink = sink_fn(|event| println!("{event}")).bounded(1_000);
/// # drop(sink);
/// ```
pub fn sink_fn<F: Fn(&Event) + Send + Sync + 'static>(function: F) -> FnSink<F> {
    FnSink(function)
}

/// A function as a sink; made by [`sink_fn`].
#[derive(Clone)]
pub struct FnSink<F>(F);

impl<F: Fn(&Event) + Send + Sync + 'static> EventSink for FnSink<F> {
    fn on_event(&self, event: &Event) {
        (self.0)(event);
    }
}

impl<F> fmt::Debug for FnSink<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnSink").finish_non_exhaustive()
    }
}
