//! What a run does until its engine's monitor has let it in.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use stageflow_core::{
    CancelCause, CustomEvent, EventKind, FieldValue, RunOutcome, event::NO_STAGE, time::nanos,
};
use tokio::time::Sleep;

use super::{
    monitor::BackpressureMonitor,
    permit::{Entry, Place},
    state::ShedRule,
};
use crate::{ending::EndCause, run::RunCore, timer};

/// The admission of one run. Dropped, it gives back the place or the permit, and counts no latency.
pub(crate) struct Admission {
    entry: Option<Entry>,
    /// To whom it is offered when it comes to its turn.
    later: Option<BackpressureMonitor>,
    /// When it has waited too long, in nanoseconds of the run, once it waits.
    expires_at: Option<u64>,
    timer: Option<Pin<Box<Sleep>>>,
    waited: u64,
}

impl Admission {
    pub(crate) fn new(entry: Entry) -> Self {
        Self { entry: Some(entry), later: None, expires_at: None, timer: None, waited: 0 }
    }

    /// The admission of a run that is let in by somebody else first.
    pub(crate) fn later(monitor: BackpressureMonitor) -> Self {
        Self { entry: None, later: Some(monitor), expires_at: None, timer: None, waited: 0 }
    }

    /// Offers a run that was not offered so far; one that is refused ends.
    pub(crate) fn offer(&mut self, run: &RunCore) {
        let Some(monitor) = self.later.take() else { return };
        match monitor.enter(true) {
            Ok(entry) => self.entry = Some(entry),
            Err(refused) => {
                tell(run, "admission.shed", [("rule", refused.rule().as_str().into())]);
                run.end(EndCause::Cancel(CancelCause::Shed { reason: refused.to_string() }));
            }
        }
        self.note(run);
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.entry, Some(Entry::Place(_)))
    }

    /// Lets `explain()` see that the run waits, if it does.
    pub(crate) fn note(&self, run: &RunCore) {
        if let Some(Entry::Place(place)) = &self.entry {
            run.details().place = Some(place.number());
        }
    }

    /// Waits until the run is let in, or ends.
    pub(crate) fn poll(&mut self, run: &RunCore, cx: &mut Context<'_>) -> Poll<()> {
        let Some(Entry::Place(place)) = &mut self.entry else { return Poll::Ready(()) };
        let is_new = self.expires_at.is_none();
        let timeout = place.monitor().queue_timeout();
        let expires_at = *self.expires_at.get_or_insert_with(|| {
            timeout.map_or(u64::MAX, |timeout| run.now().saturating_add(nanos(timeout)))
        });
        if is_new {
            tell(run, "admission.queued", [("ahead", place.ahead().into())]);
        }
        run.queues.register_driver(cx.waker());
        loop {
            if run.is_stopping() {
                return self.leave(run);
            }
            if let Poll::Ready(permit) = Pin::new(&mut *place).poll(cx) {
                self.waited = run.now();
                self.entry = Some(Entry::Permit(permit));
                let waited_ms = self.waited / 1_000_000;
                tell(run, "admission.admitted", [("waited_ms", waited_ms.into())]);
                return self.leave(run);
            }
            let (now, next) = (run.now(), run.deadline.min(expires_at));
            if next == u64::MAX {
                return Poll::Pending;
            }
            if now < next {
                // Such runs are admitted only where there is a timer.
                let left = Duration::from_nanos(next - now);
                self.timer = self.timer.take().or_else(|| timer::sleep(left));
                if self.timer.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_pending()) {
                    return Poll::Pending;
                }
            }
            if run.deadline <= expires_at {
                run.end(EndCause::Deadline);
            } else if place.expire() {
                shed(run, place);
            }
        }
    }

    /// The wait is over: what is left of it is a permit, or nothing.
    fn leave(&mut self, run: &RunCore) -> Poll<()> {
        self.timer = None;
        if self.is_waiting() {
            self.waited = run.now();
            self.entry = None;
        }
        let mut details = run.details();
        details.place = None;
        details.queued = Some(self.waited);
        Poll::Ready(())
    }

    /// The run has ended: its time counts as a latency, unless it was cancelled.
    pub(crate) fn finish(&mut self, run: &RunCore) {
        let Some(Entry::Permit(permit)) = self.entry.take() else { return };
        match (run.outcome.get(), run.took()) {
            (Some(RunOutcome::Cancelled | RunOutcome::Denied) | None, _) | (_, None) => permit.discard(),
            (_, Some(took)) => permit.finish(took.saturating_sub(Duration::from_nanos(self.waited))),
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(Entry::Permit(permit)) = self.entry.take() {
            permit.discard();
        }
    }
}

fn shed(run: &RunCore, place: &Place) {
    let reason = place.monitor().refusal(ShedRule::QueueTimeout).to_string();
    tell(run, "admission.shed", [("rule", ShedRule::QueueTimeout.as_str().into())]);
    run.end(EndCause::Cancel(CancelCause::Shed { reason }));
}

fn tell<const N: usize>(run: &RunCore, name: &str, fields: [(&str, FieldValue); N]) {
    if run.events.is_some() {
        run.emit(NO_STAGE, 0, EventKind::Custom(Arc::new(CustomEvent::new(name, fields))));
    }
}
