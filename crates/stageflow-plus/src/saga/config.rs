//! [`Saga`]: its name, and how what was done is undone.

use std::{fmt, sync::Arc, time::Duration};

use stageflow_core::Backoff;

use super::{SagaDesk, SagaReport};

/// What becomes of the steps before one that cannot be undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnStuck {
    /// They stay done: what was built on them still stands.
    #[default]
    Stop,
    /// They are undone as well.
    GoOn,
}

pub(super) type OnEnd = Arc<dyn Fn(&SagaReport) + Send + Sync>;

/// Steps, each with an action and an undo: all of them are done, or those that were are undone.
///
/// It is a description, to be used by any number of runs at a time: [`run`](Self::run) within the code of a stage,
/// [`first`](Self::first) for a stage that is a sequence of typed steps, and [`RunSaga`](super::RunSaga) across stages.
///
/// # Guarantees
///
/// - When the body leaves without an output, by failure, skip, panic or whatever else, every step that was done is undone, in reverse
///   order of completion and one after the other, before the stage leaves. Its own way out stays what it was, so that it can be tried again.
/// - When its future is dropped, because the run is cancelled, out of time or dropped, or the attempt is, the same is done by the
///   clean-up of the run, within its budget. An undo that is on its way then goes on for up to
///   [`finish_within`](Self::finish_within), and is called again by the clean-up if it has not ended.
/// - A step whose action was on its way then may end first, for up to [`finish_within`](Self::finish_within), and is undone if it is done.
///   If it does not end, nobody knows what it has done: it is *in doubt*.
/// - An undo is called again until it succeeds once, as often as [`undo_attempts`](Self::undo_attempts) says; after that the step is
///   *stuck*. So an undo has to be idempotent.
/// - A saga with a step that is stuck or in doubt ends as stuck: as the failure `SAGA_STUCK` of the stage, or as a failed clean-up;
///   as the event `saga.stuck`; and on its [`desk`](Self::desk), from where it can be resumed.
///
/// # Limits
///
/// It lives in the memory of the process: what a crash interrupts is not undone. An action that fails or panics counts as not done: it has
/// to leave nothing behind. A child run that completed is not undone with its parent: give the parent's stage an undo.
///
/// # Events
///
/// `saga.committed`, `saga.undone`, `saga.undo_retried`, `saga.rolled_back`, and `saga.stuck`, which is of the class that is never
/// dropped for others.
#[derive(Clone)]
#[must_use = "a saga does nothing before it is run"]
pub struct Saga(pub(super) Arc<Config>);

#[derive(Clone)]
pub(super) struct Config {
    pub(super) name: Arc<str>,
    pub(super) attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) undo_timeout: Duration,
    pub(super) finish_within: Duration,
    pub(super) on_stuck: OnStuck,
    pub(super) desk: Option<SagaDesk>,
    pub(super) on_end: Option<OnEnd>,
}

impl Saga {
    /// A saga with a name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(Arc::new(Config {
            name: name.into(),
            attempts: Backoff::ATTEMPTS,
            backoff: Backoff::default(),
            undo_timeout: Duration::from_secs(5),
            finish_within: Duration::from_secs(2),
            on_stuck: OnStuck::Stop,
            desk: None,
            on_end: None,
        }))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    fn with(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(Arc::make_mut(&mut self.0));
        self
    }

    /// How often an undo is called in total if it fails in a way that may pass; 3 times unless set, and at least once.
    pub fn undo_attempts(self, attempts: u32) -> Self {
        self.with(|config| config.attempts = attempts.max(1))
    }

    /// How long to wait before an undo is called again; [`Backoff::default`] unless set.
    pub fn undo_backoff(self, backoff: Backoff) -> Self {
        self.with(|config| config.backoff = backoff)
    }

    /// How long one call of an undo may take; 5 s unless set. After it the call has failed, and may be made again.
    pub fn undo_timeout(self, time: Duration) -> Self {
        self.with(|config| config.undo_timeout = time)
    }

    /// How long an action that is on its way when its saga ends may take to its own end; 2 s unless set. With zero it is dropped. If the
    /// stage was dropped, the run does not begin its clean-up before that.
    pub fn finish_within(self, time: Duration) -> Self {
        self.with(|config| config.finish_within = time)
    }

    /// What becomes of the steps before one that cannot be undone; [`OnStuck::Stop`] unless set.
    pub fn on_stuck(self, what: OnStuck) -> Self {
        self.with(|config| config.on_stuck = what)
    }

    /// Where sagas that are stuck are put, to be looked at and resumed.
    pub fn desk(self, desk: &SagaDesk) -> Self {
        self.with(|config| config.desk = Some(desk.clone()))
    }

    /// Is told of every end, once each. A panic of it is ignored.
    pub fn on_end(self, told: impl Fn(&SagaReport) + Send + Sync + 'static) -> Self {
        self.with(|config| config.on_end = Some(Arc::new(told)))
    }
}

impl fmt::Debug for Saga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saga")
            .field("name", &self.0.name)
            .field("undo_attempts", &self.0.attempts)
            .field("undo_timeout", &self.0.undo_timeout)
            .field("finish_within", &self.0.finish_within)
            .field("on_stuck", &self.0.on_stuck)
            .finish_non_exhaustive()
    }
}
