//! What is said about single stages, and about the pipeline as a whole.

use std::time::Duration;

use stageflow_core::{
    Budget, FailureRules, Keep, StageKind, Timeouts, durable::AnyCodec, intercept::AnyInterceptor,
};

use crate::lint::Allowed;

/// What is set for single stages only.
#[derive(Clone, Debug, Default)]
pub struct StageSettings {
    /// Time for all attempts, for one, and without progress.
    pub timeouts: Timeouts,
    /// What an attempt takes at least; zero unless said.
    pub min_time: Duration,
    /// Time to end by itself after a cancellation.
    pub grace: Option<Duration>,
    /// What one attempt is estimated to cost.
    pub cost: Option<u64>,
    /// How its output leaves the process, if it may.
    pub codec: Option<AnyCodec>,
    /// Whether what it gives is in the journal before anybody reads it.
    pub durable: bool,
    /// Interceptors of this stage alone, in the order of addition.
    pub interceptors: Vec<AnyInterceptor>,
    /// Findings that are known to be all right.
    pub allowed: Vec<Allowed>,
}

impl StageSettings {
    /// Whether a timer is needed.
    pub fn is_timed(&self) -> bool {
        self.timeouts.limits().next().is_some() || self.grace.is_some()
    }
}

/// What is set for the whole pipeline.
#[derive(Clone, Debug)]
pub struct Policies {
    /// What a failure means for the rest; the engine's rules where there are none.
    pub on_failure: Option<FailureRules>,
    /// Which outputs stay.
    pub keep: Keep,
    /// How many stages of a run may be in flight at a time.
    pub max_in_flight: Option<u32>,
    /// How many stages of a kind may be in flight at a time, in one run.
    pub kind_limits: Vec<(StageKind, u32)>,
    /// Time for all clean-ups of a run together.
    pub cleanup_budget: Duration,
    /// The deadline of runs that set none.
    pub deadline: Option<Duration>,
    /// What a run may use; in the place of a stage, within the budget of the run around it.
    pub budget: Option<Budget>,
    /// The times of stages that say nothing themselves.
    pub timeouts: Timeouts,
    /// Interceptors of all stages, in the order of addition.
    pub interceptors: Vec<AnyInterceptor>,
    /// Findings that are known to be all right.
    pub allowed: Vec<Allowed>,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            on_failure: None,
            keep: Keep::default(),
            max_in_flight: None,
            kind_limits: Vec::new(),
            cleanup_budget: Duration::from_secs(10),
            deadline: None,
            budget: None,
            timeouts: Timeouts::default(),
            interceptors: Vec::new(),
            allowed: Vec::new(),
        }
    }
}
