//! Before the first stage a run is in its journal, and after the last one its end is.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use stageflow_core::{
    CancelCause, Failure, RunOutcome, TenantQuotas,
    durable::{Encoded, EntryKind, Journal, JournalError, JournalErrorKind, RunHeader, RunKey, RunLease},
    exit::Exit,
    time::Human,
};
use tokio::time::Sleep;

use super::{
    guarded::{Guarded, guarded},
    log::{Waiting, again},
};
use crate::{ending::EndCause, report::RunReport, run::RunCore, timer};

type Begun = Guarded<RunLease>;

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
                self.leave(run);
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
                State::Fresh(key, begun) => match Pin::new(begun).poll(cx) {
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
                State::Written(written) => Pin::new(written).poll(cx),
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

impl Opening {
    /// Ends before the journal has said that the run is begun: it may be all the same, and is told then that it has ended.
    fn leave(&mut self, run: &Arc<RunCore>) {
        let State::Fresh(key, begun) = std::mem::replace(&mut self.state, State::New) else { return };
        let run = Arc::clone(run);
        run.handle.clone().spawn(async move {
            let Some(log) = &run.log else { return };
            let Ok(lease) = begun.await else { return };
            log.whole.begun(key, lease);
            if log.whole.close()
                && let Some(written) = log.whole.send(&run, last_of(&run))
                && written.await.is_ok()
                && is_for_good(&run)
            {
                log.whole.set_ended();
            }
            log.whole.release();
        });
    }
}

fn begin(run: &Arc<RunCore>) -> Result<State, JournalError> {
    let Some(log) = &run.log else { return Ok(State::New) };
    if log.whole.of_run().is_some() {
        let written = log.whole.send(run, Some((EntryKind::Resumed, None)));
        return Ok(State::Written(written.unwrap_or_else(|| guarded(|| Box::pin(async { Ok(()) })))));
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
    let quotas = run.shared.tenants.as_ref().map(|tenants| tenants.quotas.clone());
    Ok(State::Fresh(key, guarded(|| Box::pin(begun(journal, header, quotas)))))
}

/// Begins a run, unless its tenant has stored as much as it may.
async fn begun(
    journal: Arc<dyn Journal>,
    header: Arc<RunHeader>,
    quotas: Option<TenantQuotas>,
) -> Result<RunLease, JournalError> {
    let tenant = header.key.tenant();
    if let Some(quotas) = quotas.filter(|quotas| quotas.of(Some(tenant)).stored_bytes_limit().is_some())
        && let Some(stored) = journal.stored_bytes(tenant).await?
    {
        let more = header.input.as_ref().map_or(0, |input| input.bytes.len());
        quotas.check_stored_bytes(tenant, stored, u64::try_from(more).unwrap_or(u64::MAX)).map_err(
            |exceeded| JournalError::new(JournalErrorKind::Quota, exceeded.to_string()).source(exceeded),
        )?;
    }
    journal.begin(header).await
}

/// The run is not in its journal: it goes on without, or ends before any stage of it has begun.
fn refuse(run: &Arc<RunCore>, error: JournalError) {
    let Some(log) = &run.log else { return };
    // Whatever is wrong with the run itself, no other rule makes good.
    let own =
        matches!(error.kind(), JournalErrorKind::Tenant | JournalErrorKind::Exists | JournalErrorKind::Quota);
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
///
/// It waits no longer than clean-ups may take, as nothing else could end the run any more: what was done is done, and the report says
/// that the journal has not said so.
#[derive(Default)]
pub(crate) struct Closing {
    written: Option<Waiting>,
    bound: Option<Pin<Box<Sleep>>>,
}

impl Closing {
    pub(crate) fn poll(&mut self, run: &Arc<RunCore>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(log) = &run.log else { return Poll::Ready(()) };
        if run.depth > 0 {
            blame(run);
            return Poll::Ready(());
        }
        if self.written.is_none() {
            blame(run);
            if !log.whole.close() {
                return Poll::Ready(());
            }
            let Some(written) = log.whole.send(run, last_of(run)) else {
                log.whole.release();
                return Poll::Ready(());
            };
            self.written = Some(written);
        }
        let Some(written) = &mut self.written else { return Poll::Ready(()) };
        let written = match Pin::new(written).poll(cx) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(std::task::ready!(self.poll_bound(run, cx))),
        };
        match written {
            Ok(()) if is_for_good(run) => log.whole.set_ended(),
            Ok(()) => log.whole.release(),
            Err(error) => {
                // What was done is done: the outcome stays, and the report says that it is not in the journal.
                let _told = log.whole.lose(run, None, error);
                log.whole.release();
            }
        }
        Poll::Ready(())
    }

    fn poll_bound(&mut self, run: &RunCore, cx: &mut Context<'_>) -> Poll<JournalError> {
        let budget = run.plan.policies().cleanup_budget;
        self.bound = self.bound.take().or_else(|| timer::sleep(budget));
        let Some(bound) = &mut self.bound else { return Poll::Pending };
        std::task::ready!(bound.as_mut().poll(cx));
        let message = format!("the journal did not take the end of the run in {}", Human(budget));
        Poll::Ready(JournalError::new(JournalErrorKind::Unavailable, message))
    }
}

/// A run that was stopped because something within it was not written fails for that, whatever its own stages came to.
fn blame(run: &RunCore) {
    if let (Some(EndCause::Failure { stage }), Some(log)) = (run.ending.cause(), &run.log)
        && run.has_no_failure()
        && let Some(lost) = log.whole.lost()
        && let Exit::Fail(spec) = again(lost).into_exit().into_exit()
    {
        run.collector().observe(Duration::from_nanos(run.now()), Failure::new(stage.as_str(), 0, spec), 0);
    }
}

/// What a run that has come to its end writes last.
fn last_of(run: &Arc<RunCore>) -> Option<(EntryKind, Option<Encoded>)> {
    is_for_good(run).then(|| {
        let failure = RunReport::new(Arc::clone(run)).cause().as_ref().map(Into::into);
        (EntryKind::RunEnded { outcome: run.judge(), failure }, None)
    })
}

impl RunCore {
    /// Whether another process may go on with a run that has ended here.
    pub(crate) fn is_resumable(&self) -> bool {
        let is_written = self.log.as_ref().is_some_and(|log| log.whole.of_run().is_some());
        // Without its input nothing of it could be called again.
        let has_input =
            self.plan.input_codec().is_some() || self.plan.input_readers() == 0 || self.plan.input_is_unit();
        self.depth == 0 && is_written && has_input && self.is_done() && !is_for_good(self)
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
