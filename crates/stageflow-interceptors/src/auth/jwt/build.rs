//! What a [`JwtAuthenticator`] is told before it judges tokens.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt,
    sync::{Arc, RwLock},
    time::Duration,
};

use stageflow_core::Clock;

use super::{JwtAuthenticator, JwtConfigError, JwtKey, JwtKeys, Shared, jwk, rules::Rules};

/// How far clocks may be apart unless something else is said.
const LEEWAY: Duration = Duration::from_secs(30);

/// How long a token may be unless something else is said.
const MAX_BYTES: usize = 16 * 1024;

/// A [`JwtAuthenticator`] to be furnished: issuer, audience and keys are mandatory.
#[must_use = "an authenticator is made by `build`"]
pub struct JwtAuthenticatorBuilder {
    rules: Rules,
    keys: Vec<JwtKey>,
    clock: Arc<dyn Clock>,
    problems: Vec<String>,
}

/// The time of day of the machine.
struct TimeOfDay;

impl Clock for TimeOfDay {
    /// Nobody asks.
    fn monotonic_nanos(&self) -> u64 {
        0
    }
}

impl JwtAuthenticatorBuilder {
    pub(super) fn new() -> Self {
        let rules = Rules {
            issuer: String::new(),
            audiences: BTreeSet::new(),
            token_type: None,
            leeway: LEEWAY,
            max_age: None,
            max_bytes: MAX_BYTES,
            user: "sub".into(),
            tenant: None,
            organisation: None,
            scope: "scope".into(),
        };
        Self { rules, keys: Vec::new(), clock: Arc::new(TimeOfDay), problems: Vec::new() }
    }

    /// Who signs the tokens: their `iss`, to the letter.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.rules.issuer = issuer.into();
        self
    }

    /// For whom the tokens are: one of these is in their `aud`. Adds to those of earlier calls.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.rules.audiences.insert(audience.into());
        self
    }

    /// Adds a key.
    pub fn key(mut self, key: JwtKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Adds the keys of a JSON Web Key Set, as [`JwtKeys::jwks`] does.
    pub fn jwks(mut self, json: &str) -> Self {
        match jwk::many(json) {
            Ok(keys) => self.keys.extend(keys),
            Err(error) => self.problems.extend_from_slice(error.problems()),
        }
        self
    }

    /// Of which type the tokens are: their `typ`, such as `at+jwt` for access tokens (RFC 9068), in any case and with `application/` or
    /// without. Unless set, it is not looked at, and an identity token of the same issuer for the same audience is as good.
    pub fn token_type(mut self, name: impl Into<String>) -> Self {
        self.rules.token_type = Some(name.into());
        self
    }

    /// How far the clock here and that of the issuer may be apart; 30 seconds unless set. It is added to every limit of time.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.rules.leeway = leeway;
        self
    }

    /// How old tokens may become, whatever they say themselves. Those that do not tell (`iat`) are refused. Unlimited unless set.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.rules.max_age = Some(age);
        self
    }

    /// How many bytes a token may have; 16 KiB unless set. Longer ones are refused unread.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.rules.max_bytes = bytes;
        self
    }

    /// Which claim is the user; `sub` unless set. Tokens without it are refused.
    pub fn user_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.rules.user = name.into();
        self
    }

    /// Which claim is the tenant. Tokens without it are refused. Unless set, principals have no tenant.
    pub fn tenant_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.rules.tenant = Some((name.into(), true));
        self
    }

    /// Which claim is the tenant, if it is there. A principal without a tenant is denied by [`TenantGuard`](crate::TenantGuard), and by
    /// every run that names one.
    pub fn optional_tenant_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.rules.tenant = Some((name.into(), false));
        self
    }

    /// Which claim is the organisation. Tokens without it are refused. Unless set, principals have no organisation.
    pub fn organisation_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.rules.organisation = Some((name.into(), true));
        self
    }

    /// Which claim holds the scopes, as one text with spaces or as a list; `scope` unless set. Without it there are no scopes.
    pub fn scope_claim(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.rules.scope = name.into();
        self
    }

    /// Where the time of day comes from ([`Clock::wall`]); from the machine unless set.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Makes it.
    ///
    /// # Errors
    ///
    /// [`JwtConfigError`] with every problem: no issuer, no audience, no key, or keys that cannot be told apart.
    pub fn build(mut self) -> Result<JwtAuthenticator, JwtConfigError> {
        if self.rules.issuer.trim().is_empty() {
            self.problems.push("there is no issuer".to_owned());
        }
        if self.rules.audiences.iter().all(|name| name.trim().is_empty()) {
            self.problems.push("there is no audience".to_owned());
        }
        match JwtKeys::new(self.keys) {
            Ok(keys) if self.problems.is_empty() => {
                let realm = format!("{:?} {:?}", self.rules.issuer, self.rules.audiences);
                let shared = Shared { rules: self.rules, realm, keys: RwLock::new(keys), clock: self.clock };
                Ok(JwtAuthenticator(Arc::new(shared)))
            }
            Ok(_) => Err(JwtConfigError::all(self.problems)),
            Err(error) => Err(JwtConfigError::all([self.problems, error.problems().to_vec()].concat())),
        }
    }
}

impl fmt::Debug for JwtAuthenticatorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtAuthenticatorBuilder")
            .field("rules", &self.rules)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}
