//! For which tenant: the run's own, and the principal's.

use std::{collections::BTreeSet, fmt, sync::Arc};

use stageflow_core::{
    Call, Interceptor, Layer, Next, PolicyFacts, StageResult, TenantGuardFacts, TenantId, Value,
    intercept::Placement,
};

use super::{AuthError, AuthReason, Authenticate, Authenticator, Principal, intercept::tell};

/// Lets no run through but those for the tenant of their principal.
///
/// It is an interceptor in [`Layer::Tenant`]. Whose run it is it learns from the [`Authenticate`] it was made of, and so it denies as
/// well where that one stands around nothing.
///
/// ```
/// use stageflow_interceptors::{Authenticate, Authenticator, TenantGuard};
///
/// fn guards<A: Authenticator>(authenticator: A) -> (Authenticate<A>, TenantGuard<A>) {
///     let auth = Authenticate::new(authenticator);
///     let tenants = TenantGuard::new(&auth).allow(["acme", "globex"]);
///     (auth, tenants)
/// }
/// ```
pub struct TenantGuard<A> {
    auth: Authenticate<A>,
    tenants: Option<BTreeSet<TenantId>>,
    organisations: Option<BTreeSet<Arc<str>>>,
}

impl<A: Authenticator> TenantGuard<A> {
    /// Denies runs without a tenant, and those of another tenant than that of the principal.
    pub fn new(auth: &Authenticate<A>) -> Self {
        Self { auth: auth.clone(), tenants: None, organisations: None }
    }

    /// Denies all tenants but these, and those of earlier calls. With none at all it denies everybody.
    #[must_use]
    pub fn allow<T: Into<TenantId>>(mut self, tenants: impl IntoIterator<Item = T>) -> Self {
        self.tenants.get_or_insert_default().extend(tenants.into_iter().map(Into::into));
        self
    }

    /// Denies principals of all organisations but these, and of none. With none at all it denies everybody.
    #[must_use]
    pub fn allow_organisations<T: Into<Arc<str>>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.organisations.get_or_insert_default().extend(names.into_iter().map(Into::into));
        self
    }

    fn check(&self, call: &Call, principal: &Principal) -> Result<(), AuthError> {
        let denied = |reason| Err(AuthError::new(reason).of(principal));
        // Where both have one it is the same one: `verify` has seen to that.
        let (Some(run), Some(_)) = (call.snapshot().identity().tenant_id(), principal.tenant()) else {
            return denied(AuthReason::NoTenant);
        };
        if self.tenants.as_ref().is_some_and(|allowed| !allowed.contains(run)) {
            return denied(AuthReason::TenantNotAllowed);
        }
        let member = |allowed: &BTreeSet<Arc<str>>| {
            principal.organisation().is_some_and(|organisation| allowed.contains(organisation))
        };
        if !self.organisations.as_ref().is_none_or(member) {
            return denied(AuthReason::OrganisationNotAllowed);
        }
        Ok(())
    }
}

/// Events: `tenant.denied` (`reason`, and `principal` where it is known) for each call that is not let through.
impl<A: Authenticator> Interceptor for TenantGuard<A> {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        match self.auth.verify(call.context(), |principal| self.check(call, principal)).await {
            Ok(()) => next.run().await,
            Err(error) => {
                tell(call.context(), "tenant.denied", &error);
                Err(error.into_exit())
            }
        }
    }

    fn name(&self) -> String {
        "TenantGuard".to_owned()
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Tenant)
    }

    fn describe(&self) -> PolicyFacts {
        let tenants = self.tenants.as_ref().map(BTreeSet::len);
        TenantGuardFacts::new(tenants, self.organisations.as_ref().map(BTreeSet::len)).into()
    }
}

impl<A> fmt::Debug for TenantGuard<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantGuard")
            .field("tenants", &self.tenants)
            .field("organisations", &self.organisations)
            .finish_non_exhaustive()
    }
}
