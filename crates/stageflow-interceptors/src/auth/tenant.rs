//! For which tenant: the run's own, and the principal's.

use std::{collections::BTreeSet, fmt, sync::Arc};

use stageflow_core::{
    Call, ContextSnapshot, Interceptor, Layer, Next, PolicyFacts, RunAdmission, StageResult,
    TenantGuardFacts, TenantId, Value, intercept::Placement,
};

use super::{AuthError, AuthReason, Authenticate, Authenticator, Principal, asks::Asks, intercept::tell};

/// Lets no run through but those for the tenant of their principal.
///
/// It is an interceptor in [`Layer::Tenant`]. As one of an engine it decides on every run before anything of it is evaluated, and on
/// each call again. Whose run it is it learns from the [`Authenticate`] it was made of, and so it denies as
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

    fn check(&self, run: &ContextSnapshot, principal: &Principal) -> Result<(), AuthError> {
        let denied = |reason| Err(AuthError::new(reason).of(principal));
        // Where both have one it is the same one: `verify` has seen to that.
        let (Some(run), Some(_)) = (run.identity().tenant_id(), principal.tenant()) else {
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

    async fn decide(&self, asks: &impl Asks) -> StageResult<()> {
        let checked = self.auth.verify(asks, |principal| self.check(asks.snapshot(), principal)).await;
        checked.map_err(|error| {
            tell(asks, "tenant.denied", &error);
            error.into_exit()
        })
    }
}

/// Events: `tenant.denied` (`reason`, and `principal` where it is known) for each run and each call that is not let through.
impl<A: Authenticator> Interceptor for TenantGuard<A> {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        self.decide(call.context()).await?;
        next.run().await
    }

    async fn admit(&self, run: &RunAdmission) -> StageResult<()> {
        self.decide(run).await
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
