//! Pending stages: put aside, woken, timed out, dropped.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use stageflow_core::{Code, code, slot::FutureSlot};

use crate::{
    attempt,
    node::{Body, Node, Spare, Timer},
    run::RunCore,
    worker::{Worker, panicked},
};

/// When the time of a stage, or of its only attempt, is up.
pub(crate) fn timer_of(run: &RunCore, stage: u32) -> Option<(Duration, Code)> {
    if !run.is_timed {
        return None;
    }
    let timeouts = run.timeouts(stage);
    let whole = timeouts.stage.get().map(|timeout| (timeout, code::STAGE_TIMEOUT));
    let single = timeouts.attempt.get().filter(|_| !attempt::is_wrapped(run, stage));
    let single = single.map(|timeout| (timeout, code::ATTEMPT_TIMEOUT));
    whole.into_iter().chain(single).min_by_key(|(timeout, _)| *timeout)
}

impl Worker {
    /// Makes a task of a stage that its first poll left pending.
    pub(crate) fn suspend(&mut self, run: &Arc<RunCore>, stage: u32, spare: Spare, future: FutureSlot) {
        self.now = self.watch.now(run);
        self.suspend_until(run, stage, spare, future, timer_of(run, stage));
    }

    /// As [`suspend`](Self::suspend), with a timer of its own.
    pub(crate) fn suspend_until(
        &mut self,
        run: &Arc<RunCore>,
        stage: u32,
        spare: Spare,
        future: FutureSlot,
        timer: Option<(Duration, Code)>,
    ) {
        let Spare { node, waker } = spare;
        let mut body = Body { waker, future, timer: None };
        if let Some((after, code)) = timer.filter(|_| run.may_time_out(stage)) {
            match Timer::new(after, code) {
                Ok(timer) => body.timer = Some(timer),
                Err(exit) => {
                    node.task.finish();
                    let _dropped = catch_unwind(AssertUnwindSafe(|| drop(body)));
                    return self.finish(run, stage, Err(exit));
                }
            }
        }
        // Registers the waker with the timer.
        let mut cx = Context::from_waker(&body.waker);
        if body.timer.as_mut().is_some_and(|timer| timer.is_up(&mut cx)) {
            node.task.finish();
            return self.time_out(run, stage, body);
        }
        run.pending.insert(self.shard, &node);
        self.park(run, &node, body);
    }

    /// Goes on with a stage that was woken.
    pub(crate) fn resume(&mut self, run: &Arc<RunCore>, node: &Arc<Node>) {
        if !node.task.resume() {
            return;
        }
        let stage = node.stage();
        let Some(Body { waker, mut future, mut timer }) = node.take_body() else { return };
        if self.must_drop(run, stage) {
            self.retire(run, node);
            return self.drop_future(run, stage, future);
        }
        self.call_for_help(run);
        let mut cx = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx)));
        match polled.unwrap_or_else(|panic| Poll::Ready(Err(panicked(panic)))) {
            Poll::Ready(result) => {
                self.retire(run, node);
                self.reuse(node, waker, future);
                self.finish(run, stage, result);
            }
            Poll::Pending => {
                self.now = self.watch.now(run);
                if timer.as_mut().is_some_and(|timer| timer.is_up(&mut cx)) {
                    self.retire(run, node);
                    return self.time_out(run, stage, Body { waker, future, timer });
                }
                self.park(run, node, Body { waker, future, timer });
            }
        }
    }

    /// Keeps what a stage that has ended leaves behind, if nobody else can wake the node.
    fn reuse(&mut self, node: &Arc<Node>, waker: Waker, future: FutureSlot) {
        self.keep_slot(future);
        let spare = Spare { node: Arc::clone(node), waker };
        // The caller holds it once more.
        if Arc::strong_count(node) == 3 {
            node.task.restart();
            self.keep_spare(spare);
        }
    }

    fn retire(&self, run: &Arc<RunCore>, node: &Node) {
        node.task.finish();
        run.pending.remove(node);
    }

    /// Puts a pending stage aside until it is woken.
    fn park(&mut self, run: &Arc<RunCore>, node: &Arc<Node>, body: Body) {
        node.put_body(body);
        if node.task.suspend() {
            run.queues.push_resumed(Arc::clone(node));
        }
        // A cancellation that came while it was polled has left it to us.
        if self.must_drop(run, node.stage()) {
            self.drop_parked(run, node);
        }
    }

    /// Whether the run is being cancelled and the stage's grace, if it has one, is over.
    fn must_drop(&self, run: &Arc<RunCore>, stage: u32) -> bool {
        run.is_stopping() && run.now() >= run.grace_until(stage, run.stopped_at())
    }

    /// Drops the future of a pending stage that nobody polls.
    pub(crate) fn drop_parked(&mut self, run: &Arc<RunCore>, node: &Arc<Node>) {
        if node.task.claim()
            && let Some(body) = node.take_body()
        {
            run.pending.remove(node);
            self.drop_future(run, node.stage(), body.future);
        }
    }

    /// Ends a stage by dropping its future. A panic on the way is the stage's failure.
    fn drop_future(&mut self, run: &Arc<RunCore>, stage: u32, future: FutureSlot) {
        match catch_unwind(AssertUnwindSafe(|| drop(future))) {
            Ok(()) => self.settle_cancelled(run, stage),
            Err(panic) => self.finish(run, stage, Err(panicked(panic))),
        }
    }

    fn time_out(&mut self, run: &Arc<RunCore>, stage: u32, body: Body) {
        let code = body.timer.as_ref().map_or(code::STAGE_TIMEOUT, |timer| timer.code);
        let exit = match catch_unwind(AssertUnwindSafe(|| drop(body))) {
            Ok(()) => attempt::timed_out(run, stage, code),
            Err(panic) => panicked(panic),
        };
        self.finish(run, stage, Err(exit));
    }
}
