//! What a context asks of the engine: implemented by the executor, and by a stand-in for tests.
//!
//! Hidden from the documentation: it is the seam between the vocabulary and the executor, not an API.

use std::{
    any::Any,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;

use crate::{
    budget::account::Account,
    code,
    context::StageContext,
    durable::{AnyCodec, Encoded},
    event::CustomEvent,
    exit::{BoxError, ErrorClass, StageExit, StageResult},
    input::Inputs,
    outcome::RunOutcome,
    slot::FutureSlot,
    snapshot::ContextSnapshot,
    stage::{ErasedStage, Stage, StageFuture, StageKind},
    time::wall_now,
    trace::TraceContext,
    value::Value,
    wait::WaitReason,
};

/// A clean-up, ready to be awaited.
#[doc(hidden)]
pub type CleanUp = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// The answer of a pause, on its way.
#[doc(hidden)]
pub type Answering = Pin<Box<dyn Future<Output = StageResult<Encoded>> + Send>>;

/// One worker's view of one run.
#[doc(hidden)]
pub trait StageScope: Send + Sync {
    fn snapshot(&self) -> &Arc<ContextSnapshot>;
    fn stage_name(&self, stage: u32) -> &str;
    fn stage_kind(&self, stage: u32) -> StageKind;
    fn stage(&self, stage: u32) -> Option<&dyn ErasedStage>;
    fn is_cancelled(&self) -> bool;
    fn cancel_reason(&self) -> Option<String>;
    fn cancellation(&self) -> CancellationToken;
    fn emit(&self, stage: u32, attempt: u32, event: CustomEvent);
    fn on_cleanup(&self, stage: u32, clean_up: CleanUp);
    fn hold(&self, stage: u32) -> Hold;
    fn elapsed_nanos(&self) -> u64;
    /// The time of day.
    fn wall(&self) -> SystemTime {
        wall_now()
    }
    /// The time on the clock of tokio since [`epoch`](crate::time::epoch), if it is known at less cost than looking there.
    fn clock_nanos(&self, _stage: u32) -> Option<u64> {
        None
    }
    /// The stage gets on.
    fn progress(&self, _stage: u32, _attempt: u32) {}
    /// What an attempt of the stage takes at least.
    fn min_time(&self, _stage: u32) -> Duration {
        Duration::ZERO
    }
    fn random(&self, stage: u32, attempt: u32) -> u64;
    /// How many attempts of the stage were made before the run was resumed.
    fn spent_attempts(&self, _stage: u32) -> u32 {
        0
    }
    /// Waits for the answer of a pause.
    fn pause(&self, ctx: &StageContext, token: String, expires_in: Option<Duration>) -> Answering;
    /// Whether somebody records the trace of the run.
    fn is_sampled(&self) -> bool {
        self.snapshot().trace().is_some_and(TraceContext::is_sampled)
    }
    /// The account of the run's budget.
    fn account(&self) -> &Arc<Account>;
    /// An attempt says what it has cost: `false` if nothing is reserved for it.
    fn settle(&self, stage: u32, attempt: u32, actual: u64) -> bool;
    /// How the output of the stage leaves the process, if it may.
    fn codec(&self, _stage: u32) -> Option<&AnyCodec> {
        None
    }
    /// How the run ends, for its clean-ups: before them nobody knows. `None` without a run.
    fn outcome(&self) -> Option<RunOutcome> {
        None
    }
    fn set_wait(&self, stage: u32, reason: Option<WaitReason>);
    fn attempt(&self, slot: &mut FutureSlot, ctx: &StageContext, attempt: u32, inputs: Option<Inputs>);
    fn run_child(&self, ctx: &StageContext, plan: Arc<dyn Any + Send + Sync>, input: Value) -> StageFuture;
}

impl dyn StageScope {
    /// The stage at `index`, if it is an `S`.
    #[doc(hidden)]
    pub fn stage_as<S: Stage>(&self, index: u32) -> Option<&S> {
        (self.stage(index)? as &dyn Any).downcast_ref()
    }
}

/// Keeps a run from starting its clean-up until it is dropped.
#[must_use = "the run goes on to its clean-up as soon as the hold is dropped"]
pub struct Hold(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Hold {
    #[doc(hidden)]
    pub fn new(release: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(release)))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release();
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hold")
    }
}

/// A run of nothing: lets a stage be called on its own, in a unit test.
pub(crate) struct Detached {
    pub(crate) snapshot: Arc<ContextSnapshot>,
    pub(crate) name: String,
    pub(crate) token: CancellationToken,
    pub(crate) account: OnceLock<Arc<Account>>,
}

impl StageScope for Detached {
    fn snapshot(&self) -> &Arc<ContextSnapshot> {
        &self.snapshot
    }

    fn stage_name(&self, _: u32) -> &str {
        &self.name
    }

    fn stage_kind(&self, _: u32) -> StageKind {
        StageKind::Transform
    }

    fn stage(&self, _: u32) -> Option<&dyn ErasedStage> {
        None
    }

    fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    fn cancel_reason(&self) -> Option<String> {
        self.is_cancelled().then(|| "cancelled".to_owned())
    }

    fn cancellation(&self) -> CancellationToken {
        self.token.clone()
    }

    fn emit(&self, _: u32, _: u32, _: CustomEvent) {}

    fn on_cleanup(&self, _: u32, _: CleanUp) {}

    fn hold(&self, _: u32) -> Hold {
        Hold(None)
    }

    fn elapsed_nanos(&self) -> u64 {
        0
    }

    fn random(&self, _: u32, _: u32) -> u64 {
        rand::random()
    }

    fn pause(&self, _: &StageContext, _: String, _: Option<Duration>) -> Answering {
        Box::pin(async { Err(no_journal()) })
    }

    fn account(&self) -> &Arc<Account> {
        self.account.get_or_init(|| self.snapshot.budget().open(1))
    }

    fn settle(&self, _: u32, _: u32, actual: u64) -> bool {
        self.account().settle(0, actual);
        true
    }

    fn set_wait(&self, _: u32, _: Option<WaitReason>) {}

    fn attempt(&self, slot: &mut FutureSlot, _: &StageContext, _: u32, _: Option<Inputs>) {
        slot.put(no_engine());
    }

    fn run_child(&self, _: &StageContext, _: Arc<dyn Any + Send + Sync>, _: Value) -> StageFuture {
        no_engine()
    }
}

/// A run without a journal cannot wait for an answer: nobody could give it.
#[doc(hidden)]
pub fn no_journal() -> StageExit {
    let error = "the run has no journal, so nobody could answer";
    StageExit::failure(code::NO_JOURNAL, ErrorClass::Permanent, error.into()).hint(
        "give the engine a journal, and mark a stage of the pipeline `.durable()` or have every run written",
    )
}

fn no_engine() -> StageFuture {
    Box::pin(async { StageResult::Err(StageExit::internal("a detached context has no engine")) })
}
