//! Who calls, as an authenticator has found out.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use stageflow_core::{Identity, TenantId, UserId};
use tokio::time::Instant;

use super::{AuthError, AuthReason};
use crate::clock::since_epoch;

/// What stands for "never" where an expiry is too far away for the clock.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Who calls: made by an [`Authenticator`](crate::Authenticator). Cheap to clone.
///
/// By itself it proves nothing: one that a caller puts into a snapshot is not looked at.
///
/// ```
/// use stageflow_core::DurationExt;
/// use stageflow_interceptors::Principal;
///
/// let ada = Principal::builder("ada").tenant("acme").scope("read").expires_in(60.secs()).build();
/// assert!(ada.has_scope("read") && !ada.has_scope("write") && !ada.is_expired());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(Arc<Facts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    user: UserId,
    tenant: Option<TenantId>,
    organisation: Option<Arc<str>>,
    scopes: BTreeSet<Arc<str>>,
    expires: Option<Instant>,
    /// The same in nanoseconds since the epoch.
    ends: Option<u64>,
}

impl Principal {
    /// A principal without a tenant and without scopes, to be furnished.
    pub fn builder(user: impl Into<UserId>) -> PrincipalBuilder {
        PrincipalBuilder(Facts {
            user: user.into(),
            tenant: None,
            organisation: None,
            scopes: BTreeSet::new(),
            expires: None,
            ends: None,
        })
    }

    /// Its id.
    pub fn user(&self) -> &UserId {
        &self.0.user
    }

    /// The one tenant it may act for.
    pub fn tenant(&self) -> Option<&TenantId> {
        self.0.tenant.as_ref()
    }

    /// The organisation it belongs to.
    pub fn organisation(&self) -> Option<&str> {
        self.0.organisation.as_deref()
    }

    /// What it may do, in order.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.0.scopes.iter().map(|scope| &**scope)
    }

    /// Whether it may do this.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.0.scopes.contains(scope)
    }

    /// From when on it is nobody any more, by tokio's clock.
    pub fn expires(&self) -> Option<Instant> {
        self.0.expires
    }

    /// Whether its time is up.
    pub fn is_expired(&self) -> bool {
        self.0.expires.is_some_and(|end| end <= Instant::now())
    }

    /// Whether its time is not up, in nanoseconds since the epoch, which are asked for where it ends at all.
    pub(super) fn check_expiry(&self, now: impl FnOnce() -> u64) -> Result<(), AuthError> {
        if self.0.ends.is_some_and(|end| end <= now()) {
            return Err(AuthError::new(AuthReason::Expired).of(self));
        }
        Ok(())
    }

    /// Whether the run is its own: as far as the run says whose it is.
    pub(super) fn check_run(&self, run: &Identity) -> Result<(), AuthError> {
        if run.tenant_id().is_some_and(|tenant| self.tenant() != Some(tenant)) {
            return Err(AuthError::new(AuthReason::TenantMismatch).of(self));
        }
        if run.user_id().is_some_and(|user| self.user() != user) {
            return Err(AuthError::new(AuthReason::UserMismatch).of(self));
        }
        Ok(())
    }
}

/// A [`Principal`] to be furnished: made by [`Principal::builder`].
#[derive(Clone, Debug)]
#[must_use = "a principal is made by `build`"]
pub struct PrincipalBuilder(Facts);

impl PrincipalBuilder {
    /// The one tenant it may act for; none unless set.
    pub fn tenant(mut self, tenant: impl Into<TenantId>) -> Self {
        self.0.tenant = Some(tenant.into());
        self
    }

    /// The organisation it belongs to; none unless set.
    pub fn organisation(mut self, organisation: impl Into<Arc<str>>) -> Self {
        self.0.organisation = Some(organisation.into());
        self
    }

    /// Adds something it may do.
    pub fn scope(mut self, scope: impl Into<Arc<str>>) -> Self {
        self.0.scopes.insert(scope.into());
        self
    }

    /// Adds what it may do.
    pub fn scopes<S: Into<Arc<str>>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.0.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// How long from now it is somebody; for ever unless set. The clock is tokio's: it does not go back when the wall
    /// clock does, and on some systems stands still while the machine sleeps.
    pub fn expires_in(mut self, time: Duration) -> Self {
        let now = Instant::now();
        let end = now.checked_add(time).unwrap_or_else(|| now + FAR);
        self.0.expires = Some(end);
        self.0.ends = Some(since_epoch(end));
        self
    }

    /// Makes it.
    pub fn build(self) -> Principal {
        Principal(Arc::new(self.0))
    }
}
