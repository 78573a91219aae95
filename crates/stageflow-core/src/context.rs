//! [`StageContext`]: what a stage may ask of the run it is part of.

use std::{
    any::Any,
    fmt,
    future::Future,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

use crate::{
    budget::RunBudget,
    code,
    durable::{AnyCodec, Pause},
    event::CustomEvent,
    exit::{BoxError, ErrorClass, StageExit, StageResult},
    scope::{Detached, Hold, StageScope},
    snapshot::{ContextSnapshot, Identity, SnapshotBuilder},
    stage::{StageFuture, StageKind},
    trace::{TraceContext, span_id},
    value::Value,
    wait::WaitReason,
};

/// What a stage may ask of the run it is part of. Cheap to clone; a clone may outlive the call.
///
/// ```
/// use stageflow_core::{StageContext, StageResult};
///
/// async fn copy(ctx: StageContext, pages: Vec<String>) -> StageResult<usize> {
///     ctx.on_cleanup(async { /* remove the temporary file */ Ok(()) });
///     let mut done = 0;
///     for _page in &pages {
///         ctx.checkpoint()?; // leaves here once the run is cancelled
///         done += 1;
///         ctx.emit("copy.page", [("done", done)]);
///     }
///     Ok(pages.len())
/// }
/// ```
#[derive(Clone)]
pub struct StageContext {
    scope: Arc<dyn StageScope>,
    stage: u32,
    attempt: u32,
    /// When this attempt's time is up, in nanoseconds of the run; `u64::MAX` for never.
    until: u64,
}

impl StageContext {
    /// A context without a run, for unit tests of a stage. Events and clean-ups go nowhere.
    ///
    /// ```
    /// use stageflow_core::StageContext;
    /// let ctx = StageContext::for_test();
    /// assert!(!ctx.is_cancelled());
    /// ```
    pub fn for_test() -> Self {
        Self::for_test_with(ContextSnapshot::builder())
    }

    /// A context without a run, with the identity you give. Clean-ups and events of it go nowhere: `TestContext` in
    /// `stageflow::testing` keeps them.
    pub fn for_test_with(snapshot: SnapshotBuilder) -> Self {
        let scope = Detached {
            snapshot: Arc::new(snapshot.build()),
            name: "test".to_owned(),
            token: CancellationToken::new(),
            account: OnceLock::new(),
        };
        Self { scope: Arc::new(scope), stage: 0, attempt: 1, until: u64::MAX }
    }

    #[doc(hidden)]
    #[inline]
    pub fn new(scope: Arc<dyn StageScope>, stage: u32, attempt: u32, until: u64) -> Self {
        Self { scope, stage, attempt, until }
    }

    #[doc(hidden)]
    #[inline]
    pub fn for_attempt(&self, attempt: u32, until: u64) -> Self {
        Self { scope: Arc::clone(&self.scope), stage: self.stage, attempt, until }
    }

    /// Turns it to another stage of the same worker.
    #[inline]
    pub(crate) fn renew(&mut self, stage: u32, until: u64) {
        self.stage = stage;
        self.until = until;
    }

    #[doc(hidden)]
    #[inline]
    pub fn scope(&self) -> &(dyn StageScope + 'static) {
        &*self.scope
    }

    #[doc(hidden)]
    #[inline]
    pub fn index(&self) -> u32 {
        self.stage
    }

    #[doc(hidden)]
    #[inline]
    pub fn until_nanos(&self) -> u64 {
        self.until
    }

    /// The immutable facts of the run.
    pub fn snapshot(&self) -> &ContextSnapshot {
        self.scope.snapshot()
    }

    /// The ids of the run.
    pub fn identity(&self) -> &Identity {
        self.snapshot().identity()
    }

    /// The name of this stage in the pipeline.
    pub fn stage_name(&self) -> &str {
        self.scope.stage_name(self.stage)
    }

    /// The kind of this stage in the pipeline.
    pub fn stage_kind(&self) -> StageKind {
        self.scope.stage_kind(self.stage)
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The typed extension `T` of the run.
    pub fn extension<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.snapshot().extension()
    }

    /// Time since the run started, by the run's monotonic clock.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.scope.elapsed_nanos())
    }

    /// The time of day, by the run's clock: for records of when something was. What decides anything goes by
    /// [`elapsed`](Self::elapsed), which never goes back.
    pub fn wall_time(&self) -> SystemTime {
        self.scope.wall()
    }

    /// The time on the clock of tokio, in nanoseconds since [`epoch`](crate::time::epoch), if it is known at less cost than
    /// looking there.
    #[doc(hidden)]
    #[inline]
    pub fn clock_nanos(&self) -> Option<u64> {
        self.scope.clock_nanos(self.stage)
    }

    /// The time this attempt has left under the run's deadline, the stage's timeout and the attempt's timeout,
    /// whichever ends first; `None` when none is set, zero when it is used up.
    pub fn remaining(&self) -> Option<Duration> {
        (self.until != u64::MAX)
            .then(|| Duration::from_nanos(self.until.saturating_sub(self.scope.elapsed_nanos())))
    }

    /// What is left to the run and its child runs: attempts, cost and time (rules S-19 and S-24).
    pub fn budget(&self) -> RunBudget {
        RunBudget::new(self.clone(), Arc::clone(self.scope.account()))
    }

    /// Where this attempt stands in its trace: what it calls, starts or sends has this as its parent.
    ///
    /// The trace is the one the run was given, or begins with the run: its id follows from the run's. The span's id follows from run, stage and
    /// attempt, so it is the same wherever the context goes: into tasks, threads and clean-ups. A child run is given it by
    /// itself. It is sampled if a sink of the engine records the trace, or where none does, if the caller did.
    ///
    /// ```
    /// use stageflow_core::{ContextSnapshot, StageContext, TraceContext};
    ///
    /// let caller: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse()?;
    /// let ctx = StageContext::for_test_with(ContextSnapshot::builder().trace(caller));
    /// assert_eq!(ctx.trace().trace_id(), caller.trace_id());
    /// assert_ne!(ctx.trace().span_id(), caller.span_id());
    /// # Ok::<_, stageflow_core::TraceContextError>(())
    /// ```
    pub fn trace(&self) -> TraceContext {
        let run = self.identity().run_id();
        let (span, sampled) = (span_id(run, self.stage, self.attempt), self.scope.is_sampled());
        match self.snapshot().trace() {
            Some(trace) => trace.within(span, sampled),
            None => TraceContext::of_run(run, span, sampled),
        }
    }

    /// [`trace`](Self::trace) as the value of a W3C `traceparent` header, for outgoing requests.
    pub fn traceparent(&self) -> String {
        self.trace().to_string()
    }

    /// How long this stage may still wait before an attempt that takes its least time could not end in time: what
    /// [`remaining`](Self::remaining) leaves beside the stage's `min_time`. `None` without an end, zero if nothing may be waited for.
    ///
    /// Whatever waits on behalf of an attempt (a queue, a back-off) waits for less than this (rule S-15).
    pub fn slack(&self) -> Option<Duration> {
        Some(self.remaining()?.saturating_sub(self.scope.min_time(self.stage)))
    }

    /// Says that this attempt gets on, for a stage with an idle timeout: what counts is the time since the last such sign.
    ///
    /// A sign is this call, an event by [`emit`](Self::emit), and in a stage that is a pipeline whatever ends, waits or shows
    /// progress in its child run. The sign of an attempt that is over counts for nothing. It costs one look at the clock and a
    /// store where the stage has an idle timeout or is part of one that has, and nothing else; any thread may call it.
    ///
    /// ```
    /// use stageflow_core::{StageContext, StageResult};
    ///
    /// async fn import(ctx: StageContext, pages: Vec<String>) -> StageResult<usize> {
    ///     let mut letters = 0;
    ///     for page in &pages {
    ///         letters += page.len();
    ///         ctx.progress();
    ///     }
    ///     Ok(letters)
    /// }
    /// ```
    pub fn progress(&self) {
        self.scope.progress(self.stage, self.attempt);
    }

    /// Whether the run is being cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.scope.is_cancelled()
    }

    /// Why the run is being cancelled, if it is.
    pub fn cancel_reason(&self) -> Option<String> {
        self.scope.cancel_reason()
    }

    /// Completes when the run is cancelled. Of use to stages that asked for a grace; all others are dropped at
    /// their next `.await` anyway.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        self.scope.cancellation().cancelled_owned()
    }

    /// Leaves the stage once the run is cancelled or the attempt's time is up: for code that computes long
    /// without an `.await`.
    ///
    /// # Errors
    ///
    /// A [`StageExit`] to be returned with `?`.
    pub fn checkpoint(&self) -> StageResult<()> {
        if self.is_cancelled() {
            let reason = self.cancel_reason().unwrap_or_else(|| "the run was cancelled".to_owned());
            return Err(StageExit::cancel(reason));
        }
        if self.remaining().is_some_and(|left| left.is_zero()) {
            let error = BoxError::from("the time for this attempt is used up");
            return Err(StageExit::failure(code::ATTEMPT_TIMEOUT, ErrorClass::Timeout, error));
        }
        Ok(())
    }

    /// Registers a clean-up: awaited exactly once after every stage of the run has stopped, in reverse order of
    /// registration, however the run ends (rules S-16 and S-17). Its failure is listed in the report and changes no outcome.
    pub fn on_cleanup<Fut>(&self, clean_up: Fut)
    where
        Fut: Future<Output: CleanUpResult> + Send + 'static,
    {
        let clean_up = async { clean_up.await.into_result() };
        self.scope.on_cleanup(self.stage, Box::pin(clean_up));
    }

    /// Keeps the run from starting its clean-up until the returned guard is dropped: for work of this stage
    /// that goes on elsewhere, such as on a thread.
    pub fn hold(&self) -> Hold {
        self.scope.hold(self.stage)
    }

    /// Emits an event of your own. It cannot fail and does not wait (rule S-29). Put no payloads into the fields.
    pub fn emit<K, V>(&self, name: impl Into<String>, fields: impl IntoIterator<Item = (K, V)>)
    where
        K: Into<String>,
        V: Into<crate::event::FieldValue>,
    {
        self.scope.emit(self.stage, self.attempt, CustomEvent::new(name, fields));
    }

    /// Emits an event about this stage: `stage.<what>`.
    pub fn record_stage_event<K, V>(&self, what: &str, fields: impl IntoIterator<Item = (K, V)>)
    where
        K: Into<String>,
        V: Into<crate::event::FieldValue>,
    {
        self.emit(format!("stage.{what}"), fields);
    }

    /// Says what this stage waits for until the guard is dropped; shown by `explain()`.
    #[doc(hidden)]
    pub fn waiting(&self, reason: WaitReason) -> Waiting {
        self.scope.set_wait(self.stage, Some(reason));
        Waiting(self.clone())
    }

    /// Tells that another attempt follows after `delay`; `explain()` shows it until the guard is dropped.
    #[doc(hidden)]
    pub fn backing_off(
        &self,
        next_attempt: u32,
        delay: Duration,
        reason: String,
        code: Option<code::Code>,
        breaker: Option<String>,
    ) -> Waiting {
        let fields = [
            ("attempt", next_attempt.to_string()),
            ("delay_ms", delay.as_millis().to_string()),
            ("reason", reason.clone()),
        ];
        let code = code.map(|code| ("code", code.as_str().to_owned()));
        self.record_stage_event("retry_scheduled", fields.into_iter().chain(code));
        self.waiting(WaitReason::BackOff { next_attempt, remaining: delay, last_error: reason, breaker })
    }

    /// A random number of the run's own source: the seed's, where the engine has one.
    pub fn random_u64(&self) -> u64 {
        self.scope.random(self.stage, self.attempt)
    }

    /// How many attempts of the stage were made before the run was resumed, in other processes: a policy that counts attempts
    /// counts them as well.
    pub fn spent_attempts(&self) -> u32 {
        self.scope.spent_attempts(self.stage)
    }

    /// Waits for an answer from outside, for as long as it takes: the process may end meanwhile, and the run be resumed in another.
    /// The stage is called again then, from its beginning, and finds the answer here as soon as there is one.
    ///
    /// A run may have any number of pauses at a time, each with a token of its own; asked twice, a pause is the same. What answers is
    /// `Engine::answer`, or any other process with the same journal.
    ///
    /// # Errors
    ///
    /// `PAUSE_EXPIRED` when its time has ended without an answer, `NO_JOURNAL` in a run without a journal, `NOT_READABLE` for an answer
    /// that is no `T`, and whatever the journal is in trouble with.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the pause stays open.
    pub async fn pause<T: Serialize + DeserializeOwned>(&self, pause: &Pause<T>) -> StageResult<T> {
        let answer = self.scope.pause(self, pause.token().to_owned(), pause.time()).await?;
        pause
            .codec()
            .decode(&answer)
            .map_err(|error| StageExit::failure(code::NOT_READABLE, ErrorClass::Permanent, error.into()))
    }

    /// How the output of the stage leaves the process: by [`durable`](crate::durable), or if it is said to be stored.
    pub fn codec(&self) -> Option<&AnyCodec> {
        self.scope.codec(self.stage)
    }

    #[doc(hidden)]
    pub fn run_child(&self, plan: Arc<dyn Any + Send + Sync>, input: Value) -> StageFuture {
        self.scope.run_child(self, plan, input)
    }
}

impl fmt::Debug for StageContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageContext")
            .field("run", &self.identity().run_id())
            .field("stage", &self.stage_name())
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// What a clean-up may give: nothing, or a `Result` of any boxed error.
pub trait CleanUpResult {
    #[doc(hidden)]
    fn into_result(self) -> Result<(), BoxError>;
}

impl CleanUpResult for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl CleanUpResult for Result<(), BoxError> {
    fn into_result(self) -> Self {
        self
    }
}

/// Ends a wait reason when dropped.
#[doc(hidden)]
#[derive(Debug)]
pub struct Waiting(StageContext);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.scope.set_wait(self.0.stage, None);
    }
}
