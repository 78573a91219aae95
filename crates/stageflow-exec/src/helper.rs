//! Helpers: tasks that come when a run has more ready stages than its driver can start at once.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use crate::{
    patrol,
    run::RunCore,
    worker::{self, Progress, Worker},
};

/// Asks one more helper to come, if there is room for one.
pub(crate) fn call_one(run: &Arc<RunCore>) {
    if !run.queues.reserve_helper() {
        return;
    }
    run.handle.spawn(Helper { run: Arc::downgrade(run), worker: None, reserved: true });
    // A task spawned from a worker thread sits in the one place of that thread which no other can steal from. The empty
    // task takes its place there, which puts the helper into the open and wakes another thread for it.
    run.handle.spawn(async {});
    patrol::watch(&run.handle);
}

/// Wakes the driver if it is parked; `false` if it was not.
pub(crate) fn wake_parked_driver(run: &RunCore) -> bool {
    let was_parked = run.queues.wake_parked_driver();
    if was_parked && worker::is_working() {
        // As above: the stage that made the work may block this thread, and the driver with it.
        run.handle.spawn(async {});
        patrol::watch(&run.handle);
    }
    was_parked
}

/// One helper. Until it is polled it keeps nothing of the run alive.
struct Helper {
    run: Weak<RunCore>,
    worker: Option<Worker>,
    reserved: bool,
}

impl Helper {
    /// Gives the place back and goes; `Some` if there is work after all.
    fn leave(&mut self, run: &Arc<RunCore>) -> Option<()> {
        self.worker = None;
        if self.reserved {
            self.reserved = false;
            run.queues.release_helper();
        }
        if run.queues.gate.leave() {
            run.queues.wake_driver();
            return None;
        }
        // Whoever made work while this helper still held its place has called nobody.
        let queues = &run.queues;
        let work = queues.has_resumed() || queues.has_stealable() || queues.has_held();
        if work && !run.is_stopping() && queues.reserve_helper() {
            self.reserved = true;
            return Some(());
        }
        None
    }
}

impl Future for Helper {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(run) = self.run.upgrade() else {
            self.reserved = false;
            return Poll::Ready(());
        };
        loop {
            if self.worker.is_none() {
                if !run.queues.gate.enter() {
                    return Poll::Ready(());
                }
                self.worker = Some(Worker::new(&run));
            }
            let Some(worker) = &mut self.worker else { return Poll::Ready(()) };
            match worker.work(&run) {
                Progress::Yield => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Progress::Idle | Progress::Stopping => {
                    if self.leave(&run).is_none() {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // The runtime drops the task without another poll when it shuts down.
        if let Some(run) = self.run.upgrade() {
            if self.worker.take().is_some() && run.queues.gate.leave() {
                run.queues.wake_driver();
            }
            if self.reserved {
                run.queues.release_helper();
            }
        }
    }
}
