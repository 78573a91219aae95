//! Clean-ups: after every stage has stopped, in reverse order, one after the other, under one budget.

use std::{
    future::Future as _,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use stageflow_core::{EventKind, scope::CleanUp, time::Human};
use tokio::time::Sleep;

use crate::{
    run::{CleanUpFailure, RunCore},
    timer,
};

impl RunCore {
    /// Registers a clean-up. One that comes after the run has ended is awaited at once.
    pub(crate) fn register_clean_up(&self, stage: u32, clean_up: CleanUp) {
        let late = match &mut *self.clean_ups() {
            Some(all) => {
                all.push((stage, clean_up));
                None
            }
            None => Some(clean_up),
        };
        if let Some(clean_up) = late {
            self.handle.spawn(clean_up);
        }
    }

    /// The clean-up registered last. Once there is none, no other can be registered.
    fn next_clean_up(&self) -> Option<(u32, CleanUp)> {
        let mut clean_ups = self.clean_ups();
        let next = clean_ups.as_mut().and_then(Vec::pop);
        if next.is_none() {
            *clean_ups = None;
        }
        next
    }

    /// Drops all clean-ups without awaiting them: the runtime is gone.
    pub(crate) fn drop_clean_ups(&self) {
        let all = self.clean_ups().take();
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(all)));
    }

    fn clean_ups(&self) -> MutexGuard<'_, Option<Vec<(u32, CleanUp)>>> {
        self.clean_ups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clean-up of one run on its way.
#[derive(Default)]
pub(crate) struct Cleaning {
    current: Option<(u32, CleanUp)>,
    budget: Option<Pin<Box<Sleep>>>,
    spent: bool,
}

impl Cleaning {
    /// Runs clean-ups until none is left. What the budget does not allow is dropped and listed.
    pub(crate) fn poll(&mut self, run: &Arc<RunCore>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.current.is_none() {
                match run.next_clean_up() {
                    Some(next) => self.current = Some(next),
                    None => return Poll::Ready(()),
                }
            }
            let Some((stage, clean_up)) = &mut self.current else { continue };
            let stage = *stage;
            let polled = if self.spent {
                Poll::Pending
            } else {
                // A panic is this clean-up's failure and nobody else's.
                let polled = catch_unwind(AssertUnwindSafe(|| clean_up.as_mut().poll(cx)));
                polled.unwrap_or_else(|_| Poll::Ready(Err("panicked".into())))
            };
            match polled {
                Poll::Ready(Ok(())) => self.current = None,
                Poll::Ready(Err(error)) => {
                    self.current = None;
                    fail(run, stage, stageflow_core::code::CLEANUP_FAILED, error.to_string());
                }
                Poll::Pending => {
                    let budget = run.plan.policies().cleanup_budget;
                    if !self.spent {
                        // Without a timer there is no budget either.
                        self.budget = self.budget.take().or_else(|| timer::sleep(budget));
                        match &mut self.budget {
                            Some(timer) => ready!(timer.as_mut().poll(cx)),
                            None => return Poll::Pending,
                        }
                        self.spent = true;
                    }
                    let dropped = self.current.take();
                    let _panicked = catch_unwind(AssertUnwindSafe(|| drop(dropped)));
                    let error = format!("the budget of {} for all clean-ups is used up", Human(budget));
                    fail(run, stage, stageflow_core::code::CLEANUP_TIMEOUT, error);
                }
            }
        }
    }
}

fn fail(run: &RunCore, stage: u32, code: stageflow_core::Code, error: String) {
    run.emit(stage, 0, EventKind::CleanUpFailed { error: error.as_str().into() });
    let stage = run.plan.stage_name(stage).to_owned();
    run.details().clean_up_failures.push(CleanUpFailure { code, stage, error });
}
