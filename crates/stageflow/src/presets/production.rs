//! What an engine in production begins with, once it is decided who may run pipelines.

use std::time::Duration;

use stageflow_interceptors::{Authenticate, Authenticator, CircuitBreaker, Retry, TenantGuard};

use super::ATTEMPT;
use crate::{BackpressureMonitor, Engine, EngineBuilder, StageKind};

/// [`Engine::production`](super::EngineExt::production), until somebody says who may run pipelines.
///
/// There is no way around the question: without an answer there is nothing to build.
///
/// ```compile_fail,E0599
/// use stageflow::prelude::*;
///
/// let engine = Engine::production().build();
/// ```
#[derive(Debug)]
#[must_use = "say who may run pipelines: `authenticated`, `authenticated_tenants` or `without_authentication`"]
pub struct Production(EngineBuilder);

impl Production {
    pub(super) fn new() -> Self {
        let tried_again = StageKind::ALL.into_iter().filter(|kind| *kind != StageKind::Work);
        let elsewhere = [StageKind::Enrich, StageKind::Work, StageKind::Agent];
        let engine = Engine::builder()
            .by_default(tried_again, Retry::default())
            .by_default(elsewhere, breaker())
            .attempt_timeout(ATTEMPT)
            .stage_timeout(Duration::from_mins(2))
            .max_in_flight(512)
            .tenant_max_in_flight(256)
            .backpressure(monitor());
        Self(engine)
    }

    /// Lets nobody run anything but those whom the authenticator knows, which is decided when a run begins, before anything of it
    /// is evaluated. A run that names a tenant has to name that of its principal.
    ///
    /// ```
    /// use stageflow::{
    ///     RunOutcome,
    ///     interceptors::{AuthError, Authenticate, Authenticator, Credentials, Principal},
    ///     prelude::*,
    /// };
    ///
    /// struct Keys;
    ///
    /// impl Authenticator for Keys {
    ///     async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, AuthError> {
    ///         if credentials.matches("k-1") { Ok(Principal::builder("ada").build()) } else { Err(AuthError::invalid("no such key")) }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let engine = Engine::production().authenticated(Authenticate::new(Keys)).build()?;
    ///
    /// let mut p = Pipeline::builder::<()>("hello");
    /// let hello = p.stage("hello", stage_fn(|_ctx, _: ()| async { Ok("hello") })).inputs(());
    /// let pipeline = p.build(hello)?;
    /// assert!(engine.run(&pipeline, ()).extension(Credentials::api_key("k-1")).await.is_ok());
    /// let nobody = engine.run(&pipeline, ()).await.unwrap_err();
    /// assert_eq!(nobody.outcome(), Some(RunOutcome::Denied));
    /// # Ok(())
    /// # }
    /// ```
    pub fn authenticated<A: Authenticator>(self, auth: Authenticate<A>) -> EngineBuilder {
        self.0.interceptor(auth)
    }

    /// The same where every principal has a tenant, and every run has to be for it: a [`TenantGuard`] denies the others.
    pub fn authenticated_tenants<A: Authenticator>(self, auth: Authenticate<A>) -> EngineBuilder {
        let tenants = TenantGuard::new(&auth);
        self.0.interceptor(auth).interceptor(tenants)
    }

    /// Lets everybody who can call it run everything, for any tenant: where somebody else has asked already.
    pub fn without_authentication(self) -> EngineBuilder {
        self.0
    }
}

fn breaker() -> CircuitBreaker {
    CircuitBreaker::per_stage().build().expect("the values of the breaker are right")
}

fn monitor() -> BackpressureMonitor {
    BackpressureMonitor::builder()
        .max_active(256)
        .queue_limit(256)
        .queue_timeout(Duration::from_secs(2))
        .shed_when_overloaded(true)
        .high_watermark(1.5)
        .low_watermark(1.0)
        .build()
        .expect("the values of the monitor are right")
}
