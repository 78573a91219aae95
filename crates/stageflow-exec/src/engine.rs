//! The engine: what all runs share.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use stageflow_core::{
    Budget, Clock, Code, ContextSnapshot, EventSink, FailureRules, Interceptor, Layer, Randomness, RunInfo,
    StageKind, TraceContext, code,
    intercept::{AnyInterceptor, Placement},
    time::{SeededRandom, ThreadRandom},
};
use stageflow_dag::{LintReport, Pipeline, chains::Chains, lint, plan::Plan};
use tokio::runtime::Handle;

use crate::{
    admission::BackpressureMonitor,
    chains::{self, ChainCache},
    clock::TokioClock,
    describe::{EngineDescription, LimitsDescription},
    explain::Explanation,
    handle::{RunBuilder, RunHandle},
    limits::{EngineLimits, Limit},
    live::LiveRuns,
    shutdown::ShutdownReport,
    sinks::{Queue, RunEvents, SinkAccount, SinkHandle},
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
    pub(crate) clock: Box<dyn Clock>,
    /// Whether the clock is the engine's own, not one that was put in its place.
    pub(crate) own_clock: bool,
    pub(crate) random: Box<dyn Randomness>,
    pub(crate) seed: Option<u64>,
    pub(crate) max_depth: u32,
    pub(crate) budget: Option<Budget>,
    pub(crate) on_failure: Option<FailureRules>,
    pub(crate) backpressure: Option<BackpressureMonitor>,
    pub(crate) limits: EngineLimits,
    described: LimitsDescription,
    pub(crate) live: LiveRuns,
    interceptors: Vec<AnyInterceptor>,
    sinks: Vec<Arc<SinkHandle>>,
    cache: ChainCache,
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
        Some(RunEvents::new(info(), self.sinks.iter().cloned(), stream, handle.clone()))
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
    /// It knows what policies say of themselves, by [`Interceptor::describe`]. A finding that is known to be all right is kept out with
    /// `allow_lint` on the stage or the pipeline. Deadlines that are given to single runs are not known here.
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
        lint::lint(pipeline.plan(), &self.shared.described.around(&self.shared.interceptors))
    }

    /// What the engine was furnished with: limits, interceptors with all their values, and what holds where nothing was said.
    ///
    /// ```
    /// let engine = stageflow_exec::Engine::builder().max_in_flight(100).build()?;
    /// assert!(engine.describe().to_string().starts_with("engine\n  in flight: 100, per tenant no limit\n"));
    /// # Ok::<_, stageflow_exec::EngineBuildError>(())
    /// ```
    pub fn describe(&self) -> EngineDescription {
        let EngineShared { described, interceptors, sinks, seed, .. } = &*self.shared;
        EngineDescription::new(described.clone(), interceptors, sinks.len(), *seed)
    }

    /// The monitor that decides on its runs, if it has one.
    pub fn backpressure(&self) -> Option<&BackpressureMonitor> {
        self.shared.backpressure.as_ref()
    }

    /// What became of the events of each sink, in the order in which the sinks were added.
    pub fn sink_accounts(&self) -> Vec<SinkAccount> {
        self.shared.sinks.iter().map(|sink| sink.account()).collect()
    }

    /// Waits until every sink has been given everything emitted so far, or has dropped it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn flush(&self) {
        for sink in &self.shared.sinks {
            sink.flushed().await;
        }
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

    /// Lets no new run in, cancels all runs, waits up to `budget` for their stages and clean-ups to end, and says what
    /// had to be abandoned (S-18).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting; the cancellations stand.
    pub async fn shutdown(&self, budget: Duration) -> ShutdownReport {
        let report = self.shared.live.shut_down(budget).await;
        if report.abandoned().is_empty() {
            self.flush().await;
        }
        report
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

/// Furnishes an [`Engine`]; everything is optional.
#[derive(Default)]
#[must_use = "an engine exists after `build`"]
pub struct EngineBuilder {
    interceptors: Vec<AnyInterceptor>,
    sinks: Vec<Arc<SinkHandle>>,
    max_in_flight: Option<u32>,
    kinds: Vec<(StageKind, u32)>,
    per_tenant: Option<u32>,
    max_depth: Option<u32>,
    budget: Option<Budget>,
    on_failure: Option<FailureRules>,
    backpressure: Option<BackpressureMonitor>,
    seed: Option<u64>,
    clock: Option<Box<dyn Clock>>,
    random: Option<Box<dyn Randomness>>,
}

impl EngineBuilder {
    /// Adds an interceptor around every stage of every run.
    pub fn interceptor(mut self, interceptor: impl Interceptor) -> Self {
        self.interceptors.push(AnyInterceptor::new(interceptor));
        self
    }

    /// Tries every stage of every run again: [`interceptor`](Self::interceptor), said of a retry policy.
    pub fn retry(self, policy: impl Interceptor) -> Self {
        self.interceptor(policy)
    }

    /// Adds a sink for the events of every run.
    pub fn sink(mut self, sink: impl EventSink) -> Self {
        self.sinks.push(Arc::new(SinkHandle::new(sink)));
        self
    }

    /// At most so many stages of all runs together are in flight at a time.
    pub fn max_in_flight(mut self, limit: u32) -> Self {
        self.max_in_flight = Some(limit);
        self
    }

    /// At most so many stages of a kind, of all runs together, are in flight at a time.
    pub fn limit_kind(mut self, kind: StageKind, limit: u32) -> Self {
        self.kinds.push((kind, limit));
        self
    }

    /// At most so many stages of one tenant's runs together are in flight at a time. Runs without a tenant count
    /// as one tenant.
    pub fn tenant_max_in_flight(mut self, limit: u32) -> Self {
        self.per_tenant = Some(limit);
        self
    }

    /// What a failure means for runs of pipelines that do not say so themselves; without a call, it ends the run (rule S-7).
    pub fn on_failure(mut self, rules: impl Into<FailureRules>) -> Self {
        self.on_failure = Some(rules.into());
        self
    }

    /// Who decides whether a run is let in, waits, or is refused with `OVERLOADED` (rule S-11); without a call, all are let in.
    ///
    /// Child runs are not asked for: they are part of a run that is in. Engines may share a monitor.
    pub fn backpressure(mut self, monitor: BackpressureMonitor) -> Self {
        self.backpressure = Some(monitor);
        self
    }

    /// How deep pipelines may be nested in each other; 16 by default, 0 for not at all.
    pub fn max_depth(mut self, depth: u32) -> Self {
        self.max_depth = Some(depth);
        self
    }

    /// What each run may use together with its child runs, where neither the run nor its pipeline says so.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Draws ids, random numbers and the order of ready stages from a seed. Runs have one worker then.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Replaces the clock, which is tokio's otherwise. Timers stay tokio's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// Replaces the source of random numbers.
    pub fn randomness(mut self, random: impl Randomness) -> Self {
        self.random = Some(Box::new(random));
        self
    }

    /// Makes the engine.
    ///
    /// # Errors
    ///
    /// All problems at once: `INVALID_POLICY` for limits of zero and percentages that are none, `OUTSIDE_AUTHENTICATION` for an interceptor that would
    /// stand outside authentication.
    pub fn build(self) -> Result<Engine, EngineBuildError> {
        let mut problems = Vec::new();
        let limits =
            self.max_in_flight.iter().chain(&self.per_tenant).chain(self.kinds.iter().map(|(_, n)| n));
        if limits.into_iter().any(|limit| *limit == 0) {
            problems.push((code::INVALID_POLICY, "a limit of zero lets no stage run".to_owned()));
        }
        let tolerance = self.on_failure.iter().flat_map(FailureRules::problems);
        problems.extend(tolerance.map(|problem| (code::INVALID_POLICY, problem)));
        for one in &self.interceptors {
            if one.placement() == Placement::Outside(Layer::Authenticate) {
                let message = format!("`{}` would stand outside authentication", one.name());
                problems.push((code::OUTSIDE_AUTHENTICATION, message));
            }
        }
        if problems.is_empty() {
            Ok(self.assemble(LiveRuns::tracked()))
        } else {
            Err(EngineBuildError { problems })
        }
    }

    fn assemble(self, live: LiveRuns) -> Engine {
        let random: Box<dyn Randomness> = match (self.random, self.seed) {
            (Some(random), _) => random,
            (None, Some(seed)) => Box::new(SeededRandom::new(seed)),
            (None, None) => Box::new(ThreadRandom),
        };
        let limits = EngineLimits {
            engine: self.max_in_flight.map(|limit| Limit::new("engine", limit)),
            kinds: self.kinds.iter().map(|(kind, limit)| (*kind, Limit::new("kind", *limit))).collect(),
            per_tenant: self.per_tenant,
            ..EngineLimits::default()
        };
        let described = LimitsDescription {
            max_in_flight: self.max_in_flight,
            kinds: self.kinds,
            per_tenant: self.per_tenant,
            max_depth: self.max_depth.unwrap_or(16),
        };
        Engine {
            shared: Arc::new(EngineShared {
                own_clock: self.clock.is_none(),
                clock: self.clock.unwrap_or_else(|| Box::new(TokioClock::new())),
                random,
                seed: self.seed,
                max_depth: described.max_depth,
                budget: self.budget,
                on_failure: self.on_failure,
                backpressure: self.backpressure,
                limits,
                described,
                live,
                interceptors: self.interceptors,
                sinks: self.sinks,
                cache: ChainCache::default(),
            }),
        }
    }
}

impl fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineBuilder").field("interceptors", &self.interceptors).finish_non_exhaustive()
    }
}

/// An engine cannot be built: all problems at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineBuildError {
    problems: Vec<(Code, String)>,
}

impl EngineBuildError {
    /// The codes, in the order of the problems.
    pub fn codes(&self) -> impl Iterator<Item = Code> {
        self.problems.iter().map(|(code, _)| *code)
    }
}

impl fmt::Display for EngineBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot build the engine")?;
        for (code, message) in &self.problems {
            write!(f, "\n  {code}: {message}\n    help: {}", code.hint().unwrap_or_default())?;
        }
        Ok(())
    }
}

impl std::error::Error for EngineBuildError {}
