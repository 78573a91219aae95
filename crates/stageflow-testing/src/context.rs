//! [`TestContext`]: the context of a stage that is tested on its own, in one call, with a record of what the stage asked of it.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use stageflow_core::{
    Budget, ContextSnapshot, CorrelationId, CustomEvent, InteractionId, Priority, RequestId, RunId,
    SessionId, SnapshotBuilder, Stage, StageContext, StageKind, StageResult, TenantId, TraceContext, UserId,
    WaitReason, time::nanos,
};

mod called;
mod scope;
#[cfg(test)]
mod tests;

pub use called::Called;
use scope::{Record, TestScope};

/// A context for a stage that is tested on its own. Nothing is mandatory, and everything that is asked of it is recorded.
///
/// What [`StageContext::for_test`] throws away is kept here: events, clean-ups, holds, and what the stage waits for. The time
/// is tokio's, counted from [`new`](Self::new). Random numbers come from a seed and are the same each time.
///
/// Settings count for the contexts that are made after them. All contexts of one `TestContext` are of one run: they share
/// its id, its record and its cancellation. A pipeline in the place of a stage needs an engine, and fails here.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{Stage, StageContext, stage_fn};
/// use stageflow_testing::TestContext;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let greet = stage_fn(|ctx: StageContext, name: Arc<String>| async move {
///     ctx.emit("greet.said", [("letters", name.len())]);
///     Ok(format!("{name} of {}", ctx.identity().tenant_id().map_or("nowhere", |tenant| tenant.as_str())))
/// });
///
/// let test = TestContext::new().tenant("acme");
/// let said = greet.run(&test.context(), Arc::new("Ada".to_owned())).await;
/// assert_eq!(said.ok().as_deref(), Some("Ada of acme"));
/// assert_eq!(test.events()[0].name(), "greet.said");
/// # });
/// # Ok::<_, std::io::Error>(())
/// ```
#[must_use = "it is of use by its `context`"]
pub struct TestContext {
    snapshot: SnapshotBuilder,
    name: String,
    kind: StageKind,
    attempt: u32,
    deadline: Option<Duration>,
    attempt_timeout: Option<Duration>,
    record: Arc<Record>,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident: $ty:ty,)*) => {$(
        $(#[$doc])*
        pub fn $name(self, value: impl Into<$ty>) -> Self {
            self.edit(|snapshot| snapshot.$name(value))
        }
    )*};
}

impl TestContext {
    /// A context of nobody, without a deadline, for the first attempt of a stage named `test`.
    pub fn new() -> Self {
        Self {
            snapshot: ContextSnapshot::builder().run(RunId::new()),
            name: "test".to_owned(),
            kind: StageKind::default(),
            attempt: 1,
            deadline: None,
            attempt_timeout: None,
            record: Arc::new(Record::new(0)),
        }
    }

    /// The name of the stage.
    pub fn stage(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The kind of the stage.
    pub fn kind(mut self, kind: StageKind) -> Self {
        self.kind = kind;
        self
    }

    /// The number of the attempt.
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// The seed of the random numbers; 0 without a call. They begin again.
    pub fn seed(self, seed: u64) -> Self {
        self.record.seed(seed);
        self
    }

    /// How long the run may take, from [`new`](Self::new) on.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self.edit(|snapshot| snapshot.deadline(deadline))
    }

    /// The time of one attempt, from the moment its [`context`](Self::context) is made.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    ids! {
        /// Sets the tenant.
        tenant: TenantId,
        /// Sets the user.
        user: UserId,
        /// Sets the request.
        request: RequestId,
        /// Sets the session.
        session: SessionId,
        /// Sets the interaction.
        interaction: InteractionId,
        /// Sets the correlation id.
        correlation: CorrelationId,
        /// Sets the trace the run belongs to.
        trace: TraceContext,
        /// Sets the run's id; a new one is made otherwise.
        run: RunId,
        /// Sets the pipeline's name.
        pipeline: Arc<str>,
        /// Sets the execution mode.
        execution_mode: Arc<str>,
    }

    /// Sets the priority.
    pub fn priority(self, priority: Priority) -> Self {
        self.edit(|snapshot| snapshot.priority(priority))
    }

    /// Adds metadata.
    pub fn metadata(self, key: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.edit(|snapshot| snapshot.metadata(key, value))
    }

    /// Sets the budget of the run, of which the stage is the only one. All contexts share what the first that asks for it has.
    pub fn budget(self, budget: Budget) -> Self {
        self.edit(|snapshot| snapshot.budget(budget))
    }

    /// Adds a typed extension that the stage reads by [`StageContext::extension`].
    pub fn extension<T: Any + Send + Sync>(self, value: T) -> Self {
        self.edit(|snapshot| snapshot.extension(value))
    }

    fn edit(mut self, edit: impl FnOnce(SnapshotBuilder) -> SnapshotBuilder) -> Self {
        self.snapshot = edit(self.snapshot);
        self
    }

    /// A context with the settings so far.
    pub fn context(&self) -> StageContext {
        let scope = TestScope {
            snapshot: Arc::new(self.snapshot.clone().build()),
            name: self.name.clone(),
            kind: self.kind,
            record: Arc::clone(&self.record),
        };
        let attempt = self.attempt_timeout.map(|timeout| self.record.elapsed().saturating_add(timeout));
        let until = [self.deadline, attempt].into_iter().flatten().min().map_or(u64::MAX, nanos);
        StageContext::new(Arc::new(scope), 0, self.attempt, until)
    }

    /// Cancels the run. The first reason counts. Unlike an engine this drops no future: that is the test's part.
    pub fn cancel(&self, reason: impl Into<String>) {
        self.record.cancel(reason.into());
    }

    /// The events emitted so far, in their order.
    pub fn events(&self) -> Vec<CustomEvent> {
        self.record.lock().events.clone()
    }

    /// The names of the events emitted so far, each with its stage, as [`Recorder::lines`](stageflow_core::Recorder::lines)
    /// gives them.
    pub fn lines(&self) -> Vec<String> {
        let state = self.record.lock();
        state
            .events
            .iter()
            .zip(&state.stages)
            .map(|(event, stage)| format!("{} {stage}", event.name()))
            .collect()
    }

    /// How often [`StageContext::progress`] was called so far.
    pub fn progress(&self) -> usize {
        self.record.lock().signs
    }

    /// How many holds are held at the moment.
    pub fn holds(&self) -> usize {
        self.record.lock().holds
    }

    /// How many clean-ups wait for [`run_clean_ups`](Self::run_clean_ups).
    pub fn clean_ups(&self) -> usize {
        self.record.lock().clean_ups.len()
    }

    /// What the stage waits for at the moment, where it says so.
    pub fn waiting(&self) -> Option<WaitReason> {
        self.record.lock().waiting.clone()
    }

    /// All reasons to wait that the stage gave so far, in their order.
    pub fn wait_reasons(&self) -> Vec<WaitReason> {
        self.record.lock().waits.clone()
    }

    /// Runs the clean-ups registered so far, and those they register, in reverse order of registration; each runs once.
    /// Gives what went wrong, in the order of running. A panic is a failure.
    ///
    /// An engine waits for the holds first. This does not, so that a test sees what it has.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the clean-up that is running; the others stay.
    pub async fn run_clean_ups(&self) -> Vec<String> {
        self.record.run_clean_ups().await
    }

    /// Calls a stage once, runs its clean-ups, and gives its result with everything recorded so far.
    ///
    /// Like an engine it waits for the holds of the stage before the clean-ups.
    ///
    /// # Panics
    ///
    /// Where the stage panics: a test sees the panic itself.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the call; the clean-ups stay.
    pub async fn call<S: Stage>(&self, stage: &S, input: S::Input) -> Called<S::Output> {
        let context = self.context();
        let result: StageResult<S::Output> = stage.run(&context, input).await;
        self.record.released().await;
        let clean_up_failures = self.run_clean_ups().await;
        Called { result, events: self.events(), clean_up_failures }
    }

    /// Waits until nothing is held.
    pub(crate) async fn released(&self) {
        self.record.released().await;
    }
}

/// Calls a stage once with a [`TestContext`], runs its clean-ups, and gives its result with what it emitted.
///
/// # Panics
///
/// Where the stage panics.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{StageContext, stage_fn};
/// use stageflow_testing::call;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let double = stage_fn(|ctx: StageContext, n: Arc<u32>| async move {
///     ctx.emit("doubled", [("n", *n)]);
///     Ok(*n * 2)
/// });
/// let called = call(&double, Arc::new(21)).await;
/// assert_eq!(called.result.ok(), Some(42));
/// assert_eq!(called.events.len(), 1);
/// # });
/// # Ok::<_, std::io::Error>(())
/// ```
pub async fn call<S: Stage>(stage: &S, input: S::Input) -> Called<S::Output> {
    TestContext::new().kind(S::KIND).call(stage, input).await
}

impl Default for TestContext {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestContext")
            .field("stage", &self.name)
            .field("attempt", &self.attempt)
            .field("events", &self.record.lock().events.len())
            .finish_non_exhaustive()
    }
}
