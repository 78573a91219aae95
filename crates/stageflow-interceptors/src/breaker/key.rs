//! Whose health a breaker keeps apart: that of a dependency, seen by a tenant.

use std::{fmt, sync::Arc};

use stageflow_core::TenantId;

/// What a breaker judges by itself: a dependency, for one tenant or for all.
///
/// The dependency is what fails, not the stage that calls it: stages that call the same one share what they know about it.
/// The tenant is part of the key (rule S-32), so that one with a revoked key or a flood of bad calls closes no door to the others.
///
/// ```
/// use stageflow_interceptors::BreakerKey;
///
/// assert_eq!(BreakerKey::new("search", Some("acme".into())).to_string(), "search/acme");
/// assert_eq!(BreakerKey::new("search", None).to_string(), "search");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BreakerKey {
    dependency: Arc<str>,
    stage: Option<Arc<str>>,
    tenant: Option<TenantId>,
}

impl BreakerKey {
    /// The key of a dependency for a tenant, or without one.
    pub fn new(dependency: impl Into<Arc<str>>, tenant: Option<TenantId>) -> Self {
        Self { dependency: dependency.into(), stage: None, tenant }
    }

    /// The key of a stage of a pipeline for a tenant, or without one: see
    /// [`CircuitBreaker::per_stage`](crate::CircuitBreaker::per_stage). The dependency is the pipeline.
    ///
    /// ```
    /// use stageflow_interceptors::BreakerKey;
    ///
    /// assert_eq!(BreakerKey::of_stage("support", "search", Some("acme".into())).to_string(), "support/search/acme");
    /// ```
    pub fn of_stage(
        pipeline: impl Into<Arc<str>>,
        stage: impl Into<Arc<str>>,
        tenant: Option<TenantId>,
    ) -> Self {
        Self { dependency: pipeline.into(), stage: Some(stage.into()), tenant }
    }

    /// Whether it is the key of these.
    pub(super) fn is(&self, dependency: &Arc<str>, tenant: Option<&TenantId>) -> bool {
        let same = Arc::ptr_eq(&self.dependency, dependency) || self.dependency == *dependency;
        same && self.stage.is_none() && self.tenant.as_ref() == tenant
    }

    /// Whether it is the key of this stage.
    pub(super) fn is_of_stage(&self, pipeline: &str, stage: &str, tenant: Option<&TenantId>) -> bool {
        self.stage.as_deref() == Some(stage)
            && *self.dependency == *pipeline
            && self.tenant.as_ref() == tenant
    }

    /// The dependency.
    pub fn dependency(&self) -> &str {
        &self.dependency
    }

    /// The stage, if the key is that of one.
    pub fn stage(&self) -> Option<&str> {
        self.stage.as_deref()
    }

    /// The tenant, if the key has one.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_ref().map(TenantId::as_str)
    }

    /// What it prints without its tenant.
    pub(super) fn name(&self) -> String {
        self.stage
            .as_ref()
            .map_or_else(|| self.dependency.to_string(), |stage| format!("{}/{stage}", self.dependency))
    }
}

impl fmt::Display for BreakerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        self.tenant.as_ref().map_or(Ok(()), |tenant| write!(f, "/{tenant}"))
    }
}
