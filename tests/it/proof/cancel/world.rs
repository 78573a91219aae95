//! The points of a run at which something can go wrong: every poll of every stage and clean-up.

use std::{
    future::{Future, poll_fn},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
};

use stageflow::{StageContext, StageExit, StageResult};

use super::{
    super::{ON_PURPOSE, pause::Time},
    ledger::{Ledger, Scope},
};

/// Which code is polled at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Nobody's: the run has not been polled yet.
    Start,
    Stage,
    CleanUp(Scope),
}

/// What the polled stage itself does at its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Fail,
    Panic,
    Cancel,
}

/// What happens at the chosen point.
pub(crate) enum Fault {
    /// Somebody else does something to the run.
    Outside(Box<dyn FnOnce() + Send>),
    /// The stage leaves; a clean-up goes on.
    Inside(Exit),
}

/// What the stages of one run share.
pub(crate) struct World {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) time: Time,
    polls: AtomicUsize,
    /// At which poll, counted from 1.
    at: usize,
    fault: Mutex<Option<Fault>>,
    fired: Mutex<Vec<Point>>,
}

impl World {
    pub(crate) fn new(time: Time, at: usize, fault: Option<Fault>) -> Arc<Self> {
        Arc::new(Self {
            ledger: Arc::default(),
            time,
            polls: AtomicUsize::new(0),
            at,
            fault: Mutex::new(fault),
            fired: Mutex::default(),
        })
    }

    pub(crate) fn polls(&self) -> usize {
        self.polls.load(SeqCst)
    }

    /// Where the fault was fired: once, or never if the run was over before.
    pub(crate) fn fired(&self) -> Vec<Point> {
        self.fired.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// Before the first poll.
    pub(crate) fn start(&self) {
        if self.at == 0 {
            self.fire(Point::Start);
        }
    }

    fn step(&self, point: Point) -> Option<Exit> {
        if self.polls.fetch_add(1, SeqCst) + 1 == self.at { self.fire(point) } else { None }
    }

    fn fire(&self, point: Point) -> Option<Exit> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        self.fired.lock().unwrap_or_else(PoisonError::into_inner).push(point);
        match fault {
            Fault::Outside(act) => {
                act();
                None
            }
            Fault::Inside(exit) => Some(exit),
        }
    }

    /// A stage whose every poll is a point.
    pub(crate) fn watch<T, F>(
        self: &Arc<Self>,
        scope: Scope,
        stage: F,
    ) -> impl Future<Output = StageResult<T>> + Send + use<T, F>
    where
        F: Future<Output = StageResult<T>> + Send,
    {
        let (world, live) = (Arc::clone(self), self.ledger.live(scope));
        let mut stage = Box::pin(stage);
        poll_fn(move |cx| {
            let _exists = &live;
            match world.step(Point::Stage) {
                None => stage.as_mut().poll(cx),
                Some(Exit::Fail) => Poll::Ready(Err(StageExit::fail(ON_PURPOSE))),
                Some(Exit::Cancel) => Poll::Ready(Err(StageExit::cancel(ON_PURPOSE))),
                Some(Exit::Panic) => panic!("{ON_PURPOSE}"),
            }
        })
    }

    /// Acquires something that a clean-up releases, every poll of which is a point.
    pub(crate) fn until_the_end(
        self: &Arc<Self>,
        ctx: &StageContext,
        scope: Scope,
        what: &'static str,
        millis: u8,
    ) {
        let world = Arc::clone(self);
        let mut pause = Box::pin(async move { world.time.pass(millis).await });
        let world = Arc::clone(self);
        let pause = poll_fn(move |cx| {
            // A clean-up that is polled has its own way of failing, which is not the run's.
            world.step(Point::CleanUp(scope));
            pause.as_mut().poll(cx)
        });
        self.ledger.acquire_until_the_end(ctx, scope, what, pause);
    }
}
