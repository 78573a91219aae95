//! The driver: the future of a run. It is the run's first worker, and it alone ends the run.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use stageflow_core::{CancelCause, EventKind, RunOutcome, StageExit, event::NO_STAGE};
use tokio::time::Sleep;

use crate::{
    admission::Admission,
    cleanup::Cleaning,
    durable::{Closing, Opening},
    ending::EndCause,
    entries::Entries,
    gate::{self, Gate},
    limits::TenantLimits,
    quota::{self, QuotaEntry, Refused},
    report::RunReport,
    run::RunCore,
    timer,
    worker::{Progress, Worker},
};

/// Drives one run to its end. Once it has been started it must be polled to the end, or be handed to the runtime.
pub(crate) struct Driver {
    pub(crate) run: Arc<RunCore>,
    /// Where the engine has a monitor.
    admission: Option<Box<Admission>>,
    /// Where tenants have quotas.
    quota: Option<Box<QuotaEntry>>,
    /// Where the engine has security interceptors.
    gate: Option<Box<Gate>>,
    /// Where the run is written down.
    opening: Option<Box<Opening>>,
    closing: Closing,
    worker: Option<Worker>,
    phase: Phase,
    deadline: Option<Pin<Box<Sleep>>>,
    grace: Option<Pin<Box<Sleep>>>,
    cleaning: Cleaning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Entering,
    Waiting,
    Asking,
    Opening,
    Metering,
    Beginning,
    Working,
    Stopping,
    Cleaning,
    Recording,
    Closing,
    Done,
}

impl Driver {
    pub(crate) fn new(run: Arc<RunCore>) -> Self {
        Self::admitted(run, Entries::default())
    }

    /// Drives a run that has been offered to a monitor and to the quota of its tenant.
    pub(crate) fn admitted(run: Arc<RunCore>, Entries { admission, quota }: Entries) -> Self {
        Self {
            gate: Gate::of(&run),
            opening: Opening::of(&run),
            closing: Closing::default(),
            run,
            admission,
            quota,
            worker: None,
            phase: Phase::Starting,
            deadline: None,
            grace: None,
            cleaning: Cleaning::default(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// It is known by now whose run it is: what its tenant may use decides on it.
    fn meter(&mut self) {
        let run = &self.run;
        if run.is_stopping() {
            return;
        }
        let tenant = run.snapshot.identity().tenant_id();
        if let Some(tenants) = &run.shared.tenants {
            match QuotaEntry::offer(tenants, tenant) {
                Ok(entry) => {
                    entry.note(run);
                    self.quota = Some(Box::new(entry));
                }
                Err(Refused::Quota(exceeded)) => quota::refuse(run, exceeded),
                Err(Refused::Error(error)) => gate::deny(run, "quota", StageExit::deny(error.to_string())),
            }
        }
        let stages = self.quota.as_ref().and_then(|quota| quota.stages());
        run.limits.settle(TenantLimits::new(&run.shared.limits, tenant, stages));
    }

    /// Works on ready stages; ready with the next phase once there is no stage to start any more.
    fn work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let run = Arc::clone(&self.run);
        let Some(worker) = &mut self.worker else { return Poll::Ready(()) };
        loop {
            if run.deadline != u64::MAX && run.now() >= run.deadline {
                run.end(EndCause::Deadline);
            }
            match worker.work(&run) {
                Progress::Stopping => return Poll::Ready(()),
                Progress::Yield => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Progress::Idle => {}
            }
            if run.remaining.load(Ordering::SeqCst) != 0 {
                run.queues.register_driver(cx.waker());
            }
            run.queues.park_driver();
            let over = run.remaining.load(Ordering::SeqCst) == 0;
            if over || run.is_stopping() {
                run.queues.unpark_driver();
                // A cancellation observed before this wins.
                run.ending.commit();
                return Poll::Ready(());
            }
            if run.queues.has_resumed() || run.queues.has_stealable() || run.queues.has_held() {
                run.queues.unpark_driver();
                continue;
            }
            if run.deadline != u64::MAX {
                let left = Duration::from_nanos(run.deadline.saturating_sub(run.now()));
                // Runs with a deadline are admitted only where there is a timer.
                self.deadline = self.deadline.take().or_else(|| timer::sleep(left));
                if self.deadline.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
                    run.queues.unpark_driver();
                    run.end(EndCause::Deadline);
                    continue;
                }
            }
            return Poll::Pending;
        }
    }

    /// Waits until no stage of the run is left anywhere (S-16).
    fn stop(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let run = Arc::clone(&self.run);
        run.queues.register_driver(cx.waker());
        let Some(worker) = &mut self.worker else { return Poll::Ready(()) };
        loop {
            run.queues.park_driver();
            let alone = run.queues.close();
            let (mut next_grace, mut parked) = (u64::MAX, Vec::new());
            run.pending.for_each(|node| {
                let until = run.grace_until(node.stage(), run.stopped_at());
                if run.is_stopping() && run.now() >= until {
                    parked.push(Arc::clone(node));
                } else {
                    next_grace = next_grace.min(until);
                }
            });
            for node in parked {
                worker.drop_parked(&run, &node);
            }
            let mut resumed = false;
            while let Some(node) = run.queues.pop_resumed() {
                resumed = true;
                worker.resume(&run, &node);
                if !tokio::task::coop::has_budget_remaining() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            if resumed {
                continue;
            }
            if run.pending.is_empty() && run.holds.load(Ordering::SeqCst) == 0 {
                if alone {
                    return Poll::Ready(());
                }
                // A helper that is on its way out is gone in less time than it takes to be woken for it. It may have left
                // something behind: this looks again.
                if run.queues.empties_soon() {
                    continue;
                }
            }
            if next_grace != u64::MAX {
                let left = Duration::from_nanos(next_grace.saturating_sub(run.now()).max(1));
                self.grace = timer::sleep(left);
                if self.grace.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
                    continue;
                }
            }
            return Poll::Pending;
        }
    }

    /// Fixes the outcome and tells everybody.
    fn close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let run = &self.run;
        if run.outcome.get().is_none() {
            run.set_end();
            let outcome = run.judge();
            run.tell_budget();
            if let Some(events) = &run.events
                && let Some(record) = events.last_record(run.now(), NO_STAGE, ended(run, outcome))
            {
                events.deliver(vec![events.event(record)]);
            }
            run.outcome.get_or_init(|| outcome);
        }
        if let Some(events) = &run.events {
            // Somebody outside the run may be delivering at this moment.
            if !events.is_settled() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            events.close_stream();
        }
        if let Some(mut admission) = self.admission.take() {
            admission.finish(run);
        }
        self.quota = None;
        run.shared.live.leave(run);
        Poll::Ready(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.phase == Phase::Done {
            return;
        }
        // The runtime is gone: nobody will poll what is left, but it is to be dropped, or it would keep the run alive.
        let run = &self.run;
        // What a helper polls at this moment stays where the run finds it at its own end.
        let mut nodes = Vec::new();
        run.pending.for_each(|node| nodes.push(Arc::clone(node)));
        for node in nodes.into_iter().filter(|node| node.task.claim()) {
            run.pending.remove(&node);
            let _panicked = catch_unwind(AssertUnwindSafe(|| drop(node.take_body())));
        }
        // Nodes that were woken meanwhile.
        while run.queues.pop_resumed().is_some() {}
        run.drop_clean_ups();
        if let Some(log) = run.log.as_ref().filter(|_| run.depth == 0) {
            log.whole.release();
        }
        drop(self.gate.take());
        drop(self.admission.take());
        drop(self.quota.take());
        self.run.shared.live.leave(&self.run);
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            match this.phase {
                Phase::Starting => {
                    this.run.emit(NO_STAGE, 0, EventKind::PipelineStarted);
                    this.phase = Phase::Entering;
                }
                Phase::Entering => {
                    if let Some(quota) = &mut this.quota {
                        std::task::ready!(quota.poll(&this.run, cx));
                    }
                    if let Some(admission) = &mut this.admission
                        && !this.run.is_stopping()
                    {
                        admission.offer(&this.run);
                    }
                    let waits = this.admission.as_ref().is_some_and(|admission| admission.is_waiting());
                    this.phase = if waits { Phase::Waiting } else { Phase::Asking };
                }
                Phase::Waiting => {
                    if let Some(admission) = &mut this.admission {
                        std::task::ready!(admission.poll(&this.run, cx));
                    }
                    this.phase = Phase::Asking;
                }
                Phase::Asking => {
                    if let Some(gate) = &mut this.gate {
                        std::task::ready!(gate.poll(&this.run, cx));
                        this.gate = None;
                        this.meter();
                    }
                    this.phase = Phase::Metering;
                }
                Phase::Metering => {
                    if let Some(quota) = &mut this.quota {
                        std::task::ready!(quota.poll(&this.run, cx));
                        if !this.run.is_stopping() {
                            quota.begin();
                        }
                    }
                    this.phase = Phase::Opening;
                }
                Phase::Opening => {
                    if let Some(opening) = &mut this.opening {
                        std::task::ready!(opening.poll(&this.run, cx));
                        this.opening = None;
                    }
                    this.phase = Phase::Beginning;
                }
                Phase::Beginning => {
                    let mut worker = Worker::new(&this.run);
                    // Not even conditions over the input are looked at for a run that has ended before it began.
                    if !this.run.is_stopping() {
                        worker.start_roots(&this.run);
                    }
                    this.worker = Some(worker);
                    this.phase = Phase::Working;
                }
                Phase::Working => {
                    std::task::ready!(this.work(cx));
                    this.phase = Phase::Stopping;
                }
                Phase::Stopping => {
                    std::task::ready!(this.stop(cx));
                    if let Some(mut worker) = this.worker.take()
                        && this.run.is_stopping()
                    {
                        worker.sweep(&this.run);
                    }
                    this.phase = Phase::Cleaning;
                }
                Phase::Cleaning => {
                    std::task::ready!(this.cleaning.poll(&this.run, cx));
                    this.phase = Phase::Recording;
                }
                Phase::Recording => {
                    std::task::ready!(this.closing.poll(&this.run, cx));
                    this.phase = Phase::Closing;
                }
                Phase::Closing => {
                    std::task::ready!(this.close(cx));
                    this.phase = Phase::Done;
                }
                Phase::Done => return Poll::Ready(()),
            }
        }
    }
}

fn ended(run: &Arc<RunCore>, outcome: RunOutcome) -> EventKind {
    let failure = RunReport::new(Arc::clone(run)).cause();
    let cancelled = match run.ending.cause() {
        Some(EndCause::Cancel(cause)) => Some(Arc::new(cause.clone())),
        Some(EndCause::Deadline) => Some(Arc::new(CancelCause::Deadline)),
        _ => None,
    };
    EventKind::PipelineEnded { outcome, failure, cancelled }
}
