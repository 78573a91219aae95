//! What is known of an engine around the runs that are looked at.

use std::time::Duration;

use stageflow_core::{Budget, FailureRules, StageKind, Timeouts, intercept::AnyInterceptor};

/// What stands around the runs of a pipeline: an engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    /// In the order of addition.
    pub interceptors: &'a [AnyInterceptor],
    /// The limit of the engine.
    pub max_in_flight: Option<u32>,
    /// Its limits per kind.
    pub kinds: &'a [(StageKind, u32)],
    /// Its limit per tenant.
    pub per_tenant: Option<u32>,
    /// How deep pipelines may be nested; `None` if that is not known.
    pub max_depth: Option<u32>,
    /// The times of stages about which neither they nor their pipeline say anything.
    pub timeouts: Timeouts,
    /// What runs may use together with their child runs, where their pipeline does not say so.
    pub budget: Option<Budget>,
    /// When failures end a run of a pipeline that does not say so.
    pub on_failure: Option<&'a FailureRules>,
    /// How runs wait to be let in, if they do.
    pub queue: Option<AdmissionQueue>,
}

/// How runs wait to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionQueue {
    /// How many may wait.
    pub limit: usize,
    /// For how long; `None` for as long as they have time.
    pub timeout: Option<Duration>,
}
