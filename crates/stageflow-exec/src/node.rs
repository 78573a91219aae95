//! A stage whose future is pending: who wakes it, where it waits.

use std::{
    future::Future as _,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use stageflow_core::{Code, ErrorClass, StageExit, StageResult, code, slot::FutureSlot};
use tokio::time::Sleep;

use crate::{helper, protocol::TaskState, run::RunCore, timer};

/// A task of the run: the waker of one stage and, while it is pending, its future.
///
/// A worker polls every stage with a node it has at hand. Only a stage that stays pending, or that keeps the waker, takes the
/// node with it; for all others the node serves the next stage, so they cost no allocation.
#[derive(Debug)]
pub(crate) struct Node {
    /// Not its owner: whoever keeps a waker keeps nothing of the run.
    run: Weak<RunCore>,
    stage: AtomicU32,
    pub(crate) task: TaskState,
    body: Mutex<Option<Body>>,
    /// Where the run keeps it.
    pub(crate) key: AtomicUsize,
}

/// The future of a pending stage, and the timer that ends it.
pub(crate) struct Body {
    /// Wakes the node this is the body of; taken out with the body, so that it keeps nothing alive.
    pub(crate) waker: Waker,
    pub(crate) future: FutureSlot,
    pub(crate) timer: Option<Timer>,
}

/// As good as never.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

/// Ends a stage or an attempt.
pub(crate) struct Timer {
    pub(crate) sleep: Pin<Box<Sleep>>,
    pub(crate) code: Code,
}

impl Timer {
    /// # Errors
    ///
    /// A runtime without timers, which is known of a run's own stages before it starts, but not of those of a child run.
    pub(crate) fn new(after: Duration, code: Code) -> StageResult<Self> {
        match timer::sleep(after) {
            Some(sleep) => Ok(Self { sleep, code }),
            None => {
                let error = "it has a timeout, and the runtime has no timer".into();
                Err(StageExit::failure(code::NO_RUNTIME, ErrorClass::Invalid, error))
            }
        }
    }

    /// Sets it to go off after so long from now, a millisecond at least: an engine's clock that runs behind tokio's makes no
    /// busy loop.
    pub(crate) fn wind(&mut self, after: Duration) {
        let now = tokio::time::Instant::now();
        let at = now.checked_add(after.max(Duration::from_millis(1))).unwrap_or(now + FAR);
        let _shut_down = catch_unwind(AssertUnwindSafe(|| self.sleep.as_mut().reset(at)));
    }

    /// Whether the time is up. It never is on a runtime that shuts down, where tokio panics.
    pub(crate) fn is_up(&mut self, cx: &mut Context<'_>) -> bool {
        let polled = catch_unwind(AssertUnwindSafe(|| self.sleep.as_mut().poll(cx)));
        matches!(polled, Ok(Poll::Ready(())))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body")
    }
}

impl Node {
    pub(crate) fn new(run: &Arc<RunCore>) -> Arc<Self> {
        Arc::new(Self {
            run: Arc::downgrade(run),
            stage: AtomicU32::new(u32::MAX),
            task: TaskState::running(),
            body: Mutex::new(None),
            key: AtomicUsize::new(usize::MAX),
        })
    }

    pub(crate) fn stage(&self) -> u32 {
        self.stage.load(Ordering::Relaxed)
    }

    pub(crate) fn set_stage(&self, stage: u32) {
        self.stage.store(stage, Ordering::Relaxed);
    }

    pub(crate) fn put_body(&self, body: Body) {
        *self.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    pub(crate) fn take_body(&self) -> Option<Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Queues it, and sees to it that somebody comes.
    pub(crate) fn queue(self: Arc<Self>) {
        let Some(run) = self.run.upgrade() else { return };
        run.queues.push_resumed(self);
        if !helper::wake_parked_driver(&run) && !run.queues.is_closed() {
            helper::call_one(&run);
        }
    }
}

impl Wake for Node {
    fn wake(self: Arc<Self>) {
        if self.task.notify() {
            self.queue();
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.task.notify() {
            Arc::clone(self).queue();
        }
    }
}

/// A node at hand, with its waker.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) node: Arc<Node>,
    pub(crate) waker: Waker,
}

impl Spare {
    pub(crate) fn new(run: &Arc<RunCore>) -> Self {
        let node = Node::new(run);
        Self { waker: Waker::from(Arc::clone(&node)), node }
    }

    /// Whether nobody but this spare can wake the node, so that it may serve another stage.
    pub(crate) fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.node) == 2
    }
}
