//! The gate of a root run: who calls is decided before anything of the run is evaluated.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use stageflow_core::{
    EventKind, Failure, RunAdmission, StageExit, StageResult,
    event::NO_STAGE,
    exit::Exit,
    intercept::{Admitting, AnyInterceptor},
};
use tokio::time::Sleep;

use crate::{ending::EndCause, run::RunCore, timer};

/// The security interceptors of an engine, outermost first.
pub(crate) fn gates(interceptors: &[AnyInterceptor]) -> Box<[AnyInterceptor]> {
    let mut gates: Vec<_> = interceptors.iter().filter(|one| one.fails_closed()).cloned().collect();
    gates.sort_by_key(|one| one.placement().sort_key());
    gates.into()
}

/// Asks the security interceptors of the engine about a run, one after the other.
pub(crate) struct Gate {
    admission: Arc<RunAdmission>,
    /// How many have said yes.
    passed: usize,
    asking: Option<Admitting>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Gate {
    /// The gate of a run, if it has one: child runs are let in with their parent.
    pub(crate) fn of(run: &Arc<RunCore>) -> Option<Box<Self>> {
        if run.depth > 0 || run.shared.gates.is_empty() {
            return None;
        }
        let told = Arc::clone(run);
        let admission = RunAdmission::new(Arc::clone(&run.snapshot), move |event| {
            if !told.is_done() {
                told.emit(NO_STAGE, 0, EventKind::Custom(Arc::new(event)));
            }
        });
        Some(Box::new(Self { admission: Arc::new(admission), passed: 0, asking: None, deadline: None }))
    }

    /// Waits until the run is let in, or ends.
    pub(crate) fn poll(&mut self, run: &RunCore, cx: &mut Context<'_>) -> Poll<()> {
        run.queues.register_driver(cx.waker());
        loop {
            if run.now() >= run.deadline {
                run.end(EndCause::Deadline);
            }
            if run.is_stopping() {
                return self.leave(run);
            }
            let Some(gate) = run.shared.gates.get(self.passed) else {
                self.admission.let_in();
                return self.leave(run);
            };
            match self.ask(gate, cx) {
                Poll::Ready(Ok(())) => {
                    self.passed += 1;
                    continue;
                }
                Poll::Ready(Err(exit)) => {
                    deny(run, gate.name(), exit);
                    return self.leave(run);
                }
                Poll::Pending => run.details().is_at_gate = true,
            }
            if run.deadline == u64::MAX {
                return Poll::Pending;
            }
            // Runs with a deadline are started only where there is a timer.
            let left = Duration::from_nanos(run.deadline.saturating_sub(run.now()));
            self.deadline = self.deadline.take().or_else(|| timer::sleep(left));
            if self.deadline.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_pending()) {
                return Poll::Pending;
            }
        }
    }

    /// Asks one of them. Whatever panics, in its beginning, its future or the dropping of that, is a no.
    fn ask(&mut self, gate: &AnyInterceptor, cx: &mut Context<'_>) -> Poll<StageResult<()>> {
        let answer = catch_unwind(AssertUnwindSafe(|| {
            let asking = self.asking.get_or_insert_with(|| gate.admit(Arc::clone(&self.admission)));
            let answer = std::task::ready!(asking.as_mut().poll(cx));
            self.asking = None;
            Poll::Ready(answer)
        }));
        answer.unwrap_or_else(|_| Poll::Ready(Err(StageExit::deny(format!("`{}` panicked", gate.name())))))
    }

    fn leave(&mut self, run: &RunCore) -> Poll<()> {
        self.drop_asking();
        if let Some(mut details) = run.known_details() {
            details.is_at_gate = false;
        }
        Poll::Ready(())
    }

    /// Drops the question that is on its way, of which only the answer counts.
    fn drop_asking(&mut self) {
        let asking = self.asking.take();
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(asking)));
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.drop_asking();
    }
}

/// Ends the run as denied, before any stage of it has begun.
pub(crate) fn deny(run: &RunCore, by: &str, exit: StageExit) {
    if run.end(EndCause::NotAdmitted { by: by.to_owned() })
        && let Exit::Fail(spec) = exit.denied_by(by).into_exit()
    {
        let at = Duration::from_nanos(run.now());
        run.collector().observe(at, Failure::new("", 0, spec), 0);
    }
}
