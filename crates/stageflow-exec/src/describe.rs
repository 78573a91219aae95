//! What an engine consists of, every value visible.

use std::fmt;

use serde::Serialize;
use stageflow_core::{
    Backoff, Budget, Layer, PolicyFacts, StageKind, Timeouts,
    intercept::{AnyInterceptor, Placement},
    text::OneLine,
};
use stageflow_dag::lint::Around;

use crate::{admission::BackpressureMonitor, engine::EngineShared};

/// What an engine was furnished with, and what holds where nothing was said: [`Engine::describe`](crate::Engine::describe) gives it.
///
/// `Display` prints it as a list; it is serialised as what it holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EngineDescription {
    /// The limits of the engine.
    pub limits: LimitsDescription,
    /// The interceptors, outermost first. What a pipeline or a stage adds to the same layer stands inside of them.
    pub interceptors: Vec<InterceptorDescription>,
    /// How many sinks are told of events.
    pub sinks: usize,
    /// The seed, where there is one.
    pub seed: Option<u64>,
    /// What holds where nothing was said.
    pub defaults: EngineDefaults,
}

/// The limits of an engine; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LimitsDescription {
    /// How many stages of all runs together are in flight.
    pub max_in_flight: Option<u32>,
    /// How many of a kind.
    pub kinds: Vec<(StageKind, u32)>,
    /// How many of one tenant's runs.
    pub per_tenant: Option<u32>,
    /// The quotas of tenants, where there are some, as of when the engine was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_quota: Option<String>,
    /// How deep pipelines may be nested in each other.
    pub max_depth: u32,
    /// The values of the backpressure monitor, where there is one.
    pub admission: Option<String>,
}

/// An interceptor with its values.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct InterceptorDescription {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub placement: Placement,
    /// What it is.
    pub facts: PolicyFacts,
    /// The kinds of stages it is a default for, which have nothing else in its place; `None` if it stands around stages in any case.
    pub default_for: Option<Vec<StageKind>>,
}

/// What holds where an engine, a pipeline and a stage say nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EngineDefaults {
    /// What a failure means for the rest of its run.
    pub on_failure: String,
    /// The times of stages.
    pub timeouts: Timeouts,
    /// What a run may use together with its child runs.
    pub budget: Budget,
    /// How many attempts a stage gets that asks for them by `StageExit::retry`.
    pub requested_attempts: u32,
    /// The delays between these.
    pub requested_backoff: Backoff,
}

impl EngineDefaults {
    fn of(engine: &EngineShared) -> Self {
        Self {
            on_failure: engine.on_failure.clone().unwrap_or_default().to_string(),
            timeouts: engine.timeouts,
            budget: engine.budget.unwrap_or_default(),
            requested_attempts: Backoff::ATTEMPTS,
            requested_backoff: Backoff::default(),
        }
    }
}

/// What stands around the runs of an engine.
pub(crate) fn around(engine: &EngineShared) -> Around<'_> {
    let limits = &engine.described;
    Around {
        interceptors: &engine.interceptors,
        max_in_flight: limits.max_in_flight,
        kinds: &limits.kinds,
        per_tenant: limits.per_tenant,
        max_depth: Some(limits.max_depth),
        timeouts: engine.timeouts,
        budget: engine.budget,
        on_failure: engine.on_failure.as_ref(),
        queue: engine.backpressure.as_ref().and_then(BackpressureMonitor::queue),
    }
}

impl EngineDescription {
    pub(crate) fn of(engine: &EngineShared) -> Self {
        let mut ordered: Vec<_> = engine.interceptors.iter().collect();
        ordered.sort_by_key(|one| one.placement().sort_key());
        let of = |one: &AnyInterceptor| InterceptorDescription {
            name: one.name().to_owned(),
            placement: one.placement(),
            facts: one.facts().clone(),
            default_for: one.default_for().map(<[_]>::to_vec),
        };
        let interceptors = ordered.into_iter().map(of).collect();
        Self {
            limits: engine.described.clone(),
            interceptors,
            sinks: engine.sinks.len(),
            seed: engine.seed,
            defaults: EngineDefaults::of(engine),
        }
    }
}

/// A limit that may be none.
struct OrNone(Option<u32>);

impl fmt::Display for OrNone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => write!(f, "{limit}"),
            None => f.write_str("no limit"),
        }
    }
}

impl fmt::Display for LimitsDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  in flight: {}", OrNone(self.max_in_flight))?;
        for (kind, limit) in &self.kinds {
            write!(f, ", of kind {kind} {limit}")?;
        }
        write!(f, ", per tenant {}", OrNone(self.per_tenant))?;
        if let Some(quota) = &self.tenant_quota {
            write!(f, "\n  quota of each tenant: {quota}")?;
        }
        write!(f, "\n  nesting: at most {} deep", self.max_depth)?;
        write!(f, "\n  admission: {}", self.admission.as_deref().unwrap_or("every run"))
    }
}

impl fmt::Display for InterceptorDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.facts {
            PolicyFacts::Other => write!(f, "{}", OneLine(&self.name))?,
            facts => write!(f, "{facts}")?,
        }
        match self.placement {
            Placement::Outside(layer) => write!(f, " (outside {layer:?}")?,
            Placement::At(layer) => write!(f, " ({layer:?}")?,
            Placement::Inside(layer) => write!(f, " (inside {layer:?}")?,
        }
        if let Some(kinds) = &self.default_for {
            let kinds: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
            write!(f, ", default of {}", kinds.join(", "))?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for EngineDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "engine\n{}", self.limits)?;
        let at_authenticate =
            |one: &&InterceptorDescription| one.placement == Placement::At(Layer::Authenticate);
        let mut authenticating = self.interceptors.iter().filter(at_authenticate).peekable();
        if authenticating.peek().is_none() {
            write!(f, "\n  authentication: none, but for what pipelines and stages have of their own")?;
        } else if authenticating.any(|one| matches!(one.facts, PolicyFacts::Authenticate(_))) {
            write!(f, "\n  authentication: of each run, before anything of it is evaluated")?;
        }
        match self.interceptors.as_slice() {
            [] => write!(f, "\n  interceptors: none")?,
            all => {
                write!(f, "\n  interceptors, outermost first:")?;
                all.iter().try_for_each(|one| write!(f, "\n    {one}"))?;
            }
        }
        write!(f, "\n  sinks: {}", self.sinks)?;
        if let Some(seed) = self.seed {
            write!(f, "\n  seed: {seed}, with one worker for each run")?;
        }
        let EngineDefaults { on_failure, timeouts, budget, requested_attempts, requested_backoff } =
            &self.defaults;
        write!(f, "\n  where nothing else is said:\n    on failure: {on_failure}")?;
        write!(f, "\n    stages that ask for a retry: {requested_attempts} attempts, {requested_backoff}")?;
        write!(f, "\n    timeouts: {timeouts}\n    deadline: none\n    budget: {budget}")
    }
}
