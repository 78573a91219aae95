//! Before the first stage a run is in its journal, and after the last one its end is.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use stageflow_core::{
    CancelCause, Failure, RunOutcome,
    durable::{EntryKind, Journal, JournalError, JournalErrorKind, RunHeader, RunKey, RunLease},
    exit::Exit,
};
use tokio::time::Sleep;

use super::log::Waiting;
use crate::{ending::EndCause, report::RunReport, run::RunCore, timer};

type Begun = Pin<Box<dyn Future<Output = Result<RunLease, JournalError>> + Send>>;

/// Waits until a run is in its journal.
pub(crate) struct Opening {
    state: State,
    deadline: Option<Pin<Box<Sleep>>>,
}

enum State {
    New,
    Fresh(RunKey, Begun),
    /// What stands before its first stage.
    Written(Waiting),
}

impl Opening {
    /// Of a run that is written down; child runs are, with their root.
    pub(crate) fn of(run: &RunCore) -> Option<Box<Self>> {
        (run.depth == 0 && run.log.is_some()).then(|| Box::new(Self { state: State::New, deadline: None }))
    }

    /// Waits until the run is in its journal, or ends.
    pub(crate) fn poll(&mut self, run: &Arc<RunCore>, cx: &mut Context<'_>) -> Poll<()> {
        run.queues.register_driver(cx.waker());
        loop {
            if run.now() >= run.deadline {
                run.end(EndCause::Deadline);
            }
            if run.is_stopping() {
                return Poll::Ready(());
            }
            let Some(log) = &run.log else { return Poll::Ready(()) };
            let opened = match &mut self.state {
                State::New => {
                    self.state = match begin(run) {
                        Ok(state) => state,
                        Err(error) => {
                            refuse(run, error);
                            return Poll::Ready(());
                        }
                    };
                    continue;
                }
                State::Fresh(key, begun) => match begun.as_mut().poll(cx) {
                    Poll::Ready(Ok(lease)) => {
                        log.whole.begun(key.clone(), lease);
                        if log.whole.has_kept()
                            && let Some(written) = log.whole.send(run, None)
                        {
                            self.state = State::Written(written);
                            continue;
                        }
                        Poll::Ready(Ok(()))
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                },
                State::Written(written) => written.as_mut().poll(cx),
            };
            match opened {
                Poll::Ready(Ok(())) => return Poll::Ready(()),
                Poll::Ready(Err(error)) => {
                    refuse(run, error);
                    return Poll::Ready(());
                }
                Poll::Pending => {}
            }
            if run.deadline == u64::MAX {
                return Poll::Pending;
            }
            let left = Duration::from_nanos(run.deadline.saturating_sub(run.now()));
            self.deadline = self.deadline.take().or_else(|| timer::sleep(left));
            if self.deadline.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_pending()) {
                return Poll::Pending;
            }
        }
    }
}

fn begin(run: &Arc<RunCore>) -> Result<State, JournalError> {
    let Some(log) = &run.log else { return Ok(State::New) };
    if log.whole.of_run().is_some() {
        let written = log.whole.send(run, Some((EntryKind::Resumed, None)));
        return Ok(State::Written(written.unwrap_or_else(|| Box::pin(std::future::ready(Ok(()))))));
    }
    let rules = &log.whole.rules;
    let tenant = match (run.snapshot.identity().tenant_id(), &rules.default_tenant) {
        (Some(tenant), _) => tenant.clone(),
        (None, Some(tenant)) => run.snapshot.tenant_or(|| tenant.clone()).clone(),
        (None, None) => {
            let message = format!("`{}` is durable, and the run has no tenant", run.plan.name());
            return Err(JournalError::new(JournalErrorKind::Tenant, message));
        }
    };
    let key = RunKey::new(tenant, run.snapshot.identity().run_id());
    let header = Arc::new(log.whole.header(run, key.clone(), run.shared.clock.wall()));
    let journal = Arc::clone(log.whole.journal());
    Ok(State::Fresh(key, Box::pin(begun(journal, header))))
}

async fn begun(journal: Arc<dyn Journal>, header: Arc<RunHeader>) -> Result<RunLease, JournalError> {
    journal.begin(header).await
}

/// The run is not in its journal: it goes on without, or ends before any stage of it has begun.
fn refuse(run: &Arc<RunCore>, error: JournalError) {
    let Some(log) = &run.log else { return };
    // Whatever is wrong with the run itself, no other rule makes good.
    let own = matches!(error.kind(), JournalErrorKind::Tenant | JournalErrorKind::Exists);
    if own {
        run.end(EndCause::Failure { stage: String::new() });
    }
    let refused = if own { Err(error) } else { log.whole.lose(run, None, error) };
    if let Err(error) = refused
        && let Exit::Fail(spec) = error.into_exit().into_exit()
    {
        run.collector().observe(Duration::from_nanos(run.now()), Failure::new("", 0, spec), 0);
    }
}

/// Waits until the end of a run is in its journal.
#[derive(Default)]
pub(crate) struct Closing(Option<Waiting>);

impl Closing {
    pub(crate) fn poll(&mut self, run: &Arc<RunCore>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(log) = run.log.as_ref().filter(|_| run.depth == 0) else { return Poll::Ready(()) };
        if self.0.is_none() {
            let last = is_for_good(run).then(|| {
                let failure = RunReport::new(Arc::clone(run)).cause().as_ref().map(Into::into);
                (EntryKind::RunEnded { outcome: run.judge(), failure }, None)
            });
            let Some(ack) = log.whole.send(run, last) else {
                log.whole.release();
                return Poll::Ready(());
            };
            self.0 = Some(ack);
        }
        let Some(ack) = &mut self.0 else { return Poll::Ready(()) };
        match std::task::ready!(ack.as_mut().poll(cx)) {
            Ok(()) if is_for_good(run) => log.whole.set_ended(),
            Ok(()) => log.whole.release(),
            Err(error) => {
                // What was done is done: the outcome stays, and the report says that it is not in the journal.
                let _told = log.whole.lose(run, None, error);
            }
        }
        Poll::Ready(())
    }
}

impl RunCore {
    /// Whether another process may go on with a run that has ended here.
    pub(crate) fn is_resumable(&self) -> bool {
        let is_written = self.log.as_ref().is_some_and(|log| log.whole.of_run().is_some());
        self.depth == 0 && is_written && self.is_done() && !is_for_good(self)
    }
}

/// Whether a run has come to its end, or another process may go on with it.
fn is_for_good(run: &RunCore) -> bool {
    let Some(log) = &run.log else { return true };
    if log.whole.lost().is_some() {
        return false;
    }
    match run.ending.cause() {
        // It was not let in, or made way: somebody else may be let in with it, or the same later.
        Some(EndCause::NotAdmitted { .. } | EndCause::Cancel(CancelCause::Shed { .. })) => false,
        Some(EndCause::Cancel(CancelCause::Shutdown | CancelCause::Dropped | CancelCause::TakenOver)) => {
            false
        }
        _ => run.judge() != RunOutcome::Cancelled || run.ending.cause().is_some(),
    }
}
