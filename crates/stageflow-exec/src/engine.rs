//! The engine: what all runs share.

use std::{
    fmt,
    future::{Future as _, poll_fn},
    sync::{Arc, OnceLock},
    task::Poll,
    time::Duration,
};

use stageflow_core::{
    Budget, Clock, ContextSnapshot, FailureRules, Randomness, RunInfo, SinkAccount, TenantId, Timeouts,
    TraceContext, intercept::AnyInterceptor,
};
use stageflow_dag::{LintReport, Pipeline, chains::Chains, lint, plan::Plan};
use tokio::runtime::Handle;

use crate::{
    admission::BackpressureMonitor,
    chains::{self, ChainCache},
    describe::{EngineDescription, LimitsDescription, around},
    durable::Durability,
    engine_builder::EngineBuilder,
    explain::Explanation,
    first_runs::FirstRuns,
    handle::{RunBuilder, RunHandle},
    limits::EngineLimits,
    live::LiveRuns,
    quota::{TenantUsage, Tenants},
    shutdown::ShutdownReport,
    sinks::{Queue, RunEvents, SinkHandle},
};

/// Runs pipelines under common interceptors, sinks and limits. Cheap to clone; clones are the same engine.
///
/// `pipeline.run(input)` uses a plain engine without any of them.
///
/// ```
/// use stageflow_core::{Recorder, stage_fn};
/// use stageflow_dag::Pipeline;
/// use stageflow_exec::Engine;
/// use std::sync::Arc;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let mut p = Pipeline::builder("double");
/// let n = p.input();
/// let doubled = p.stage("double", stage_fn(|_ctx, n: Arc<u32>| async move { Ok(*n * 2) })).inputs(n);
/// let double = p.build(doubled)?;
///
/// let recorder = Recorder::new();
/// let engine = Engine::builder().sink(recorder.clone()).max_in_flight(100).build()?;
/// let run = engine.run(&double, 21).tenant("acme").await?;
/// assert_eq!(*run.output(), 42);
/// assert_eq!(recorder.len(), 4); // the pipeline and its stage: started, completed
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) shared: Arc<EngineShared>,
}

/// What all runs of an engine share.
pub(crate) struct EngineShared {
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether the clock is the engine's own, not one that was put in its place.
    pub(crate) own_clock: bool,
    pub(crate) random: Box<dyn Randomness>,
    pub(crate) seed: Option<u64>,
    pub(crate) max_depth: u32,
    pub(crate) budget: Option<Budget>,
    pub(crate) on_failure: Option<FailureRules>,
    pub(crate) backpressure: Option<BackpressureMonitor>,
    /// Where tenants have quotas.
    pub(crate) tenants: Option<Arc<Tenants>>,
    pub(crate) limits: EngineLimits,
    pub(crate) described: LimitsDescription,
    /// The times of stages about which neither they nor their pipeline say anything.
    pub(crate) timeouts: Timeouts,
    /// Whether an interceptor of the engine may answer in place of stages.
    pub(crate) may_answer: bool,
    pub(crate) live: LiveRuns,
    pub(crate) interceptors: Vec<AnyInterceptor>,
    /// Those of them that decide on runs as a whole, outermost first.
    pub(crate) gates: Box<[AnyInterceptor]>,
    pub(crate) sinks: Vec<Arc<SinkHandle>>,
    pub(crate) on_lint: Option<FirstRuns>,
    pub(crate) cache: ChainCache,
    /// Which runs are written down, and where.
    pub(crate) durability: Option<Durability>,
    /// Whether durable stages may run without being written down.
    pub(crate) undurable: bool,
}

impl EngineShared {
    /// The chains of a plan; `None` if no stage has an interceptor.
    pub(crate) fn chains(&self, plan: &Arc<Plan>) -> Option<Arc<Chains>> {
        let none = self.interceptors.is_empty()
            && plan.policies().interceptors.is_empty()
            && plan.all_settings().is_empty();
        if none {
            return None;
        }
        let chains = self.cache.get(&self.interceptors, plan);
        (!chains.is_empty()).then_some(chains)
    }

    /// Tells what the lint finds about a plan that is new, if somebody wants to know.
    #[inline]
    pub(crate) fn meet(&self, plan: &Arc<Plan>) {
        if let Some(first_runs) = &self.on_lint {
            first_runs.meet(plan, &around(self));
        }
    }

    /// Whether somebody has said that nothing needs to be written down.
    pub(crate) fn may_be_undurable(&self) -> bool {
        self.undurable && self.durability.is_none()
    }

    /// Whether a sink records the trace of a run, or where none knows, whether the caller does.
    pub(crate) fn samples(&self, run: &ContextSnapshot) -> bool {
        let known = self.sinks.iter().filter_map(|sink| sink.samples(run)).reduce(|one, other| one || other);
        known.unwrap_or_else(|| run.trace().is_some_and(TraceContext::is_sampled))
    }

    /// The way of a run's events; `None` if nobody listens.
    pub(crate) fn events(
        &self,
        info: impl FnOnce() -> RunInfo,
        stream: Option<Arc<Queue>>,
        handle: &Handle,
    ) -> Option<RunEvents> {
        if self.sinks.is_empty() && stream.is_none() {
            return None;
        }
        let listening = self.sinks.iter().filter(|sink| sink.listens()).cloned();
        RunEvents::new(info, listening, stream, handle)
    }
}

impl fmt::Debug for EngineShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineShared")
            .field("interceptors", &self.interceptors)
            .field("sinks", &self.sinks)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine to be furnished.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// The engine of `pipeline.run(…)`: no interceptors, sinks or limits. It keeps no list of its runs.
    pub(crate) fn plain() -> &'static Self {
        static PLAIN: OnceLock<Engine> = OnceLock::new();
        PLAIN.get_or_init(|| EngineBuilder::default().assemble(LiveRuns::untracked()))
    }

    /// Runs a pipeline; settle its options, then `.await` it.
    pub fn run<I, O>(&self, pipeline: &Pipeline<I, O>, input: I) -> RunBuilder<O>
    where
        I: Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        RunBuilder::new(self.clone(), pipeline, input)
    }

    /// Starts a pipeline on a task of its own.
    pub fn start<I, O>(&self, pipeline: &Pipeline<I, O>, input: I) -> RunHandle<O>
    where
        I: Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        self.run(pipeline, input).start()
    }

    /// The order of the interceptors around each stage of a pipeline, outermost first: what will really be called.
    pub fn order<I, O>(&self, pipeline: &Pipeline<I, O>) -> InterceptorOrder {
        let plan = pipeline.plan();
        let chains = chains::resolve(&self.shared.interceptors, plan);
        let rows = (0u32..).take(plan.len()).map(|stage| {
            let chain = chains.of(stage).map_or(&[][..], |chain| chain);
            let names = chain.iter().map(|one| one.name().to_owned()).collect();
            (plan.stage_name(stage).to_owned(), names)
        });
        InterceptorOrder(rows.collect())
    }

    /// Policies that are fine one by one and go wrong together, with numbers: of a pipeline, the pipelines in it, and this engine.
    ///
    /// It knows what policies say of themselves, by [`Interceptor::describe`](stageflow_core::Interceptor::describe). A finding that is known to be all right is kept out with
    /// `allow_lint` on the stage or the pipeline. Deadlines and budgets that are given to single runs are not known here.
    ///
    /// ```
    /// use stageflow_core::{StageContext, StageResult, stage_fn};
    /// use stageflow_dag::{Lint, Pipeline};
    /// use stageflow_exec::Engine;
    /// use std::time::Duration;
    ///
    /// async fn call(_ctx: StageContext, _: ()) -> StageResult<u32> {
    ///     Ok(1)
    /// }
    ///
    /// let mut p = Pipeline::builder::<()>("call");
    /// p.deadline(Duration::from_secs(10));
    /// let called = p.stage("call", stage_fn(call)).timeout(Duration::from_secs(60)).inputs(());
    /// let report = Engine::builder().build()?.lint(&p.build(called)?);
    /// assert_eq!(report.findings()[0].lint(), Lint::StageOutlastsDeadline);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn lint<I, O>(&self, pipeline: &Pipeline<I, O>) -> LintReport {
        lint::lint(pipeline.plan(), &around(&self.shared))
    }

    /// What the engine was furnished with: limits, interceptors with all their values, and what holds where nothing was said.
    ///
    /// ```
    /// let engine = stageflow_exec::Engine::builder().max_in_flight(100).build()?;
    /// assert!(engine.describe().to_string().starts_with("engine\n  in flight: 100, per tenant no limit\n"));
    /// # Ok::<_, stageflow_exec::EngineBuildError>(())
    /// ```
    pub fn describe(&self) -> EngineDescription {
        EngineDescription::of(&self.shared)
    }

    /// The monitor that decides on its runs, if it has one.
    pub fn backpressure(&self) -> Option<&BackpressureMonitor> {
        self.shared.backpressure.as_ref()
    }

    /// What a tenant uses of its quota, as of now; `None` if the engine has no quotas. The runs without a tenant are the tenant `""`.
    pub fn tenant_usage(&self, tenant: impl Into<TenantId>) -> Option<TenantUsage> {
        let (tenants, id) = (self.shared.tenants.as_ref()?, tenant.into());
        Some(tenants.usage(Some(&id).filter(|id| !id.as_str().is_empty())))
    }

    /// What all tenants use that the engine knows something of, by name: those with runs, and those whose quota is not whole again.
    /// In time linear in their number.
    pub fn tenant_usages(&self) -> Vec<TenantUsage> {
        self.shared.tenants.as_ref().map_or_else(Vec::new, |tenants| tenants.usages())
    }

    /// What the engine says about the time of stages about which neither they nor their pipeline do.
    pub fn timeouts(&self) -> Timeouts {
        self.shared.timeouts
    }

    /// What became of the events of each sink, in the order in which the sinks were added.
    pub fn sink_accounts(&self) -> Vec<SinkAccount> {
        self.shared.sinks.iter().map(|sink| sink.account()).collect()
    }

    /// Waits until every sink has been given everything emitted so far, or has dropped it, and has written it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn flush(&self) {
        let mut all: Vec<_> = self.shared.sinks.iter().map(|sink| Box::pin(sink.flushed())).collect();
        // All at a time: one that takes long is no reason for another not to write in time (S-29).
        poll_fn(|cx| {
            all.retain_mut(|one| one.as_mut().poll(cx).is_pending());
            if all.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// What every unfinished stage of every live run waits for, as of now.
    pub fn explain(&self) -> Vec<Explanation> {
        self.shared.live.all().iter().map(|run| Explanation::of(run)).collect()
    }

    /// Waits for all runs to end by themselves, up to `budget`; the number of those that have not.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn drain(&self, budget: Duration) -> usize {
        self.shared.live.drain(budget).await
    }

    /// Lets no new run in, gives those that are there `patience` to end by themselves, and then shuts down as
    /// [`shutdown`](Self::shutdown) does, within `budget`: what a server does at a `SIGTERM`. Runs that are in a journal stay
    /// resumable: the report lists them, and [`resume`](Self::resume) goes on with them in the next process.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it is patient stops nothing; no new run is let in all the same.
    pub async fn wind_down(&self, patience: Duration, budget: Duration) -> ShutdownReport {
        let report = self.shared.live.wind_down(patience, budget).await;
        self.flush_within(&report, budget).await;
        report
    }

    /// Lets no new run in, cancels all runs, waits up to `budget` for their stages and clean-ups to end, and says what
    /// had to be abandoned (S-18). The sinks have what is left of `budget` for the events on their way.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting; the cancellations stand.
    pub async fn shutdown(&self, budget: Duration) -> ShutdownReport {
        let started = tokio::time::Instant::now();
        let report = self.shared.live.shut_down(budget).await;
        self.flush_within(&report, budget.saturating_sub(started.elapsed())).await;
        report
    }

    /// Lets the sinks have what is on its way, if no run was abandoned.
    async fn flush_within(&self, report: &ShutdownReport, budget: Duration) {
        if report.abandoned().is_empty() {
            // A sink that is stuck is no reason to stay.
            let _in_time = tokio::time::timeout(budget, self.flush()).await;
        }
    }
}

/// The interceptors around each stage. Prints as a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterceptorOrder(Vec<(String, Vec<String>)>);

impl InterceptorOrder {
    /// The names around the stage `name`, outermost first.
    pub fn of(&self, name: &str) -> Option<&[String]> {
        self.0.iter().find(|(stage, _)| stage == name).map(|(_, names)| names.as_slice())
    }
}

impl fmt::Display for InterceptorOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (stage, names)) in self.0.iter().enumerate() {
            let line_break = if i == 0 { "" } else { "\n" };
            write!(
                f,
                "{line_break}{} -> {stage}",
                if names.is_empty() { "(none)".to_owned() } else { names.join(" -> ") }
            )?;
        }
        Ok(())
    }
}
