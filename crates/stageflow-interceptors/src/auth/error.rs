//! Why somebody was not let in.

use std::{borrow::Cow, error::Error, fmt};

use stageflow_core::{StageExit, UserId, text::OneLine};

use super::Principal;

/// Why somebody was not let in, in one word for dashboards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthReason {
    /// There were no credentials, or empty ones.
    Missing,
    /// The credentials are not good.
    Invalid,
    /// The credentials are signed with a key that is not known; it may be newer than the keys at hand.
    UnknownKey,
    /// The principal's time is up.
    Expired,
    /// The authenticator could not find out.
    Unavailable,
    /// The authenticator took too long.
    TimedOut,
    /// The authenticator panicked.
    Panicked,
    /// The run was admitted by another authenticator.
    OtherAuthenticator,
    /// The run is for another tenant than the principal's.
    TenantMismatch,
    /// The run is for another user than the principal.
    UserMismatch,
    /// The run, or the principal, has no tenant.
    NoTenant,
    /// The tenant is not among those allowed.
    TenantNotAllowed,
    /// The organisation is not among those allowed.
    OrganisationNotAllowed,
    /// The principal lacks a scope.
    ScopeMissing,
}

impl AuthReason {
    /// The reason as events have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::UnknownKey => "unknown_key",
            Self::Expired => "expired",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::Panicked => "panicked",
            Self::OtherAuthenticator => "other_authenticator",
            Self::TenantMismatch => "tenant_mismatch",
            Self::UserMismatch => "user_mismatch",
            Self::NoTenant => "no_tenant",
            Self::TenantNotAllowed => "tenant_not_allowed",
            Self::OrganisationNotAllowed => "organisation_not_allowed",
            Self::ScopeMissing => "scope_missing",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Missing => "there are no credentials",
            Self::Invalid => "the credentials are not valid",
            Self::UnknownKey => "the key of the credentials is not known",
            Self::Expired => "the credentials have expired",
            Self::Unavailable => "the authenticator could not tell",
            Self::TimedOut => "the authenticator took too long",
            Self::Panicked => "the authenticator panicked",
            Self::OtherAuthenticator => "the run was admitted by another authenticator",
            Self::TenantMismatch => "the run is for another tenant than the principal's",
            Self::UserMismatch => "the run is for another user than the principal",
            Self::NoTenant => "there is no tenant",
            Self::TenantNotAllowed => "the tenant is not allowed",
            Self::OrganisationNotAllowed => "the organisation is not allowed",
            Self::ScopeMissing => "the principal lacks a scope",
        }
    }
}

/// Somebody was not let in. As a failure it has the code `DENIED`, and the run ends as `Denied`.
///
/// Nothing of the credentials is in it: what an authenticator has to say about them is a text of its program (`&'static str`), and
/// never one that it made while it looked at them.
///
/// ```compile_fail
/// use stageflow_interceptors::{AuthError, Credentials};
///
/// fn leak(shown: &Credentials) -> AuthError {
///     AuthError::invalid(shown.expose_secret())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthError {
    reason: AuthReason,
    detail: Option<Cow<'static, str>>,
    principal: Option<UserId>,
}

impl AuthError {
    pub(super) fn new(reason: AuthReason) -> Self {
        Self { reason, detail: None, principal: None }
    }

    /// The credentials are not good.
    pub fn invalid(detail: &'static str) -> Self {
        Self::new(AuthReason::Invalid).detail(detail)
    }

    /// The credentials were good once.
    pub fn expired() -> Self {
        Self::new(AuthReason::Expired)
    }

    /// It could not be found out whether the credentials are good: a denial like any other.
    pub fn unavailable(detail: &'static str) -> Self {
        Self::new(AuthReason::Unavailable).detail(detail)
    }

    pub(super) fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Names whom it is about.
    pub(super) fn of(mut self, principal: &Principal) -> Self {
        self.principal = Some(principal.user().clone());
        self
    }

    /// Why.
    pub fn reason(&self) -> AuthReason {
        self.reason
    }

    /// Whom it is about, where that is known.
    pub fn principal(&self) -> Option<&UserId> {
        self.principal.as_ref()
    }

    /// How a stage leaves for this reason.
    pub fn into_exit(self) -> StageExit {
        StageExit::deny(self)
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.text())?;
        match &self.detail {
            Some(detail) => write!(f, ": {}", OneLine(detail)),
            None => Ok(()),
        }
    }
}

impl Error for AuthError {}
