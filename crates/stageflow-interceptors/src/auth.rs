//! Who calls, and for which tenant: whatever is not proven is denied.
//!
//! Every way to go wrong ends in a denial (*fail-safe defaults* and *complete mediation*: Saltzer and Schroeder, *The Protection of
//! Information in Computer Systems*, 1975): no credentials, bad ones, and an authenticator that fails, panics or hangs.

mod admit;
mod asks;
mod credentials;
mod error;
mod intercept;
#[cfg(feature = "jwt")]
mod jwt;
mod principal;
mod runs;
mod tenant;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, timeout};

pub use self::{
    admit::{Admitted, Authenticated, admit},
    credentials::Credentials,
    error::{AuthError, AuthReason},
    intercept::Authenticate,
    principal::{Principal, PrincipalBuilder},
    tenant::TenantGuard,
};
use crate::clock::since_epoch;

#[cfg(feature = "jwt")]
pub use self::jwt::{
    JwtAlgorithm, JwtAuthenticator, JwtAuthenticatorBuilder, JwtConfigError, JwtKey, JwtKeys,
};

/// How long an authenticator may take unless something else is said.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Finds out who calls. There is none by default, and none that lets everybody in.
///
/// ```
/// use stageflow_core::DurationExt;
/// use stageflow_interceptors::{AuthError, Authenticator, Credentials, Principal};
///
/// struct OneKey(String);
///
/// impl Authenticator for OneKey {
///     async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
///         if !credentials.matches(&self.0) {
///             return Err(AuthError::invalid("no such key"));
///         }
///         Ok(Principal::builder("ada").tenant("acme").scope("read").expires_in(60.secs()).build())
///     }
/// }
/// ```
pub trait Authenticator: Send + Sync + 'static {
    /// Tells whose credentials these are. Put no part of the secret into the principal: its ids are seen in events.
    ///
    /// # Errors
    ///
    /// Every error denies: use [`AuthError::invalid`], [`AuthError::expired`] or [`AuthError::unavailable`].
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when its time is up, and when the run that asks first ends; another call is made if need be.
    fn authenticate(
        &self,
        credentials: &Credentials,
    ) -> impl Future<Output = Result<Principal, AuthError>> + Send;

    /// Tells authenticators of one type apart: a run that one of them has admitted is let through by those of the same realm alone.
    /// Unless it is said, all of a type are the same.
    fn realm(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }
}

/// Asks an authenticator. It may fail, panic or hang: it is a denial in the end.
async fn ask<A: Authenticator>(
    authenticator: &A,
    credentials: &Credentials,
    within: Duration,
) -> Result<Principal, AuthError> {
    if credentials.expose_secret().is_empty() {
        return Err(AuthError::new(AuthReason::Missing));
    }
    // Within the future, so that a panic for want of a timer is caught as well.
    let mut asked = pin!(async { timeout(within, authenticator.authenticate(credentials)).await });
    let answer = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| asked.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await;
    let principal = match answer {
        Some(Ok(answer)) => answer?,
        Some(Err(_)) => return Err(AuthError::new(AuthReason::TimedOut)),
        None => return Err(AuthError::new(AuthReason::Panicked)),
    };
    principal.check_expiry(|| since_epoch(Instant::now()))?;
    Ok(principal)
}
