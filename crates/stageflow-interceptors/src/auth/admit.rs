//! Before a run begins: whoever is let in brings a proof along, and ids that are the principal's own.

use std::{any::TypeId, sync::OnceLock};

use stageflow_core::{RunId, SnapshotBuilder};

use super::{AuthError, Authenticator, Credentials, Principal, TIMEOUT, ask, credentials::next_id};

/// Authenticates before a run begins, in at most 10 seconds; [`Authenticate::admit`](crate::Authenticate::admit) takes the time
/// of the interceptor.
///
/// # Errors
///
/// [`AuthError`] if the credentials are not good, and as well if the authenticator fails, panics or hangs.
///
/// # Cancel safety
///
/// Dropping the future drops the authenticator's.
pub async fn admit<A: Authenticator>(
    authenticator: &A,
    credentials: &Credentials,
) -> Result<Admitted, AuthError> {
    Ok(Admitted::by(authenticator, ask(authenticator, credentials, TIMEOUT).await?))
}

/// Somebody was let in, and a run may begin for them: made by [`admit`].
#[derive(Debug)]
#[must_use = "nobody is let in unless it is applied to a snapshot"]
pub struct Admitted(Authenticated);

impl Admitted {
    pub(super) fn by<A: Authenticator>(authenticator: &A, principal: Principal) -> Self {
        let realm = authenticator.realm().into();
        Self(Authenticated {
            principal,
            by: TypeId::of::<A>(),
            realm,
            id: next_id(),
            accepted: OnceLock::new(),
        })
    }

    /// Who was let in.
    pub fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// Sets user and tenant to those of the principal, whatever the caller has supplied, and adds the proof as the extension
    /// [`Authenticated`]. The run of a principal without a tenant has none.
    pub fn apply(self, snapshot: SnapshotBuilder) -> SnapshotBuilder {
        let snapshot = snapshot.user(self.principal().user().clone());
        let snapshot = match self.principal().tenant() {
            Some(tenant) => snapshot.tenant(tenant.clone()),
            None => snapshot.without_tenant(),
        };
        snapshot.extension(self.0)
    }
}

/// The proof, in the snapshot of a run, that an authenticator of this process has let its principal in.
///
/// Nothing but [`Admitted::apply`] makes one, and none is ever serialised.
#[derive(Debug)]
pub struct Authenticated {
    principal: Principal,
    by: TypeId,
    realm: Box<str>,
    id: u64,
    /// In which run it was found good first, and by which answers it is known to be.
    accepted: OnceLock<(RunId, u64)>,
}

impl Authenticated {
    /// Who was let in.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whether an authenticator of this type and realm has let it in.
    pub(super) fn is_by<A: Authenticator>(&self, authenticator: &A) -> bool {
        self.by == TypeId::of::<A>() && *self.realm == *authenticator.realm()
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// It was found good in a run.
    pub(super) fn accept(&self, run: RunId, answers: u64) {
        self.accepted.get_or_init(|| (run, answers));
    }

    /// Whether it is known to be good in a run.
    pub(super) fn is_accepted(&self, run: RunId, answers: u64) -> bool {
        self.accepted.get() == Some(&(run, answers))
    }
}
