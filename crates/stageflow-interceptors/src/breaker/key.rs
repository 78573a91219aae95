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
    tenant: Option<TenantId>,
}

impl BreakerKey {
    /// The key of a dependency for a tenant, or without one.
    pub fn new(dependency: impl Into<Arc<str>>, tenant: Option<TenantId>) -> Self {
        Self { dependency: dependency.into(), tenant }
    }

    /// Whether it is the key of these.
    pub(super) fn is(&self, dependency: &Arc<str>, tenant: Option<&TenantId>) -> bool {
        let same = Arc::ptr_eq(&self.dependency, dependency) || self.dependency == *dependency;
        same && self.tenant.as_ref() == tenant
    }

    /// The dependency.
    pub fn dependency(&self) -> &str {
        &self.dependency
    }

    /// The tenant, if the key has one.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_ref().map(TenantId::as_str)
    }
}

impl fmt::Display for BreakerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.dependency)?;
        self.tenant.as_ref().map_or(Ok(()), |tenant| write!(f, "/{tenant}"))
    }
}
