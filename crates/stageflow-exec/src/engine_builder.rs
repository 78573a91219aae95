//! [`EngineBuilder`]: what an engine is furnished with, and what cannot be.

use std::{fmt, sync::Arc, time::Duration};

use stageflow_core::{
    Budget, Clock, Code, EventSink, FailureRules, Interceptor, Layer, Randomness, StageKind, TenantQuotas,
    TimeLimit, Timeouts, code,
    intercept::{AnyInterceptor, Placement},
    time::{SeededRandom, ThreadRandom},
};
use stageflow_dag::LintReport;

use crate::{
    admission::BackpressureMonitor,
    chains::ChainCache,
    clock::TokioClock,
    describe::LimitsDescription,
    durable::Durability,
    engine::{Engine, EngineShared},
    first_runs::FirstRuns,
    gate,
    limits::{EngineLimits, Limit},
    live::LiveRuns,
    quota::Tenants,
    sinks::SinkHandle,
};

/// Furnishes an [`Engine`]; everything is optional.
#[derive(Default)]
#[must_use = "an engine exists after `build`"]
pub struct EngineBuilder {
    interceptors: Vec<AnyInterceptor>,
    sinks: Vec<Arc<SinkHandle>>,
    max_in_flight: Option<u32>,
    kinds: Vec<(StageKind, u32)>,
    per_tenant: Option<u32>,
    quotas: Option<TenantQuotas>,
    max_depth: Option<u32>,
    budget: Option<Budget>,
    on_failure: Option<FailureRules>,
    backpressure: Option<BackpressureMonitor>,
    timeouts: Timeouts,
    on_lint: Option<FirstRuns>,
    seed: Option<u64>,
    clock: Option<Box<dyn Clock>>,
    random: Option<Box<dyn Randomness>>,
    durability: Option<Durability>,
    undurable: bool,
}

impl EngineBuilder {
    /// Adds an interceptor around every stage of every run.
    ///
    /// One that stands right in [`Layer::Authenticate`] or [`Layer::Tenant`] decides on every run as a whole as well, before anything of
    /// it is evaluated: see [`Interceptor::admit`].
    pub fn interceptor(mut self, interceptor: impl Interceptor) -> Self {
        self.interceptors.push(AnyInterceptor::new(interceptor));
        self
    }

    /// Tries every stage of every run again: [`interceptor`](Self::interceptor), said of a retry policy.
    pub fn retry(self, policy: impl Interceptor) -> Self {
        self.interceptor(policy)
    }

    /// Adds an interceptor around the stages of these kinds that have nothing else in its place: of their own, of their pipeline, or of
    /// this engine. It takes the place of earlier defaults there, for these kinds.
    ///
    /// Like the engine's timeouts it counts for the stages of child runs, and not for a pipeline in the place of a stage as a whole.
    /// So a stage with a retry of its own is not tried again by the engine as well, and retries do not multiply across levels.
    ///
    /// Authentication and tenants are no defaults: nothing takes their place, and [`build`](Self::build) refuses them here.
    pub fn by_default(
        mut self,
        kinds: impl IntoIterator<Item = StageKind>,
        interceptor: impl Interceptor,
    ) -> Self {
        let default = AnyInterceptor::new(interceptor).by_default(kinds);
        self.interceptors.retain_mut(|one| one.give_way_to(&default));
        self.interceptors.push(default);
        self
    }

    /// Takes the defaults of a layer out again that were added so far; other interceptors stay.
    pub fn without_default(mut self, layer: Layer) -> Self {
        self.interceptors.retain(|one| one.default_for().is_none() || one.placement().layer() != layer);
        self
    }

    /// Adds a sink for the events of every run.
    pub fn sink(mut self, sink: impl EventSink) -> Self {
        self.sinks.push(Arc::new(SinkHandle::new(sink)));
        self
    }

    /// Takes the sinks out again that were added so far.
    pub fn without_sinks(mut self) -> Self {
        self.sinks.clear();
        self
    }

    /// Tells what [`Engine::lint`] finds about a pipeline, if it finds something, when the engine runs it for the first time.
    ///
    /// It is told by whoever starts that run, before the first stage. If `tell` panics the run is refused with `PANIC`.
    pub fn on_lint(mut self, tell: impl Fn(&LintReport) + Send + Sync + 'static) -> Self {
        self.on_lint = Some(FirstRuns::new(tell));
        self
    }

    /// Does not tell what is found about pipelines.
    pub fn without_lint(mut self) -> Self {
        self.on_lint = None;
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

    /// What each tenant may use: a [`Quota`](stageflow_core::Quota) for all of them, or [`TenantQuotas`] with others for some, which can be
    /// changed while the engine runs (rule S-11). Runs without a tenant count as one tenant.
    ///
    /// It decides on every run that is started, child runs being part of theirs: after the engine's authentication if it has one, so
    /// that nobody uses up the quota of somebody else, and before its backpressure monitor if it has none. Who waits for a quota after
    /// it was authenticated is in for the monitor. A tenant that comes too often is refused with `QUOTA_EXCEEDED`, or waits.
    ///
    /// ```
    /// use stageflow_core::{DurationExt, Quota, TenantQuotas, code, stage_fn};
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
    /// let engine = Engine::builder().tenant_quota(Quota::concurrent_runs(20).runs_per(1, 1.hours())).build()?;
    /// engine.run(&double, 21).tenant("acme").await?;
    /// let refused = engine.run(&double, 21).tenant("acme").await.unwrap_err();
    /// assert_eq!(refused.code(), code::QUOTA_EXCEEDED);
    /// engine.run(&double, 21).tenant("other").await?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn tenant_quota(mut self, quotas: impl Into<TenantQuotas>) -> Self {
        self.quotas = Some(quotas.into());
        self
    }

    /// What a failure means for runs of pipelines that do not say so themselves; without a call, it ends the run (rule S-7).
    pub fn on_failure(mut self, rules: impl Into<FailureRules>) -> Self {
        self.on_failure = Some(rules.into());
        self
    }

    /// Lets every run in: no limit per engine, tenant or kind, no quota, and no monitor, whatever was said so far.
    pub fn without_limits(mut self) -> Self {
        (self.max_in_flight, self.per_tenant, self.backpressure) = (None, None, None);
        self.quotas = None;
        self.kinds.clear();
        self
    }

    /// Who decides whether a run is let in, waits, or is refused with `OVERLOADED` (rule S-11); without a call, all are let in.
    ///
    /// Child runs are not asked for: they are part of a run that is in. Engines may share a monitor.
    pub fn backpressure(mut self, monitor: BackpressureMonitor) -> Self {
        self.backpressure = Some(monitor);
        self
    }

    /// The time for all attempts of each stage about which neither it nor its pipeline says anything; none by default, and `None` for none.
    ///
    /// These three defaults count for stages of child runs too, and not for a pipeline in the place of a stage as a whole.
    pub fn stage_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeouts.stage = timeout.into().map_or(TimeLimit::Inherit, TimeLimit::Limit);
        self
    }

    /// The time for one attempt of each stage about which neither it nor its pipeline says anything; none by default.
    pub fn attempt_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeouts.attempt = timeout.into().map_or(TimeLimit::Inherit, TimeLimit::Limit);
        self
    }

    /// How long an attempt may go on without a sign of [`progress`](stageflow_core::StageContext::progress), for each stage about
    /// which neither it nor its pipeline says anything; none by default.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeouts.idle = timeout.into().map_or(TimeLimit::Inherit, TimeLimit::Limit);
        self
    }

    /// Where runs are written down, so that they outlive their process: a [`Journal`](stageflow_core::durable::Journal), or a
    /// [`Durability`] that says more. Without it, a run with durable stages is refused with `NO_JOURNAL`.
    pub fn journal(mut self, durability: impl Into<Durability>) -> Self {
        self.durability = Some(durability.into());
        self
    }

    /// Runs durable stages without writing anything down: for tests of pipelines, and where the journal is off on purpose. It takes
    /// back [`journal`](Self::journal).
    pub fn without_journal(mut self) -> Self {
        self.durability = None;
        self.undurable = true;
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
    /// All problems at once: `INVALID_POLICY` for limits and timeouts of zero, percentages that are none, and defaults that cannot be,
    /// `OUTSIDE_AUTHENTICATION` for an interceptor that would stand outside authentication.
    pub fn build(self) -> Result<Engine, EngineBuildError> {
        let mut problems = Vec::new();
        let limits =
            self.max_in_flight.iter().chain(&self.per_tenant).chain(self.kinds.iter().map(|(_, n)| n));
        if limits.into_iter().any(|limit| *limit == 0) {
            problems.push((code::INVALID_POLICY, "a limit of zero lets no stage run".to_owned()));
        }
        let tolerance = self.on_failure.iter().flat_map(FailureRules::problems);
        problems.extend(tolerance.map(|problem| (code::INVALID_POLICY, problem)));
        for (name, _) in self.timeouts.limits().filter(|(_, time)| time.is_zero()) {
            let message = format!("with `{name}` of zero no stage can ever complete");
            problems.push((code::INVALID_POLICY, message));
        }
        for one in &self.interceptors {
            if one.placement() == Placement::Outside(Layer::Authenticate) {
                let message = format!("`{}` would stand outside authentication", one.name());
                problems.push((code::OUTSIDE_AUTHENTICATION, message));
            }
        }
        for one in &self.interceptors {
            let Some(kinds) = one.default_for() else { continue };
            if matches!(one.placement().layer(), Layer::Authenticate | Layer::Tenant) {
                let message =
                    format!("`{}` is no default: a stage could put something else in its place", one.name());
                problems.push((code::INVALID_POLICY, message));
            }
            if kinds.is_empty() {
                let message = format!("`{}` is a default for no kind of stage", one.name());
                problems.push((code::INVALID_POLICY, message));
            }
        }
        if problems.is_empty() {
            Ok(self.assemble(LiveRuns::tracked()))
        } else {
            Err(EngineBuildError { problems })
        }
    }

    pub(crate) fn assemble(self, live: LiveRuns) -> Engine {
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
            tenant_quota: self.quotas.as_ref().map(ToString::to_string),
            max_depth: self.max_depth.unwrap_or(16),
            admission: self.backpressure.as_ref().map(ToString::to_string),
        };
        let own_clock = self.clock.is_none();
        let clock: Arc<dyn Clock> = self.clock.map_or_else(|| Arc::new(TokioClock::new()) as _, Arc::from);
        Engine {
            shared: Arc::new(EngineShared {
                own_clock,
                tenants: self.quotas.map(|quotas| Tenants::new(quotas, Arc::clone(&clock))),
                clock,
                random,
                seed: self.seed,
                max_depth: described.max_depth,
                budget: self.budget,
                on_failure: self.on_failure,
                backpressure: self.backpressure,
                limits,
                described,
                timeouts: self.timeouts,
                may_answer: self.interceptors.iter().any(AnyInterceptor::may_answer),
                live,
                gates: gate::gates(&self.interceptors),
                interceptors: self.interceptors,
                on_lint: self.on_lint,
                sinks: self.sinks,
                cache: ChainCache::default(),
                durability: self.durability,
                undurable: self.undurable,
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
