//! Spans of events: one for each run, stage and attempt, with the events' own times.
//!
//! A stage with one attempt is one span, which has the id of the attempt: what was called by the attempt finds its parent. With
//! several attempts there is a span for each, and one around them. A stage that never started has no span: its run has an event.

mod attributes;
mod run;
#[cfg(test)]
mod tests;

use opentelemetry_proto::tonic::trace::v1::Span;
use stageflow_core::{Event, EventKind};

pub(crate) use self::attributes::{text, truth};
use self::run::RunSpans;
use crate::runs::{MAX_RUNS, Runs};

/// What limits the size of a span.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanLimits {
    /// Events of one span.
    pub(crate) events: usize,
    /// Characters of the text of one attribute.
    pub(crate) text: usize,
    /// Whether messages of errors are exported.
    pub(crate) messages: bool,
}

/// Puts spans together from events.
#[derive(Debug)]
pub(crate) struct Assembler {
    limits: SpanLimits,
    runs: Runs<RunSpans>,
}

impl Assembler {
    pub(crate) fn new(limits: SpanLimits) -> Self {
        Self { limits, runs: Runs::new(MAX_RUNS) }
    }

    /// Ends all runs that are open: nothing more will come.
    pub(crate) fn close(&mut self, out: &mut Vec<Span>) {
        while let Some((_, run)) = self.runs.remove_oldest() {
            run.close(out);
        }
    }

    /// Takes an event of a run that is recorded, and gives the spans that end with it.
    pub(crate) fn take(&mut self, event: &Event, out: &mut Vec<Span>) {
        if matches!(event.kind(), EventKind::Gap { .. }) && !self.runs.contains(event.run_id()) {
            // It may come after the end of its run.
            return;
        }
        let (run, given_way) = self.runs.of(event.run_id(), || RunSpans::new(event, self.limits));
        run.take(event, out);
        if let Some(other) = given_way {
            other.close(out);
        }
        if matches!(event.kind(), EventKind::PipelineEnded { .. })
            && let Some(run) = self.runs.remove(event.run_id())
        {
            run.close(out);
        }
    }
}
