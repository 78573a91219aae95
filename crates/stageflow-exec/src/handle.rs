//! Asking for a run, awaiting it, watching it, stopping it.

use std::{
    any::Any,
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use stageflow_core::{
    Budget, CancelCause, CorrelationId, InteractionId, Keep, Priority, RequestId, RunId, RunInfo, SessionId,
    SnapshotBuilder, TenantId, TraceContext, UserId, Value, code,
};
use stageflow_dag::{
    Pipeline,
    plan::{Plan, StageSettings},
};
use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    admission::BackpressureMonitor,
    begin, chains,
    completed::Completed,
    driver::Driver,
    durable::{self, RunLog},
    ending::EndCause,
    engine::Engine,
    entries::Entries,
    error::RunError,
    explain::Explanation,
    run::{RunCore, Seed},
    sinks::{EventStream, Queue},
    timer,
};

/// How many events a handle keeps for a stream that is not read.
const STREAM_CAPACITY: usize = 65_536;

/// Runs a pipeline without an engine of one's own.
pub trait PipelineExt<I, O> {
    /// Runs it on `input`; settle the options, then `.await` it.
    fn run(&self, input: I) -> RunBuilder<O>;

    /// Starts it on a task of its own.
    fn start(&self, input: I) -> RunHandle<O>;
}

impl<I, O> PipelineExt<I, O> for Pipeline<I, O>
where
    I: Send + Sync + 'static,
    O: Send + Sync + 'static,
{
    fn run(&self, input: I) -> RunBuilder<O> {
        Engine::plain().run(self, input)
    }

    fn start(&self, input: I) -> RunHandle<O> {
        Engine::plain().start(self, input)
    }
}

/// A run to be: everything is optional. `.await` runs it in the caller's task, [`start`](Self::start) on one of its own.
///
/// # Cancel safety
///
/// Dropping the future cancels the run; its clean-ups are awaited on the runtime (S-18).
#[must_use = "a run does nothing until it is awaited or started"]
pub struct RunBuilder<O> {
    engine: Engine,
    plan: Arc<Plan>,
    input: Value,
    /// What was set; most runs set nothing.
    snapshot: Option<Box<SnapshotBuilder>>,
    keep: Option<Keep>,
    max_in_flight: Option<u32>,
    has_deadline: bool,
    /// What was written of it, of a run that goes on.
    log: Option<Box<RunLog>>,
    output: PhantomData<fn() -> O>,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident: $ty:ty,)*) => {$(
        $(#[$doc])*
        pub fn $name(self, value: impl Into<$ty>) -> Self {
            self.edit(|snapshot| snapshot.$name(value))
        }
    )*};
}

impl<O: Send + Sync + 'static> RunBuilder<O> {
    pub(crate) fn new<I: Send + Sync + 'static>(engine: Engine, pipeline: &Pipeline<I, O>, input: I) -> Self {
        let plan = Arc::clone(pipeline.plan());
        Self {
            engine,
            plan,
            input: Value::new(input),
            snapshot: None,
            keep: None,
            max_in_flight: None,
            has_deadline: false,
            log: None,
            output: PhantomData,
        }
    }

    /// A run that goes on, as it was begun.
    pub(crate) fn resumed(
        engine: Engine,
        plan: Arc<Plan>,
        input: Value,
        snapshot: SnapshotBuilder,
        log: Box<RunLog>,
    ) -> Self {
        let has_deadline = snapshot.deadline_set().is_some();
        let snapshot = Some(Box::new(snapshot));
        Self {
            engine,
            plan,
            input,
            snapshot,
            keep: None,
            max_in_flight: None,
            has_deadline,
            log: Some(log),
            output: PhantomData,
        }
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
    }

    /// Sets the trace the run belongs to by the W3C `traceparent` header of the request that asks for it. A header that is not
    /// one is ignored, as the standard has it: the run begins a trace.
    pub fn traceparent(self, header: &str) -> Self {
        match header.trim().parse::<TraceContext>() {
            Ok(trace) => self.trace(trace),
            Err(_) => self,
        }
    }

    /// Sets the priority.
    pub fn priority(self, priority: Priority) -> Self {
        self.edit(|snapshot| snapshot.priority(priority))
    }

    /// How long the run may take from now on. With nothing left no stage starts; with less than the pipeline takes at least
    /// ([`Pipeline::min_time`]) the run is refused with `DEADLINE_EXCEEDED`.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.has_deadline = true;
        self.edit(|snapshot| snapshot.deadline(deadline))
    }

    /// What the run may use together with its child runs; what it does not say is the pipeline's, and then the engine's.
    pub fn budget(self, budget: Budget) -> Self {
        self.edit(|snapshot| snapshot.budget(budget))
    }

    /// Sets the execution mode.
    pub fn execution_mode(self, mode: impl Into<Arc<str>>) -> Self {
        self.edit(|snapshot| snapshot.execution_mode(mode))
    }

    /// Adds metadata.
    pub fn metadata(self, key: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.edit(|snapshot| snapshot.metadata(key, value))
    }

    /// Adds metadata that is for stages and journals only, and `[redacted]` anywhere else.
    pub fn sensitive_metadata(self, key: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.edit(|snapshot| snapshot.sensitive_metadata(key, value))
    }

    /// Adds a typed extension that stages read by [`StageContext::extension`](stageflow_core::StageContext::extension).
    pub fn extension<T: Any + Send + Sync>(self, value: T) -> Self {
        self.edit(|snapshot| snapshot.extension(value))
    }

    /// Which outputs stay for the report; the pipeline's own setting otherwise.
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = Some(keep);
        self
    }

    /// At most so many stages of this run are in flight at a time, at least one; the pipeline's own setting otherwise.
    pub fn max_in_flight(mut self, limit: u32) -> Self {
        self.max_in_flight = Some(limit.max(1));
        self
    }

    /// Sets what something else knows to set, such as the ids of whoever was admitted. A deadline is set by
    /// [`deadline`](Self::deadline), and not here.
    pub fn with(self, set: impl FnOnce(SnapshotBuilder) -> SnapshotBuilder) -> Self {
        self.edit(set)
    }

    fn edit(mut self, edit: impl FnOnce(SnapshotBuilder) -> SnapshotBuilder) -> Self {
        let snapshot = self.snapshot.take().map_or_else(SnapshotBuilder::default, |snapshot| *snapshot);
        self.snapshot = Some(Box::new(edit(snapshot)));
        self
    }

    /// Starts the run on a task of its own. Outside a tokio runtime the handle gives the error `NO_RUNTIME`.
    pub fn start(self) -> RunHandle<O> {
        let stream = Arc::new(Queue::new(STREAM_CAPACITY));
        let admitted = match Handle::try_current() {
            Ok(handle) => self.admit(handle, Some(Arc::clone(&stream))),
            Err(_) => Err(no_runtime(self.plan.name())),
        };
        match admitted {
            Ok((run, entries)) => {
                let task = run.handle.spawn(Driver::admitted(Arc::clone(&run), entries));
                RunHandle { inner: Some(Started { run, task }), refused: None, stream, output: PhantomData }
            }
            Err(error) => {
                stream.close();
                RunHandle { inner: None, refused: Some(error), stream, output: PhantomData }
            }
        }
    }

    fn admit(self, handle: Handle, stream: Option<Arc<Queue>>) -> Result<Admitted, RunError> {
        let shared = Arc::clone(&self.engine.shared);
        let mut snapshot = self.snapshot.map_or_else(SnapshotBuilder::default, |snapshot| *snapshot);
        snapshot = snapshot.pipeline(Arc::clone(self.plan.name()));
        if let (false, Some(deadline)) = (self.has_deadline, self.plan.policies().deadline) {
            snapshot = snapshot.deadline(deadline);
        }
        for budget in self.plan.policies().budget.into_iter().chain(shared.budget) {
            snapshot = snapshot.budget_or(budget);
        }
        let has_timer = || timer::sleep(Duration::ZERO).is_some();
        let defaults = self.plan.policies().timeouts.or(shared.timeouts);
        let timed = self.has_deadline
            || self.plan.policies().deadline.is_some()
            || defaults.limits().next().is_some()
            || self.plan.all_settings().values().any(StageSettings::is_timed)
            || shared.backpressure.as_ref().is_some_and(BackpressureMonitor::needs_timer);
        if timed && !has_timer() {
            let message = format!(
                "`{}` has a deadline or timeouts, or may have to wait, and the runtime has no timer",
                self.plan.name()
            );
            return Err(RunError::refused(code::NO_RUNTIME, message));
        }
        if self.plan.has_min_times() {
            begin::run_in_time(&self.plan, &shared, snapshot.deadline_set())?;
        }
        let log = match self.log {
            Some(log) => {
                log.check(&snapshot).map_err(RunError::journal)?;
                Some(log)
            }
            None => durable::log_of(&shared, &self.plan, &self.input)?,
        };
        let (entries, tenant) = Entries::of(&shared, &self.plan, snapshot.tenant_id())?;
        let started = shared.clock.wall();
        let snapshot = Arc::new(snapshot.build_with(|| RunId::from_parts(started, &*shared.random)));
        let chains = chains::of_run(&shared, &self.plan)?;
        let info = || RunInfo::new(Arc::clone(&snapshot), started, Arc::<Plan>::clone(&self.plan));
        let run = RunCore::new(Seed {
            chains,
            events: shared.events(info, stream, &handle),
            plan: self.plan,
            input: self.input,
            snapshot,
            shared,
            handle,
            keep: self.keep,
            max_in_flight: self.max_in_flight,
            tenant,
            account: None,
            repeats: None,
            depth: 0,
            watched: None,
            log,
        });
        durable::carry(&run);
        entries.note(&run);
        run.shared.live.enter(&run)?;
        Ok((run, entries))
    }
}

impl<O> fmt::Debug for RunBuilder<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunBuilder").field("pipeline", self.plan.name()).finish_non_exhaustive()
    }
}

impl<O: Send + Sync + 'static> IntoFuture for RunBuilder<O> {
    type Output = Result<Completed<O>, RunError>;
    type IntoFuture = RunFuture<O>;

    fn into_future(self) -> RunFuture<O> {
        RunFuture { state: State::New(Some(self)) }
    }
}

/// A run that was let in, or that waits for it.
type Admitted = (Arc<RunCore>, Entries);

fn no_runtime(pipeline: &str) -> RunError {
    RunError::refused(code::NO_RUNTIME, format!("`{pipeline}` was run outside a tokio runtime"))
}

/// A run in the caller's own task.
#[must_use = "futures do nothing unless polled"]
pub struct RunFuture<O> {
    state: State<O>,
}

enum State<O> {
    New(Option<RunBuilder<O>>),
    Driving(Box<Driver>),
    Done,
}

impl<O: Send + Sync + 'static> Future for RunFuture<O> {
    type Output = Result<Completed<O>, RunError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::New(builder) = &mut self.state
            && let Some(builder) = builder.take()
        {
            let Ok(handle) = Handle::try_current() else {
                self.state = State::Done;
                return Poll::Ready(Err(no_runtime(builder.plan.name())));
            };
            match builder.admit(handle, None) {
                Ok((run, entries)) => {
                    self.state = State::Driving(Box::new(Driver::admitted(run, entries)));
                }
                Err(error) => {
                    self.state = State::Done;
                    return Poll::Ready(Err(error));
                }
            }
        }
        let State::Driving(driver) = &mut self.state else {
            return Poll::Ready(Err(RunError::refused(code::INTERNAL, "a run was polled after its end")));
        };
        ready!(Pin::new(&mut **driver).poll(cx));
        let run = Arc::clone(&driver.run);
        self.state = State::Done;
        Poll::Ready(Completed::of(run))
    }
}

impl<O> Drop for RunFuture<O> {
    fn drop(&mut self) {
        if let State::Driving(driver) = std::mem::replace(&mut self.state, State::Done)
            && !driver.is_done()
        {
            let run = Arc::clone(&driver.run);
            run.end(EndCause::Cancel(CancelCause::Dropped));
            run.handle.spawn(driver);
        }
    }
}

impl<O> fmt::Debug for RunFuture<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunFuture").finish_non_exhaustive()
    }
}

impl<O> Unpin for RunFuture<O> {}

/// A run on a task of its own: await it, watch it, stop it.
///
/// # Cancel safety
///
/// Dropping the handle cancels the run (S-18); [`detach`](Self::detach) lets it go on. Awaiting `&mut handle` and dropping
/// that future loses nothing.
#[must_use = "dropping the handle cancels the run"]
pub struct RunHandle<O> {
    inner: Option<Started>,
    refused: Option<RunError>,
    stream: Arc<Queue>,
    output: PhantomData<fn() -> O>,
}

struct Started {
    run: Arc<RunCore>,
    task: JoinHandle<()>,
}

impl<O> RunHandle<O> {
    /// The run's id; `None` if the engine did not let it in.
    pub fn run_id(&self) -> Option<RunId> {
        self.inner.as_ref().map(|inner| inner.run.snapshot.identity().run_id())
    }

    /// Cancels the run: its stages are stopped, its clean-ups are awaited. The first reason counts; after the end of the
    /// last stage it has no effect.
    pub fn cancel(&self, reason: impl Into<String>) {
        if let Some(inner) = &self.inner {
            inner.run.end(EndCause::Cancel(CancelCause::Requested { reason: reason.into() }));
        }
    }

    /// What every unfinished stage waits for right now; `None` if the engine did not let the run in.
    pub fn explain(&self) -> Option<Explanation> {
        self.inner.as_ref().map(|inner| Explanation::of(&inner.run))
    }

    /// The events of the run, from the first on. All streams of a handle share one: each event goes to one of them.
    pub fn events(&self) -> EventStream {
        EventStream::new(Arc::clone(&self.stream))
    }

    /// Whether the run has ended.
    pub fn is_ended(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.run.is_done())
    }

    /// Lets the run go on without a handle.
    pub fn detach(mut self) {
        self.inner = None;
    }
}

impl<O: Send + Sync + 'static> Future for RunHandle<O> {
    type Output = Result<Completed<O>, RunError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.refused.take() {
            return Poll::Ready(Err(error));
        }
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(Err(RunError::refused(code::INTERNAL, "a run was polled after its end")));
        };
        // The task ends with the run, or with the runtime.
        let _ended = ready!(Pin::new(&mut inner.task).poll(cx));
        let run = Arc::clone(&inner.run);
        self.inner = None;
        Poll::Ready(Completed::of(run))
    }
}

impl<O> Drop for RunHandle<O> {
    fn drop(&mut self) {
        if let Some(inner) = &self.inner
            && !inner.run.is_done()
        {
            inner.run.end(EndCause::Cancel(CancelCause::Dropped));
        }
    }
}

impl<O> fmt::Debug for RunHandle<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunHandle").field("run", &self.run_id()).finish_non_exhaustive()
    }
}
