//! What a map does with the ends of its items.

use std::any::Any;

use stageflow_core::{
    ErrorClass, Failure, FieldValue, StageContext, StageExit, StageResult, code,
    exit::{Exit, FailSpec},
    text::panic_message,
};

use super::{
    super::{
        drive::{End, Then},
        failures::{self, Failures, OnExceeded},
        item::Made,
        limiter::FanOutRefused,
        outcome::{ItemOutcome, MapSummary, Ordered, Shape},
    },
    MapFailed,
    failed::KEPT,
};

pub(super) struct Tally<'a, O: Any + Send + Sync, M: Shape> {
    ctx: &'a StageContext,
    tolerated: Failures,
    on_exceeded: OnExceeded,
    summary: MapSummary,
    kept: Ordered<M::Kept<O>>,
    failures: Vec<(usize, Failure)>,
    /// The failure that was one too many.
    last: Option<Failure>,
    /// The item that ends the run.
    cancel: Option<StageExit>,
}

impl<'a, O: Any + Send + Sync, M: Shape> Tally<'a, O, M> {
    pub(super) fn new(
        ctx: &'a StageContext,
        total: Option<usize>,
        tolerated: Failures,
        on_exceeded: OnExceeded,
    ) -> Self {
        Self {
            ctx,
            tolerated,
            on_exceeded,
            summary: MapSummary { total, ..MapSummary::default() },
            kept: Ordered::new(total.unwrap_or(0)),
            failures: Vec::new(),
            last: None,
            cancel: None,
        }
    }

    /// An item has ended.
    #[inline]
    pub(super) fn end(&mut self, index: usize, end: End<Made<O>>) -> Then {
        match end {
            End::Output((Ok(output), _)) => {
                self.summary.completed += 1;
                self.keep(index, ItemOutcome::Completed(output));
                Then::GoOn
            }
            End::Output((Err(exit), attempts)) => self.exit(index, exit, attempts),
            End::Panicked(payload) => {
                let error = format!("panicked: {}", panic_message(payload));
                self.failed(index, spec(code::PANIC, ErrorClass::Panic, error), 1)
            }
            End::Refused(refused) => self.refused(index, refused),
        }
    }

    fn keep(&mut self, index: usize, outcome: ItemOutcome<O>) {
        self.kept.put(index, M::keep(outcome));
    }

    fn exit(&mut self, index: usize, exit: StageExit, attempts: u32) -> Then {
        match exit.into_exit() {
            Exit::Skip(reason) => {
                self.summary.skipped += 1;
                self.keep(index, ItemOutcome::Skipped(reason.into_owned()));
                Then::GoOn
            }
            Exit::Cancel(reason) => {
                self.cancel = Some(StageExit::cancel(reason));
                Then::Abort
            }
            Exit::Retry { reason, .. } => {
                let code = if attempts > 1 { code::RETRY_EXHAUSTED } else { code::RETRY_UNAVAILABLE };
                self.failed(index, spec(code, ErrorClass::Transient, reason.into_owned()), attempts)
            }
            Exit::Fail(spec) => self.failed(index, spec, attempts),
        }
    }

    fn refused(&mut self, index: usize, refused: FanOutRefused) -> Then {
        let is_dropped = refused.by().is_dropped();
        let fields = [
            ("index", FieldValue::from(index)),
            ("reason", refused.by().as_str().into()),
            ("limiter", refused.limiter().into()),
        ];
        self.ctx.emit(if is_dropped { "fan_out.dropped" } else { "fan_out.refused" }, fields);
        if is_dropped {
            self.summary.dropped += 1;
            self.keep(index, ItemOutcome::Dropped(refused.by()));
            return Then::GoOn;
        }
        self.exit(index, refused.into_exit(), 0)
    }

    fn failed(&mut self, index: usize, spec: FailSpec, attempts: u32) -> Then {
        let failure = Failure::new(&format!("{}[{index}]", self.ctx.stage_name()), attempts, spec);
        self.summary.failed += 1;
        let fields = [
            ("index", FieldValue::from(index)),
            ("code", failure.code().as_str().into()),
            ("class", failure.class().to_string().into()),
        ];
        self.ctx.emit("fan_out.item_failed", fields);
        if self.failures.len() < KEPT {
            self.failures.push((index, failure.clone()));
        }
        let is_denied = failure.class() == ErrorClass::Denied;
        self.keep(index, ItemOutcome::Failed(failure.clone()));
        if !is_denied && !self.is_exceeded(false) {
            return Then::GoOn;
        }
        if is_denied {
            self.failures.insert(0, (index, failure.clone()));
            self.failures.truncate(KEPT);
            self.failures.dedup_by_key(|(index, _)| *index);
        }
        if self.last.is_none() || is_denied {
            self.stopped(if is_denied { "denied" } else { "failures" });
            self.last = Some(failure);
        }
        if is_denied || self.on_exceeded == OnExceeded::Cancel { Then::Abort } else { Then::Finish }
    }

    fn is_exceeded(&self, is_over: bool) -> bool {
        let MapSummary { completed, failed, total, .. } = self.summary;
        self.tolerated.are_exceeded(failures::Tally { completed, failed, total }, is_over)
    }

    fn stopped(&self, because: &str) {
        let fields = [("because", FieldValue::from(because)), ("failed", self.summary.failed.into())];
        self.ctx.emit("fan_out.stopped", fields);
    }

    /// What the map gives, after so many items were begun.
    pub(super) fn finish(mut self, begun: usize, peak: usize, aborted: usize) -> StageResult<M::Output<O>> {
        if self.last.is_none() && self.cancel.is_none() && self.is_exceeded(true) {
            self.last = self.failures.last().map(|(_, failure)| failure.clone());
            self.stopped("failures");
        }
        self.summary.cancelled = aborted;
        self.summary.peak_in_flight = peak;
        self.summary.not_begun = self.summary.total.map_or(0, |total| total.saturating_sub(begun));
        self.tell();
        if let Some(cancel) = self.cancel {
            return Err(cancel);
        }
        match self.last {
            Some(last) => Err(MapFailed {
                failures: self.failures,
                summary: self.summary,
                tolerated: self.tolerated,
                last,
            }
            .into_exit()),
            None => Ok(M::finish(self.kept.done, self.summary)),
        }
    }

    fn tell(&self) {
        let MapSummary { completed, failed, skipped, dropped, cancelled, not_begun, .. } = self.summary;
        let fields = [
            ("completed", completed),
            ("failed", failed),
            ("skipped", skipped),
            ("dropped", dropped),
            ("cancelled", cancelled),
            ("not_begun", not_begun),
            ("peak_in_flight", self.summary.peak_in_flight),
        ];
        self.ctx.emit("fan_out.finished", fields);
    }
}

fn spec(code: stageflow_core::Code, class: ErrorClass, error: String) -> FailSpec {
    FailSpec::new(code, class, error.into())
}
